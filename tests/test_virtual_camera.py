"""Virtual cameras: the choice of a device, what is set and written, readers, and the reasons when none opens.

The drivers are stand-ins here; `make vmtest` tries the real ones.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from av.video.reformatter import Colorspace

from streamseg.errors import MissingExtraError, OutputError
from streamseg.frames import Frame, VideoInfo
from streamseg.image import Pixels
from streamseg.sink import open_sink
from streamseg.sink.virtual import PyVirtualCam, is_virtual_camera, open_virtual_camera, watch_readers
from streamseg.yuv import YuvImage

if sys.platform.startswith("linux"):
    from streamseg.decode.v4l2 import VideoDevices
    from streamseg.sink.virtual.device import Capability, OutputDevice
    from streamseg.sink.virtual.loopback import LoopbackCamera, choose_loopback, find_loopbacks, open_loopback
    from streamseg.sink.virtual.readers import OpenPrograms, ReaderWatch, Subscription

linux_only = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Video4Linux is Linux's")

INFO = VideoInfo(64, 48, Fraction(30000, 1001))


@dataclass
class FakeDevice:
    """Stands in for OutputDevice: a v4l2loopback that was loaded with exclusive_caps=1."""

    path: Path = Path("/dev/video10")
    driver: str = "v4l2 loopback"
    captures: bool = False
    outputs: bool = True
    kept: tuple[int, int, bytes] | None = None
    refusals: dict[str, int] = field(default_factory=dict)
    rate: Fraction | None = None
    is_repeating: bool = False
    written: list[bytes] = field(default_factory=list)
    is_closed: bool = False

    def _refuse(self, what: str) -> None:
        if what in self.refusals:
            raise OSError(self.refusals[what], os.strerror(self.refusals[what]))

    def capability(self) -> Capability:
        self._refuse("capability")
        return Capability(self.driver, self.captures, self.outputs)

    def set_format(self, width_px: int, height_px: int) -> tuple[int, int, bytes]:
        self._refuse("set_format")
        return self.kept or (width_px, height_px, b"YU12")

    def set_rate(self, rate: Fraction) -> None:
        self.rate = rate

    def set_repeating(self, is_repeating: bool) -> bool:
        self._refuse("set_repeating")
        before, self.is_repeating = self.is_repeating, is_repeating
        return before

    def write(self, planes: Pixels) -> None:
        self._refuse("write")
        self.written.append(planes.tobytes())

    def close(self) -> None:
        assert not self.is_closed
        self.is_closed = True


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """Three virtual cameras, of which none has a device in /dev."""
    for number, label in ((9, "Dummy"), (10, "OBS Virtual Camera"), (1000, "streamseg")):
        (tmp_path / f"video{number}").mkdir()
        (tmp_path / f"video{number}" / "name").write_text(f"{label}\n")
    return tmp_path


def opened(info: VideoInfo, device: FakeDevice) -> LoopbackCamera:
    return LoopbackCamera(info, device)  # type: ignore[arg-type]


def opener(**devices: FakeDevice | int) -> Callable[[Path], OutputDevice]:
    """Open stand-ins by the name of their device, or fail with an error's number."""

    def open_device(path: Path) -> OutputDevice:
        device = devices[path.name]
        if isinstance(device, int):
            raise OSError(device, os.strerror(device))
        device.path = path
        return device  # type: ignore[return-value]

    return open_device


def still(image: Pixels | YuvImage) -> Frame:
    return Frame(0, Fraction(0), image)


