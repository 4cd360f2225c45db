"""Cameras and virtual cameras of a real kernel: run by `make vmtest` in the virtual machine, and nowhere else."""

from __future__ import annotations

import fcntl
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from streamseg.decode import list_cameras, open_camera
from streamseg.decode.capture_v4l2 import DeviceOpener
from streamseg.errors import CameraError, OutputError
from streamseg.frames import Frame, VideoInfo
from streamseg.image import Pixels
from streamseg.sink.base import BaseSink
from streamseg.sink.virtual import open_virtual_camera, watch_readers
from streamseg.sink.virtual.device import CONTROL, S_CTRL
from streamseg.sink.virtual.loopback import MATRIX, LoopbackCamera
from streamseg.yuv import YuvImage

MODULES = Path("/vm/modules")
BUSYBOX = "/vm/busybox"
LABEL = "streamseg test"
DEVICE = "/dev/video10"
INFO = VideoInfo(640, 360, Fraction(10))
DISCONNECT = 0x00F0_F041
"""Control of vivid: VIVID_CID_DISCONNECT."""
PATIENCE_SECONDS = 120
"""The machine is emulated: what takes a moment elsewhere takes seconds here."""


def busybox(*words: str) -> None:
    subprocess.run([BUSYBOX, *words], check=True)


def becomes(condition: Callable[[], bool]) -> bool:
    """Wait for a condition for as long as is bearable."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True


@pytest.fixture(scope="session", autouse=True)
def modules() -> None:
    """The kernel's modules for cameras, without any camera."""
    for name in (MODULES / "order").read_text().split():
        if name != "vivid.ko":
            busybox("insmod", str(MODULES / name))


@pytest.fixture(params=sorted(path.name for path in MODULES.glob("v4l2loopback-*.ko")))
def version(request: pytest.FixtureRequest) -> Iterator[str]:
    """Two virtual cameras of one version of v4l2loopback; the module's removal fails if one was left open."""
    module = MODULES / str(request.param)
    options = ["devices=2", "video_nr=9,10", f'card_label="other,{LABEL}"', "exclusive_caps=1,1"]
    busybox("insmod", str(module), *options)
    yield module.stem.removeprefix("v4l2loopback-")
    busybox("rmmod", "v4l2loopback")


def picture(seed: int) -> YuvImage:
    """Noise in the virtual camera's own matrix, whose every sample must come through."""
    image, random = YuvImage.empty((360, 640), MATRIX), np.random.default_rng(seed)
    for plane in image.planes:
        plane[:] = random.integers(16, 236, plane.shape, np.uint8)
    return image


def samples_of(image: YuvImage) -> bytes:
    return b"".join(plane.tobytes() for plane in image.planes)


@contextmanager
def reader(device: str = DEVICE) -> Iterator[Iterator[av.VideoFrame]]:
    """Yield copies of a device's frames, since FFmpeg's own must not outlive the open device."""
    with av.open(device, format="v4l2") as container:
        frames = (av.VideoFrame.from_ndarray(frame.to_ndarray(), frame.format.name) for frame in container.decode())
        yield frames
        frames.close()


