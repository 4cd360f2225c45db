"""Cameras of a system: names, modes, the choice of both, who holds a busy one, and what an opened one is asked."""

from __future__ import annotations

import errno
import json
import os
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import Colorspace
from typer.testing import CliRunner

from streamseg.cli import app as cli
from streamseg.decode import open_camera
from streamseg.decode.cameras import CameraDevice, find_camera
from streamseg.decode.capture_opencv import NumberOpener, probe_cameras
from streamseg.decode.modes import Mode, choose_mode
from streamseg.decode.pixels import matrix_of
from streamseg.errors import CameraError, ConfigError, InputError
from streamseg.settings import load_settings
from tests.cameras import INFRARED, LAPTOP, LOOPBACK, METADATA, Device, System
from tests.synthetic import picture

if sys.platform.startswith("linux"):
    from streamseg.decode.capture_v4l2 import DeviceOpener
    from streamseg.decode.v4l2 import VideoDevices

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Video4Linux is Linux's")


@pytest.fixture
def system(tmp_path: Path) -> System:
    return System(tmp_path)


@pytest.fixture
def devices(system: System) -> VideoDevices:
    return VideoDevices(system.folder / "sys", system.folder / "dev", system.folder / "proc", system.ioctl)


@linux_only
class TestListing:
    def test_names_devices_and_modes(self, system: System, devices: VideoDevices) -> None:
        path = system.plug(0, LAPTOP)
        (camera,) = devices.cameras()
        assert (camera.name, camera.device, camera.number) == ("Integrated Webcam", str(path), 0)
        assert camera.modes[1] == Mode("mjpeg", 1280, 720, (Fraction(30), Fraction(15)))
        assert [mode.codec for mode in camera.modes] == ["mjpeg"] * 3 + ["yuyv422"] * 2

    def test_metadata_and_outputs_are_left_out(self, system: System, devices: VideoDevices) -> None:
        system.plug(0, LAPTOP)
        system.plug(1, METADATA)
        system.plug(10, Device("out", capabilities=0x8520_0003, device_capabilities=0x0420_0002))
        assert [camera.number for camera in devices.cameras()] == [0]

    def test_a_driver_without_capabilities_of_the_node(self, system: System, devices: VideoDevices) -> None:
        system.plug(0, Device(capabilities=0x0400_0001, device_capabilities=0))
        assert len(devices.cameras()) == 1

    def test_a_range_of_sizes_becomes_the_usual_ones(self, system: System, devices: VideoDevices) -> None:
        system.plug(0, LOOPBACK)
        (camera,) = devices.cameras()
        assert camera.is_virtual
        assert Mode("yuv420p", 1280, 720, (Fraction(30),)) in camera.modes
        assert camera.modes[-1].width_px == 8192

    def test_a_driver_whose_lists_never_end(self, system: System, devices: VideoDevices) -> None:
        system.plug(0, Device(formats={"MJPG": [((640 + 2 * index, 480), []) for index in range(1000)]}))
        assert len(devices.cameras()[0].modes) == 256

    def test_a_format_that_is_not_known_is_told_by_its_letters(self, system: System, devices: VideoDevices) -> None:
        system.plug(0, Device("Depth", formats={"Z16 ": [((640, 480), [(1, 30)])], "Y16\xa0": [((640, 480), [])]}))
        (camera,) = devices.cameras()
        assert camera.modes[0].codec == "Z16"
        assert camera.modes[-1].codec == "Y16-BE"
        assert choose_mode(camera.modes) is None

    def test_without_permission_the_name_is_known_and_what_to_do(
        self, system: System, devices: VideoDevices, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(path: Path, flags: int) -> int:
            raise PermissionError(errno.EACCES, "Permission denied")

        system.plug(0, LAPTOP)
        monkeypatch.setattr(os, "open", refuse)
        (camera,) = devices.cameras()
        assert camera.name == "Integrated Webcam"
        assert "usermod -aG video" in camera.note
        with pytest.raises(CameraError, match=r"Integrated Webcam.*no permission: sudo usermod"):
            DeviceOpener("auto", devices=devices)()

    def test_unplugged_while_listing(self, system: System, devices: VideoDevices) -> None:
        (system.folder / "dev" / system.plug(0, LAPTOP).name).unlink()
        assert devices.cameras() == []

    def test_no_descriptor_stays_open(self, system: System, devices: VideoDevices) -> None:
        system.plug(0, LAPTOP)
        system.plug(1, METADATA)
        devices.cameras()
        before = len(list(Path("/proc/self/fd").iterdir()))
        devices.cameras()
        assert len(list(Path("/proc/self/fd").iterdir())) == before

    def test_the_programs_that_hold_a_camera(self, system: System, devices: VideoDevices) -> None:
        camera, other = system.plug(0, LAPTOP), system.plug(2, INFRARED)
        system.run(10, "zoom", camera)
        system.run(11, "cheese", camera)
        system.run(12, "zoom", camera)
        system.run(13, "obs", other)
        system.run(os.getpid(), "streamseg", camera)
        assert devices.holders(str(camera)) == ["cheese", "zoom"]


class TestFinding:
    CAMERAS = (
        CameraDevice("streamseg", "/dev/video0", 0, "v4l2 loopback", (Mode("yuv420p", 1280, 720),)),
        CameraDevice("Integrated IR", "/dev/video1", 1, "uvcvideo", (Mode("gray", 640, 360),)),
        CameraDevice("Integrated Webcam", "/dev/video2", 2, "uvcvideo", (Mode("mjpeg", 1280, 720),)),
        CameraDevice("HD Pro C920", "/dev/video4", 4, "uvcvideo", (Mode("mjpeg", 1280, 720),)),
    )

    @pytest.mark.parametrize(
        ("spec", "number"),
        [
            ("auto", 2),
            ("4", 4),
            ("/dev/video1", 1),
            ("integrated webcam", 2),
            ("c920", 4),
            ("WEBCAM", 2),
        ],
    )
    def test_by_number_path_or_name(self, spec: str, number: int) -> None:
        assert find_camera(spec, self.CAMERAS).number == number

    def test_a_virtual_camera_is_better_than_none(self) -> None:
        assert find_camera("auto", self.CAMERAS[:1]).number == 0

    def test_a_whole_name_wins_over_a_part(self) -> None:
        longer = CameraDevice("Integrated Webcam 2", "/dev/video6", 6, "uvcvideo")
        assert find_camera("Integrated Webcam", (longer, *self.CAMERAS)).number == 2

    @pytest.mark.parametrize(
        ("spec", "says"),
        [
            ("integrated", r"several cameras are named 'integrated': Integrated IR \(1\), Integrated Webcam \(2\)"),
            ("brio", r"no camera and no file is named 'brio'; cameras found: streamseg \(0\), .*Give --camera"),
            ("9", "no camera at /dev/video9; cameras found: .*Give --camera"),
            ("/dev/nothing", "no camera at /dev/nothing; cameras found: "),
        ],
    )
    def test_none_or_several(self, spec: str, says: str) -> None:
        with pytest.raises(CameraError, match=says):
            find_camera(spec, self.CAMERAS)

    def test_no_camera_at_all_says_what_to_do(self) -> None:
        with pytest.raises(CameraError, match="no camera found: plug one in"):
            find_camera("auto", [])

    @linux_only
    def test_a_link_to_a_device(self, system: System, devices: VideoDevices, tmp_path: Path) -> None:
        (tmp_path / "by-id").symlink_to(system.plug(0, LAPTOP))
        assert find_camera(str(tmp_path / "by-id"), devices.cameras()).number == 0


MODES = (
    Mode("mjpeg", 1920, 1080, (Fraction(30),)),
    Mode("mjpeg", 1280, 720, (Fraction(30), Fraction(15))),
    Mode("yuyv422", 1280, 720, (Fraction(10),)),
    Mode("yuyv422", 640, 480, (Fraction(30), Fraction(15))),
    Mode("mjpeg", 640, 480, (Fraction(30000, 1001),)),
    Mode("h264", 1280, 720, (Fraction(60),)),
)


class TestChoosing:
    @pytest.mark.parametrize(
        ("size", "fps", "mode", "rate"),
        [
            (None, None, MODES[1], 30),
            ((1280, 720), 15, MODES[1], 15),
            ((640, 480), 30, MODES[3], 30),
            ((700, 480), None, MODES[1], 30),
            ((1920, 1080), None, MODES[0], 30),
            ((3840, 2160), 30, MODES[0], 30),
            ((1280, 720), 60, MODES[1], 30),
            (None, 10, MODES[2], 10),
        ],
    )
    def test_the_nearest_size_that_is_not_smaller(
        self, size: tuple[int, int] | None, fps: int | None, mode: Mode, rate: int
    ) -> None:
        assert choose_mode(MODES, size, None if fps is None else Fraction(fps)) == (mode, rate)

    def test_unasked_a_smaller_size_at_full_rate_is_better_than_a_slow_one(self) -> None:
        slow = (MODES[2], MODES[3])
        assert choose_mode(slow) == (MODES[3], 30)
        assert choose_mode(slow, (1280, 720)) == (MODES[2], 10)

    def test_ntsc_rates_reach_theirs(self) -> None:
        assert choose_mode(MODES[4:5]) == (MODES[4], Fraction(30000, 1001))

    def test_a_driver_that_does_not_tell_rates_is_asked_for_the_wanted_one(self) -> None:
        mode = Mode("nv12", 1280, 720)
        assert choose_mode([mode], fps=Fraction(25)) == (mode, 25)

    def test_no_mode_that_can_be_read(self) -> None:
        assert choose_mode(MODES[5:]) is None
        assert choose_mode([]) is None


class Opened:
    """Stands in for av.open: notes what it is asked, and opens raw video of the size asked for, or fails."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "raw.nut"
        self.asked: list[tuple[str, str | None, dict[str, str]]] = []
        self.error: OSError | None = None
        self._open = av.open

    def __call__(self, file: str, format: str | None = None, options: Any = None, **_: Any) -> Any:
        self.asked.append((file, format, options))
        if self.error:
            raise self.error
        with self._open(self.path, "w") as raw:
            stream = raw.add_stream("rawvideo", rate=30)
            stream.width, stream.height = map(int, options.get("video_size", "320x240").split("x"))
            stream.pix_fmt = "yuyv422"
            for index in range(2):
                frame = av.VideoFrame(stream.width, stream.height, "yuyv422")
                frame.pts = index
                raw.mux(stream.encode(frame))
            raw.mux(stream.encode(None))
        return self._open(self.path)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Opened:
    fake = Opened(tmp_path)
    monkeypatch.setattr(av, "open", fake)
    return fake


@linux_only
class TestOpening:
    def test_the_mode_is_asked_for_and_what_was_granted_is_told(
        self, system: System, devices: VideoDevices, opened: Opened
    ) -> None:
        path = system.plug(0, LAPTOP)
        capture = DeviceOpener("webcam", (1280, 720), Fraction(30), devices)()
        assert opened.asked == [
            (str(path), "v4l2", {"input_format": "mjpeg", "video_size": "1280x720", "framerate": "30"})
        ]
        assert str(capture.granted) == "camera Integrated Webcam: 1280x720 at 30 fps, YUYV"
        shot = capture.read()
        assert (shot.frame.width, shot.frame.height) == (1280, 720)
        assert matrix_of(shot.frame) == Colorspace.ITU601
        capture.close()

    @pytest.mark.parametrize(
        ("size", "fps", "options"), [(None, None, {}), ((640, 480), 15, {"video_size": "640x480", "framerate": "15"})]
    )
    def test_a_driver_without_modes_is_asked_for_no_more_than_the_user_names(
        self,
        size: tuple[int, int] | None,
        fps: int | None,
        options: dict[str, str],
        system: System,
        devices: VideoDevices,
        opened: Opened,
    ) -> None:
        system.plug(0, Device())
        DeviceOpener("auto", size, fps and Fraction(fps), devices)().close()
        assert opened.asked[0][2] == options

    def test_busy_names_the_program(self, system: System, devices: VideoDevices, opened: Opened) -> None:
        path = system.plug(0, LAPTOP)
        opened.error = OSError(errno.EBUSY, "Device or resource busy")
        opener = DeviceOpener("auto", devices=devices)
        with pytest.raises(CameraError, match="is in use by another program; close it there"):
            opener()
        system.run(10, "zoom", path)
        system.run(11, "cheese", path)
        with pytest.raises(CameraError, match=r"Integrated Webcam \(.*\) is in use by cheese and zoom") as caught:
            opener()
        assert caught.value.card == "camera in use by cheese and zoom"

    @pytest.mark.parametrize(
        ("number", "says"),
        [
            (errno.ENODEV, "is unplugged"),
            (errno.EACCES, "no permission: sudo usermod"),
            (errno.EINVAL, "cannot be read: Invalid argument"),
        ],
    )
    def test_other_errors_are_one_line(
        self, number: int, says: str, system: System, devices: VideoDevices, opened: Opened
    ) -> None:
        system.plug(0, LAPTOP)
        opened.error = OSError(number, os.strerror(number))
        with pytest.raises(CameraError, match=says):
            DeviceOpener("auto", devices=devices)()

    def test_it_is_found_again_by_name_under_another_number_and_no_other_one_is_taken(
        self, system: System, devices: VideoDevices, opened: Opened
    ) -> None:
        system.plug(0, LAPTOP)
        opener = DeviceOpener("auto", devices=devices)
        opener().close()
        system.unplug(0)
        system.plug(2, Device("HD Pro C920", formats=LAPTOP.formats))
        with pytest.raises(CameraError, match=r"Integrated Webcam .* is unplugged") as caught:
            opener()
        assert caught.value.card == "camera unplugged: waiting for it"
        path = system.plug(4, LAPTOP)
        opener().close()
        assert opened.asked[-1][0] == str(path)


class FakeVideoCapture:
    """Stands in for cv2.VideoCapture: `cameras` of them, each with `count` pictures."""

    cameras, count, fps = 2, 3, 29.97
    asked: dict[int, float]
    released = 0

    def __init__(self, number: int) -> None:
        self.number, self.left, type(self).asked = number, self.count, {}

    def isOpened(self) -> bool:
        return self.number < self.cameras

    def read(self) -> tuple[bool, Any]:
        self.left -= 1
        is_read = self.isOpened() and self.left >= 0
        return is_read, picture(0)[..., ::-1].copy() if is_read else None

    def set(self, what: int, value: float) -> None:
        self.asked[what] = value

    def get(self, what: int) -> float:
        return {cv2.CAP_PROP_FPS: self.fps, cv2.CAP_PROP_FRAME_WIDTH: 128, cv2.CAP_PROP_FRAME_HEIGHT: 96}[what]

    def getBackendName(self) -> str:
        return "FAKE"

    def release(self) -> None:
        type(self).released += 1


@pytest.fixture
def opencv(monkeypatch: pytest.MonkeyPatch) -> type[FakeVideoCapture]:
    class OneTest(FakeVideoCapture):
        pass

    monkeypatch.setattr(cv2, "VideoCapture", OneTest)
    return OneTest


class TestOpenCv:
    def test_size_and_rate_are_asked_for_and_what_comes_is_told(self, opencv: type[FakeVideoCapture]) -> None:
        capture = NumberOpener("1", (640, 480), Fraction(15))()
        assert (opencv.asked[cv2.CAP_PROP_FRAME_WIDTH], opencv.asked[cv2.CAP_PROP_FPS]) == (640, 15)
        assert str(capture.granted) == "camera 1 (FAKE): 128x96 at 29.97 fps, as OpenCV decodes it"
        assert np.array_equal(capture.read().frame.to_ndarray(format="rgb24"), picture(0))

    @pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
    def test_a_driver_that_does_not_know_its_rate(self, fps: float, opencv: type[FakeVideoCapture]) -> None:
        opencv.fps = fps
        assert NumberOpener("auto")().granted.rate == 30

    def test_unplugged(self, opencv: type[FakeVideoCapture]) -> None:
        opencv.count = 1
        capture = NumberOpener("0")()
        with pytest.raises(CameraError, match="camera 0 was unplugged or stopped"):
            capture.read()

    def test_no_picture(self, opencv: type[FakeVideoCapture]) -> None:
        with pytest.raises(CameraError, match="camera 2 gives no picture: close other programs"):
            NumberOpener("2")()
        assert opencv.released == 1

    def test_names_are_not_known(self) -> None:
        with pytest.raises(CameraError, match="cameras have numbers alone"):
            NumberOpener("webcam")

    def test_the_list_ends_at_the_first_number_that_does_not_open(self, opencv: type[FakeVideoCapture]) -> None:
        assert [camera.name for camera in probe_cameras()] == ["camera 0", "camera 1"]
        assert opencv.released >= 2


class TestCommand:
    def run(self, monkeypatch: pytest.MonkeyPatch, found: list[CameraDevice], *flags: str) -> str:
        monkeypatch.setattr("streamseg.decode.list_cameras", lambda: found)
        result = CliRunner().invoke(cli.app, ["cameras", *flags])
        assert result.exit_code == 0
        return result.stdout

    CAMERA = CameraDevice("Integrated Webcam", "/dev/video2", 2, "uvcvideo", (*MODES, Mode("h264", 640, 480)))

    def test_a_line_a_format(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.run(monkeypatch, [self.CAMERA]).splitlines()[:2] == [
            "2  Integrated Webcam  (/dev/video2)",
            "   MJPEG      1920x1080 at 30 fps, 1280x720 at 30/15 fps",
        ]

    def test_formats_that_are_not_read_are_named_last(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.run(monkeypatch, [self.CAMERA]).splitlines()[-1] == "   not read: H.264"

    def test_json(self, monkeypatch: pytest.MonkeyPatch) -> None:
        (camera,) = json.loads(self.run(monkeypatch, [self.CAMERA], "--json"))
        assert (camera["name"], camera["device"], camera["number"]) == ("Integrated Webcam", "/dev/video2", 2)
        assert camera["modes"][1] == {"format": "MJPEG", "width_px": 1280, "height_px": 720, "fps": [30, 15]}

    def test_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        (line,) = self.run(monkeypatch, []).splitlines()
        assert "plug one in" in line
        assert json.loads(self.run(monkeypatch, [], "--json")) == []


class TestSettings:
    def test_toml_and_flags_write_a_size_alike(self, tmp_path: Path) -> None:
        path = tmp_path / "s.toml"
        path.write_text('[live]\ncamera = "webcam"\nsize = "1280x720"\nfps = 15\n')
        live = load_settings(path).live
        assert (live.camera, live.size, live.fps) == ("webcam", (1280, 720), 15)
        assert load_settings(path, {"size": "640x480"}).live.size == (640, 480)

    @pytest.mark.parametrize("size", ["720p", "1280", "1280x", "x720", "8x8", "9000x9000", "1x2x3"])
    def test_a_size_that_is_none(self, size: str) -> None:
        with pytest.raises(ConfigError, match=f"^live.size: write WIDTHxHEIGHT, such as 1280x720, .*got '{size}'"):
            load_settings(None, {"size": size})


class TestSpecs:
    """What a file's name, and what a camera's."""

    @pytest.mark.parametrize("spec", ["nothing/here.mp4", "/no/such/clip.mp4"])
    def test_a_path_is_a_file(self, spec: str) -> None:
        with pytest.raises(InputError, match=r"^no such file or folder: ") as caught:
            open_camera(spec)
        assert not isinstance(caught.value, CameraError)

    @linux_only
    @pytest.mark.parametrize(
        ("spec", "says"),
        [
            ("9876", "no camera at /dev/video9876; "),
            ("/dev/no-such-camera", "no camera at /dev/no-such-camera; "),
            ("/dev/null", "no camera at /dev/null; "),
            ("No such camera 2.0", "no camera and no file is named 'No such camera 2.0'; "),
            ("x" * 5000, "no camera and no file is named"),
        ],
    )
    def test_a_name_that_is_no_file_is_a_camera(self, spec: str, says: str) -> None:
        with pytest.raises(CameraError, match=f"^{says}"):
            open_camera(spec)

    @linux_only
    def test_a_number_is_a_camera_though_a_file_is_named_so(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "9876").touch()
        monkeypatch.chdir(tmp_path)
        with pytest.raises(CameraError, match="no camera at /dev/video9876"):
            open_camera("9876")