@linux_only
class TestChoice:
    @pytest.mark.parametrize(
        ("wanted", "numbers"),
        [
            ("", [9, 10, 1000]),
            ("streamseg", [1000]),
            ("obs virtual", [10]),
            ("STREAMSEG", [1000]),
            ("m", [9, 10, 1000]),
        ],
    )
    def test_by_label(self, wanted: str, numbers: list[int], sysfs: Path) -> None:
        assert [one.path for one in find_loopbacks(wanted, sysfs)] == [Path(f"/dev/video{n}") for n in numbers]

    def test_by_path(self, sysfs: Path) -> None:
        """A device that is no v4l2loopback, such as akvcam's, may be named by its path."""
        device = sysfs / "video77"
        device.touch()
        assert [one.path for one in find_loopbacks(str(device), sysfs)] == [device]

    @pytest.mark.parametrize(
        ("wanted", "message"),
        [
            ("zoom", r"named 'zoom'; found: /dev/video9 \(Dummy\), .*Give --out virtual, virtual:NAME or virtual:/dev"),
            ("/dev/video77", r"there is no /dev/video77; virtual cameras found: /dev/video9 \(Dummy\), "),
        ],
    )
    def test_there_is_no_such(self, wanted: str, message: str, sysfs: Path) -> None:
        with pytest.raises(OutputError, match=message):
            find_loopbacks(wanted, sysfs)

    @pytest.mark.parametrize("wanted", ["", "OBS", "/dev/video77"])
    def test_there_is_none_at_all(self, wanted: str, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match=r"install v4l2loopback .*sudo modprobe v4l2loopback exclusive_caps=1"):
            find_loopbacks(wanted, tmp_path)

    def test_the_first_that_opens(self, sysfs: Path) -> None:
        busy, free = FakeDevice(refusals={"set_format": errno.EBUSY}), FakeDevice()
        with open_loopback(INFO, "", sysfs, opener(video9=errno.EACCES, video10=busy, video1000=free)) as sink:
            assert "/dev/video1000" in sink.summary
        assert busy.is_closed and free.is_closed

    def test_each_ones_reason_when_none_opens(self, sysfs: Path) -> None:
        phone, kept = FakeDevice(driver="Droidcam", outputs=False), FakeDevice(kept=(640, 480, b"YUYV"))
        with pytest.raises(OutputError) as caught:
            open_loopback(INFO, "", sysfs, opener(video9=errno.EACCES, video10=phone, video1000=kept))
        message = str(caught.value)
        assert "/dev/video9 (Dummy): no permission: sudo usermod -aG video $USER" in message
        assert "/dev/video10 (OBS Virtual Camera): it belongs to the driver Droidcam" in message
        assert "/dev/video1000 (streamseg): it is kept at 640x480 YUYV by a program: choose another" in message
        assert "\n" not in message and phone.is_closed and kept.is_closed

    def test_what_is_watched_is_what_will_be_written_to(self, sysfs: Path) -> None:
        device = FakeDevice()
        assert choose_loopback("", sysfs, opener(video9=errno.EACCES, video10=device)) == Path("/dev/video10")
        assert device.is_closed and device.rate is None

    def test_a_file_that_is_no_device(self, tmp_path: Path) -> None:
        (tmp_path / "video9").touch()
        with pytest.raises(OutputError, match=r"video9 .*: it is no device that pictures can be written to"):
            open_virtual_camera(INFO, f"virtual:{tmp_path / 'video9'}")

    @pytest.mark.parametrize(
        ("out", "is_camera"),
        [("virtual", True), ("virtual:OBS", True), ("virtual:/dev/video1", True), ("virtual.mp4", False), ("x", False)],
    )
    def test_outputs_that_name_one(self, out: str, is_camera: bool) -> None:
        assert is_virtual_camera(out) == is_camera

    def test_the_sink_is_opened_by_name(self) -> None:
        with pytest.raises(OutputError, match=r"there is no /dev/no-such-camera"):
            open_sink("virtual:/dev/no-such-camera", INFO)


