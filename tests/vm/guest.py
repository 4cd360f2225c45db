"""Cameras and virtual cameras of a real kernel: run by `make vmtest` in the virtual machine, and nowhere else."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from streamseg.errors import OutputError
from streamseg.frames import Frame, VideoInfo
from streamseg.image import Pixels
from streamseg.sink.base import BaseSink
from streamseg.sink.virtual import open_virtual_camera, watch_readers
from streamseg.sink.virtual.loopback import MATRIX, LoopbackCamera
from streamseg.yuv import YuvImage

MODULES = Path("/vm/modules")
BUSYBOX = "/vm/busybox"
LABEL = "streamseg test"
DEVICE = "/dev/video10"
INFO = VideoInfo(640, 360, Fraction(10))
PATIENCE_SECONDS = 60
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
    with av.open(device, format="v4l2") as container:
        yield container.decode(video=0)


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