@contextmanager
def program(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([BUSYBOX, *words]) as process:
        try:
            yield process
        finally:
            process.kill()


def send(sink: BaseSink, image: Pixels | YuvImage) -> None:
    sink.write(Frame(0, Fraction(0), image))


class TestVirtualCamera:
    def test_what_is_written_is_read(self, version: str) -> None:
        with open_virtual_camera(INFO, f"virtual:{LABEL}") as sink:
            assert isinstance(sink, LoopbackCamera)
            assert DEVICE in sink.summary and not sink.hint
            send(sink, picture(0))
            with reader() as frames:
                for seed in range(1, 6):
                    send(sink, picture(seed))
                    frame = next(frames)
                    while samples_of(YuvImage(frame)) == samples_of(picture(seed - 1)):
                        frame = next(frames)
                    assert (frame.format.name, frame.width, frame.height) == ("yuv420p", 640, 360)
                    assert samples_of(YuvImage(frame)) == samples_of(picture(seed))

    def test_colours_and_odd_sides(self, version: str) -> None:
        """RGB arrives as a program sees it that takes the camera for the sRGB webcam that it says it is."""
        rgb = np.full((359, 639, 3), (200, 60, 30), np.uint8)
        with open_virtual_camera(VideoInfo(639, 359, Fraction(10)), f"virtual:{DEVICE}") as sink:
            send(sink, rgb)
            with reader() as frames:
                send(sink, rgb)
                seen = YuvImage(next(frames), MATRIX).rgb
        assert seen.shape == (360, 640, 3)
        assert np.abs(seen.astype(int) - (200, 60, 30)).max() <= 2

    def test_opencv_reads_it(self, version: str) -> None:
        """OpenCV, as meeting programs do, converts the planes by BT.601."""
        with open_virtual_camera(INFO, f"virtual:{DEVICE}") as sink:
            send(sink, np.full((360, 640, 3), (200, 60, 30), np.uint8))
            capture = cv2.VideoCapture(DEVICE, cv2.CAP_V4L2)
            is_read, bgr = capture.read()
            capture.release()
        assert is_read and bgr is not None and bgr.shape == (360, 640, 3)
        assert np.abs(bgr.astype(int) - (30, 60, 200)).max() <= 3

    def test_the_last_frame_is_repeated_while_none_comes(self, version: str) -> None:
        with open_virtual_camera(INFO, f"virtual:{DEVICE}") as sink:
            send(sink, picture(1))
            with reader() as frames:
                started = time.monotonic()
                for _ in range(5):
                    assert samples_of(YuvImage(next(frames))) == samples_of(picture(1))
                assert time.monotonic() - started > 0.2

    def test_readers_are_noticed(self, version: str) -> None:
        watch = watch_readers(f"virtual:{LABEL}")
        assert ("events" in watch.how.partition(",")[0]) == (version != "0.12.7")
        with open_virtual_camera(INFO, f"virtual:{LABEL}") as sink:
            send(sink, picture(1))
            assert not watch.wanted()
            for _ in range(2):
                with program("dd", f"if={DEVICE}", "of=/dev/null"):
                    assert becomes(watch.wanted)
                assert becomes(lambda: not watch.wanted())
        watch.close()

    def test_a_device_that_another_program_writes_to(self, version: str) -> None:
        if version == "0.12.7":
            pytest.skip("this version lets two programs write")
        with program("sh", "-c", f"({BUSYBOX} head -c 1000 /dev/zero; {BUSYBOX} sleep 600) > {DEVICE}"):
            time.sleep(1)
            with pytest.raises(OutputError, match=r"another program writes to it \(open in (busybox|sh|sleep)"):
                open_virtual_camera(INFO, f"virtual:{DEVICE}")
            with open_virtual_camera(INFO) as sink:
                assert "/dev/video9" in sink.summary

    def test_a_size_that_a_reader_keeps(self, version: str) -> None:
        with ExitStack() as stack:
            with open_virtual_camera(INFO, f"virtual:{DEVICE}") as sink:
                send(sink, picture(1))
                stack.enter_context(program("dd", f"if={DEVICE}", "of=/dev/null"))
                time.sleep(1)
            with pytest.raises(OutputError, match=r"it is kept at 640x360 YU12 by (busybox|dd): choose"):
                open_virtual_camera(VideoInfo(1280, 720), f"virtual:{DEVICE}")
            with open_virtual_camera(INFO, f"virtual:{DEVICE}") as sink:
                send(sink, picture(2))


@pytest.fixture
def camera() -> Iterator[None]:
    """A camera that shows coloured bars: `vivid`."""
    plug_in()
    yield
    busybox("rmmod", "vivid")


def plug_in() -> None:
    """Load the camera's module, with one device for video and one input, which is a webcam."""
    busybox("insmod", str(MODULES / "vivid.ko"), "n_devs=1", "node_types=0x1", "num_inputs=1", "input_types=0")


def bus(action: str) -> None:
    """Take the camera from its driver (`unbind`), as unplugging does, or give it back (`bind`)."""
    Path("/sys/bus/platform/drivers/vivid", action).write_text("vivid.0")


def disconnect() -> None:
    """Have the driver act as if the plug was pulled, until all programs have closed the device."""
    descriptor = os.open("/dev/video0", os.O_RDWR | os.O_NONBLOCK)
    try:
        fcntl.ioctl(descriptor, S_CTRL, CONTROL.pack(DISCONNECT, 1))
    finally:
        os.close(descriptor)


def first(frames: Iterator[Frame], condition: Callable[[Frame], bool]) -> Frame:
    """Return the first frame that meets a condition."""
    until = time.monotonic() + PATIENCE_SECONDS
    for frame in frames:
        if condition(frame):
            return frame
        assert time.monotonic() < until, f"still {frame!r}, card {frame.card!r}"
    raise AssertionError("the camera ended")


def is_picture(frame: Frame) -> bool:
    return frame.card is None


def is_unplugged(frame: Frame) -> bool:
    return frame.card == "camera unplugged: waiting for it"


def open_files() -> list[str]:
    return [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]


@pytest.mark.usefixtures("camera")
class TestCamera:
    def test_it_is_listed_with_its_modes(self) -> None:
        (found,) = list_cameras()
        assert (found.name, found.driver, found.is_virtual) == ("vivid", "vivid", False)
        assert {(640, 360), (1280, 720), (1920, 1080)} <= {(mode.width_px, mode.height_px) for mode in found.modes}

    @pytest.mark.parametrize("size", [(640, 360), (1280, 720)])
    def test_it_is_opened_by_name_and_size_in_its_true_colours(self, size: tuple[int, int]) -> None:
        with open_camera("VIV", size, 5) as source:
            assert (source.info.width_px, source.info.height_px) == size
            frame = first(iter(source), is_picture)
        # Eight bars of the EIA pattern, 75 % bright, far from the text in the upper half.
        bars = [frame.pixels[-20, (2 * bar + 1) * size[0] // 16] for bar in range(7)]
        meant = [(191, 191, 191), (191, 191, 0), (0, 191, 191), (0, 191, 0), (191, 0, 191), (191, 0, 0), (0, 0, 191)]
        assert np.abs(np.array(bars, int) - meant).max() <= 6, bars

    def test_frames_outlive_the_open_device(self) -> None:
        capture = DeviceOpener("vivid", (640, 360), Fraction(5))()
        shots = [capture.read() for _ in range(4)]
        levels = [shot.frame.to_ndarray().copy() for shot in shots]
        capture.close()
        assert all(np.array_equal(shot.frame.to_ndarray(), level) for shot, level in zip(shots, levels, strict=True))

    def test_it_is_in_use(self) -> None:
        with program("dd", "if=/dev/video0", "of=/dev/null"):
            time.sleep(2)
            with pytest.raises(CameraError, match=r"camera vivid \(/dev/video0\) is in use by (busybox|dd)"):
                open_camera("vivid", (640, 360))

    def test_unplugged_and_back(self) -> None:
        with open_camera("vivid", (640, 360), 5) as source:
            frames = iter(source)
            for _ in range(3):
                first(frames, is_picture)
                bus("unbind")
                first(frames, is_unplugged)
                bus("bind")
                started = time.monotonic()
                first(frames, is_picture)
                print(f"back after {time.monotonic() - started:.1f} s")

    def test_a_driver_that_ends_the_stream(self) -> None:
        """As USB cameras do: the device says that it is gone, and is back once it has been let go."""
        with open_camera("vivid", (640, 360), 5) as source:
            frames = iter(source)
            first(frames, is_picture)
            before = len(open_files()), threading.active_count()
            for _ in range(5):
                disconnect()
                first(frames, is_unplugged)
                first(frames, is_picture)
            assert (len(open_files()), threading.active_count()) == before

    def test_the_module_is_removed_and_comes_back(self) -> None:
        with open_camera("vivid", (640, 360), 5) as source:
            frames = iter(source)
            first(frames, is_picture)
            bus("unbind")
            first(frames, is_unplugged)
            busybox("rmmod", "vivid")
            assert is_unplugged(next(frames))
            plug_in()
            first(frames, is_picture)

    def test_from_the_camera_to_a_reader(self, version: str) -> None:
        """What the reader sees are the camera's own pixels, in the matrix that both state."""
        with (
            open_camera("vivid", (640, 360), 5) as source,
            open_virtual_camera(source.info, f"virtual:{LABEL}") as sink,
        ):
            written = set()
            frames = iter(source)
            for _ in range(2):
                image = first(frames, is_picture).image
                assert isinstance(image, YuvImage)
                written.add(samples_of(image.in_matrix(MATRIX)))
                send(sink, image)
            with reader() as seen:
                assert samples_of(YuvImage(next(seen))) in written

    def test_on_demand(self, version: str) -> None:
        """The camera is open only while a program reads the virtual one."""
        watch = watch_readers(f"virtual:{LABEL}")
        with (
            open_camera("vivid", (640, 360), 5, wanted=watch.wanted) as source,
            open_virtual_camera(source.info, f"virtual:{LABEL}") as sink,
        ):

            def shown() -> Iterator[Frame]:
                for frame in source:
                    sink.write(frame)
                    yield frame

            for _ in range(2):
                assert first(shown(), lambda frame: not is_picture(frame)).card == "nobody is watching"
                assert becomes(lambda: "/dev/video0" not in open_files())
                with program("dd", f"if={DEVICE}", "of=/dev/null"):
                    first(shown(), is_picture)
        watch.close()