@linux_only
class TestWriting:
    def test_the_rate_is_stated_and_the_last_frame_repeated_while_it_is_open(self) -> None:
        device = FakeDevice()
        with opened(INFO, device) as sink:
            assert (device.rate, device.is_repeating) == (INFO.rate, True)
            sink.write(still(YuvImage.of(np.zeros((48, 64, 3), np.uint8))))
        assert sink.summary == "1 frames to the virtual camera /dev/video10"
        assert not device.is_repeating and device.is_closed

    def test_a_setting_of_the_user_is_kept(self) -> None:
        device = FakeDevice(is_repeating=True)
        with opened(INFO, device):
            pass
        assert device.is_repeating

    def test_a_driver_that_cannot_repeat(self) -> None:
        device = FakeDevice(driver="akvcam", refusals={"set_repeating": errno.EINVAL})
        with opened(INFO, device) as sink:
            sink.write(still(np.zeros((48, 64), np.uint8)))
        assert len(device.written) == 1 and device.is_closed

    def test_frames_of_changing_kinds(self) -> None:
        """One colour comes out alike, in limited-range BT.601, whatever it was handed over in."""
        device, rgb = FakeDevice(), np.full((48, 64, 3), (200, 60, 30), np.uint8)
        in_bt601 = YuvImage.of(rgb).in_matrix(Colorspace.ITU601)
        opaque = np.dstack((rgb, np.full((48, 64), 255, np.uint8)))
        with opened(INFO, device) as sink:
            for image in (rgb, opaque, YuvImage.of(rgb), in_bt601):
                sink.write(still(image))
            sink.write(still(np.full((48, 64), 255, np.uint8)))
        # ITU-R BT.601, by hand: Y = 16 + 65.481 R + 128.553 G + 24.966 B of 0..1, and so on.
        y, cb, cr = 100.5, 94.1, 191.6
        for planes in device.written[:4]:
            found = np.frombuffer(planes, np.uint8).astype(float)
            assert np.abs(found[: 48 * 64] - y).max() <= 1.5
            assert np.abs(found[48 * 64 :].reshape(2, -1) - [[cb], [cr]]).max() <= 1.5
        assert np.frombuffer(device.written[4], np.uint8)[: 48 * 64].min() == 235

    def test_odd_sides_are_padded(self) -> None:
        device = FakeDevice()
        with opened(VideoInfo(63, 47), device) as sink:
            sink.write(still(np.zeros((47, 63, 3), np.uint8)))
        assert len(device.written[0]) == 64 * 48 * 3 // 2

    @pytest.mark.parametrize(("captures", "is_hinted"), [(True, True), (False, False)])
    def test_what_keeps_browsers_from_listing_it_is_told(self, captures: bool, is_hinted: bool) -> None:
        with opened(INFO, FakeDevice(captures=captures)) as sink:
            assert ("exclusive_caps=1" in sink.hint) == is_hinted

    @pytest.mark.parametrize(
        ("number", "reason"), [(errno.ENODEV, "No such device"), (errno.EBUSY, "another program writes to it")]
    )
    def test_the_device_fails_while_writing(self, number: int, reason: str) -> None:
        device = FakeDevice(refusals={"write": number})
        message = f"cannot write to the virtual camera /dev/video10: {reason}"
        with pytest.raises(OutputError, match=message), opened(INFO, device) as sink:
            sink.write(still(np.zeros((48, 64, 3), np.uint8)))
        assert device.is_closed


@linux_only
class TestDriver:
    """The bytes that go to and come from the driver, by the structures of linux/videodev2.h on 64 bits."""

    def device(self, folder: Path, answer: Callable[[int, bytearray], None]) -> OutputDevice:
        (folder / "video10").touch()
        return OutputDevice(folder / "video10", lambda descriptor, number, buffer: answer(number, buffer))

    def test_capability(self, tmp_path: Path) -> None:
        def answer(number: int, buffer: bytearray) -> None:
            assert number == 0x80685600
            struct.pack_into("16s32s32s3I", buffer, 0, b"v4l2 loopback", b"card", b"bus", 1, 0x8520_0003, 0x0520_0002)

        device = self.device(tmp_path, answer)
        assert device.capability() == ("v4l2 loopback", False, True)
        device.close()

    def test_format(self, tmp_path: Path) -> None:
        def answer(number: int, buffer: bytearray) -> None:
            assert (number, len(buffer)) == (0xC0D05605, 208)
            assert struct.unpack_from("I4xII4sI", buffer) == (2, 1280, 720, b"YU12", 0)
            struct.pack_into("I4xII4s", buffer, 0, 2, 640, 360, b"YUYV")

        device = self.device(tmp_path, answer)
        assert device.set_format(1280, 720) == (640, 360, b"YUYV")
        device.close()

    def test_rate_and_repetition(self, tmp_path: Path) -> None:
        asked = []
        device = self.device(tmp_path, lambda number, buffer: asked.append((number, struct.unpack_from("2I", buffer))))
        device.set_rate(Fraction(30000, 1001))
        device.set_repeating(True)
        device.close()
        assert [number for number, _ in asked] == [0xC0CC5616, 0xC008561B, 0xC008561C]
        assert asked[0][1] == (2, 0x1000) and asked[2][1] == (0x0098_F901, 1)

    def test_frames_are_written_whole(self, tmp_path: Path) -> None:
        device = self.device(tmp_path, lambda number, buffer: None)
        device.write(np.arange(6, dtype=np.uint8))
        device.close()
        assert (tmp_path / "video10").read_bytes() == bytes(range(6))


class Clock:
    seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@linux_only
class TestReaders:
    def test_wanted_while_read_and_a_moment_longer(self) -> None:
        clock, looks, reads = Clock(), [], [False, True, False, False, False]
        readers = SimpleNamespace(how="x", is_read=lambda: looks.append(1) or reads[len(looks) - 1])
        watch = ReaderWatch(readers, clock)
        found = []
        for clock.seconds in (100, 101, 101.2, 103, 104.2, 106):
            found.append(watch.wanted())
        assert found == [False, True, True, True, False, False]
        assert len(looks) == 5

    @pytest.mark.parametrize("count", [0, 1])
    def test_events(self, count: int, tmp_path: Path) -> None:
        """Each look subscribes anew and takes the event that tells the present state."""
        numbers = []

        def answer(descriptor: int, number: int, buffer: bytearray) -> None:
            numbers.append(number)
            if number in (0x4020565A, 0x4020565B):
                assert struct.unpack_from("3I", buffer) == (0x10E0_0001, 0, 1)
            else:
                assert len(buffer) == 136
                struct.pack_into("I4xI", buffer, 0, 0x10E0_0001, count)

        (tmp_path / "video10").touch()
        readers = Subscription(tmp_path / "video10", answer)
        assert readers.is_read() == bool(count)
        assert numbers == [0x4020565B, 0x4020565A, 0x80885659] * 2
        readers.close()

    def test_a_device_that_was_removed_is_as_it_was(self, tmp_path: Path) -> None:
        is_gone = False

        def answer(descriptor: int, number: int, buffer: bytearray) -> None:
            if is_gone:
                raise OSError(errno.ENODEV, "gone")
            struct.pack_into("I4xI", buffer, 0, 0x10E0_0001, 1) if number == 0x80885659 else None

        (tmp_path / "video10").touch()
        readers = Subscription(tmp_path / "video10", answer)
        is_gone = True
        assert readers.is_read()
        readers.close()

    def test_no_descriptor_stays_open_where_the_driver_knows_no_such_event(self, tmp_path: Path) -> None:
        def refuse(descriptor: int, number: int, buffer: bytearray) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

        (tmp_path / "video10").touch()
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(OSError, match="Invalid argument"):
            Subscription(tmp_path / "video10", refuse)
        assert len(list(Path("/proc/self/fd").iterdir())) == before

    def test_programs_that_have_it_open(self, tmp_path: Path) -> None:
        device, process = tmp_path / "video10", tmp_path / "proc/77"
        device.touch()
        (process / "fd").mkdir(parents=True)
        (process / "comm").write_text("zoom\n")
        readers = OpenPrograms(device, VideoDevices(proc=tmp_path / "proc"))
        assert not readers.is_read()
        (process / "fd/5").symlink_to(device)
        assert readers.is_read()


class TestOtherSystems:
    @pytest.fixture(autouse=True)
    def system(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "platform", "darwin")

    def test_pyvirtualcam_is_not_installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
        with pytest.raises(MissingExtraError, match=r"pip install 'streamseg\[virtualcam\]'"):
            open_virtual_camera(INFO)

    def test_each_kinds_reason_when_none_opens(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def camera(width: int, height: int, fps: float, device: str | None) -> None:
            raise RuntimeError("'obs' backend: no device\n'unitycapture' backend: not installed")

        monkeypatch.setitem(sys.modules, "pyvirtualcam", SimpleNamespace(Camera=camera))
        message = r"\('obs' backend: no device; 'unitycapture' backend: not installed\); install OBS Studio"
        with pytest.raises(OutputError, match=message):
            open_virtual_camera(INFO)

    @pytest.mark.parametrize(
        ("out", "name"), [("virtual", None), ("virtual:Unity Video Capture", "Unity Video Capture")]
    )
    def test_by_name(self, out: str, name: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = []

        def camera(width: int, height: int, fps: float, device: str | None) -> None:
            asked.append(device)

        monkeypatch.setitem(sys.modules, "pyvirtualcam", SimpleNamespace(Camera=camera))
        assert isinstance(open_virtual_camera(INFO, out), PyVirtualCam)
        assert asked == [name]

    def test_readers_are_not_known(self) -> None:
        with pytest.raises(OutputError, match="--on-demand needs v4l2loopback"):
            watch_readers()
