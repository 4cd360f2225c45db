"""What every sink promises, asked of each one in the same words."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import cv2
import numpy as np
import pytest

from streamseg.decode import open_source
from streamseg.frames import Frame, VideoInfo
from streamseg.image import Pixels
from streamseg.settings import OutputSettings
from streamseg.sink import Sink, open_sink
from streamseg.sink.images import opaque
from streamseg.sink.virtual import PyVirtualCam
from tests.fake_window import FakeWindow
from tests.synthetic import picture, true_alpha

COUNT = 3


@dataclass
class Case:
    """A sink and what can be seen of it from outside.

    Attributes:
        open: opens it for pictures of a size.
        pictures: what came out, as RGB.
        released: whether it gave back what it held.
        keeps_alpha: it takes foregrounds, and keeps colours where nothing shows.
        whole_frames: every frame is final as soon as it is written, so that an error takes none back.
        level: how far the codec may move a pixel.
    """

    open: Callable[[VideoInfo], Sink]
    pictures: Callable[[], list[Pixels]]
    released: Callable[[], bool] = lambda: True
    keeps_alpha: bool = True
    whole_frames: bool = True
    level: int = 0


def mp4_case(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    out = folder / "out.mp4"

    def pictures() -> list[Pixels]:
        if not out.exists():
            return []
        with av.open(str(out)) as container:
            return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]

    return Case(lambda info: open_sink(str(out), info), pictures, keeps_alpha=False, whole_frames=False, level=3)


def pattern_case(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(lambda info: open_sink(str(folder / "x_%03d.png"), info, "foreground"), lambda: _read_all(folder))


def folder_case(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    out = folder / "new" / "pictures"
    return Case(lambda info: open_sink(f"{out}/", info, "foreground"), lambda: _read_all(out))


def animation_case(name: str, level: int = 0) -> Callable[..., Case]:
    """Their alpha is looked at in `test_animation`: they leave out colours where nothing shows."""

    def case(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
        out, best = folder / name, OutputSettings(quality="high")

        def pictures() -> list[Pixels]:
            if not out.exists():
                return []
            with open_source(str(out)) as source:
                return [frame.pixels for frame in source]

        return Case(
            lambda info: open_sink(str(out), info, output=best),
            pictures,
            keeps_alpha=False,
            whole_frames=False,
            level=level,
        )

    return case


def window_case(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    window = FakeWindow(monkeypatch)
    return Case(lambda info: open_sink("window", info, "foreground"), lambda: window.shown, lambda: not window.titles)


def loopback_case(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """The device is a plain file that takes the same bytes, and whose driver grants everything."""
    from streamseg.sink.virtual.device import OutputDevice
    from streamseg.sink.virtual.loopback import LoopbackCamera

    device, sizes, descriptors = folder / "video9", [], []
    device.touch()

    def grant(descriptor: int, number: int, buffer: bytearray) -> None:
        descriptors.append(descriptor)

    def open_loopback(info: VideoInfo) -> Sink:
        sizes.append((info.height_px + info.height_px % 2, info.width_px + info.width_px % 2))
        return LoopbackCamera(info, OutputDevice(device, grant))

    def pictures() -> list[Pixels]:
        height, width = sizes[0]
        planes = np.fromfile(device, np.uint8).reshape(-1, height * 3 // 2, width)
        return [_bt601(frame) for frame in planes]

    return Case(open_loopback, pictures, lambda: not Path(f"/proc/self/fd/{descriptors[0]}").exists(), level=2)


@dataclass
class FakeVirtualCamera:
    """Stands in for pyvirtualcam.Camera."""

    width: int
    height: int
    fps: float
    device: str = "OBS"
    sent: list[Pixels] = field(default_factory=list)
    closed: bool = False
    resume_at: Fraction = Fraction(0)

    def send(self, pixels: Pixels) -> None:
        assert pixels.shape == (self.height, self.width, 3)
        self.sent.append(pixels)

    def close(self) -> None:
        self.closed = True


def pyvirtualcam_case(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    cameras: list[FakeVirtualCamera] = []

    def camera(width: int, height: int, fps: float, device: str | None) -> FakeVirtualCamera:
        cameras.append(FakeVirtualCamera(width, height, fps))
        return cameras[-1]

    monkeypatch.setitem(sys.modules, "pyvirtualcam", SimpleNamespace(Camera=camera))
    return Case(PyVirtualCam, lambda: cameras[0].sent, lambda: cameras[0].closed)


CASES = {
    "mp4": mp4_case,
    "pattern": pattern_case,
    "folder": folder_case,
    "webp": animation_case("x.webp"),
    "apng": animation_case("x.apng"),
    "gif": animation_case("x.gif", level=3),
    "window": window_case,
    "pyvirtualcam": pyvirtualcam_case,
} | ({"loopback": loopback_case} if sys.platform.startswith("linux") else {})


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    return CASES[request.param](tmp_path, monkeypatch)


def frames_of(kind: str, width_px: int = 64, height_px: int = 48) -> list[Frame]:
    """The moving disc in colour, as a foreground, or its outline in grey."""
    made = []
    for index in range(COUNT):
        rgb = picture(index, width_px, height_px)
        grey = true_alpha(index, width_px, height_px)
        pixels = {"rgb": rgb, "rgba": np.dstack((rgb, grey)), "grey": grey}[kind]
        made.append(Frame(index, Fraction(index, 25), pixels))
    return made


def info_of(frames: list[Frame]) -> VideoInfo:
    height, width = frames[0].pixels.shape[:2]
    return VideoInfo(width, height, Fraction(25), Fraction(1, 25))


def write_all(case: Case, frames: list[Frame], error: BaseException | None = None, count: int = COUNT) -> Sink:
    """Writes the first `count` frames, then raises `error` inside `with`."""
    sink = case.open(info_of(frames))
    with sink:
        for frame in frames[:count]:
            sink.write(frame)
        if error:
            raise error
    return sink


@pytest.mark.parametrize("kind", ["rgb", "rgba", "grey"])
@pytest.mark.parametrize("size", [(64, 48), (63, 47)], ids=["even", "odd"])
def test_every_kind_of_image_comes_out(case: Case, kind: str, size: tuple[int, int]) -> None:
    if kind == "rgba" and not case.keeps_alpha:
        pytest.skip("cannot hold transparency")
    frames = frames_of(kind, *size)
    before = [frame.pixels.copy() for frame in frames]
    write_all(case, frames)
    found = case.pictures()
    assert len(found) == COUNT
    for frame, pixels in zip(frames, found, strict=True):
        # Edges of colour are half as sharp in 4:2:0, so the disc's rim is left to the mean.
        shown = pixels[: size[1], : size[0]].astype(int)
        expected = frame.pixels if pixels.shape[-1] == 4 and kind == "rgba" else opaque(frame.image).rgb
        assert np.abs(shown[..., : expected.shape[2]] - expected).mean() <= case.level
    assert all(map(np.array_equal, before, (frame.pixels for frame in frames))), "the sink changed its input"


def test_frames_before_0_are_written_too(case: Case) -> None:
    write_all(case, [replace(frame, pts=frame.pts - 1) for frame in frames_of("rgb")])
    assert len(case.pictures()) == COUNT


def test_completing_releases_and_says_what_was_written(case: Case) -> None:
    sink = write_all(case, frames_of("rgb"))
    assert case.released()
    assert sink.summary
    assert "\n" not in sink.summary


def test_ctrl_c_completes(case: Case, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_all(case, frames_of("rgb"), KeyboardInterrupt())
    assert len(case.pictures()) == COUNT
    assert case.released()
    assert list(tmp_path.rglob("*.part")) == []


@pytest.mark.parametrize("written", [0, 1, COUNT])
def test_an_error_leaves_nothing_half_written(case: Case, written: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="elsewhere"):
        write_all(case, frames_of("rgb"), ValueError("elsewhere"), written)
    assert len(case.pictures()) == (written if case.whole_frames else 0)
    assert case.released()
    assert list(tmp_path.rglob("*.part")) == []


@pytest.mark.parametrize("error", [None, KeyboardInterrupt()], ids=["end", "ctrl-c"])
def test_no_frames_is_no_error(case: Case, error: BaseException | None, tmp_path: Path) -> None:
    with suppress(KeyboardInterrupt):
        write_all(case, frames_of("rgb"), error, 0)
    assert case.pictures() == []
    assert case.released()
    assert list(tmp_path.rglob("*.part")) == []


def _read_all(folder: Path) -> list[Pixels]:
    """The pictures of a folder as RGB or RGBA."""
    found = []
    for path in sorted(folder.glob("*.png")):
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert pixels is not None, f"{path} is not whole"
        code = {2: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}
        found.append(cv2.cvtColor(pixels, code[pixels.shape[2] if pixels.ndim == 3 else 2]))
    return found


def _bt601(planes: Pixels) -> Pixels:
    """4:2:0 planes in limited-range BT.601 -> RGB, by the book."""
    height, width = planes.shape[0] * 2 // 3, planes.shape[1]
    chroma = planes[height:].reshape(2, height // 2, width // 2)
    y = (planes[:height].astype(float) - 16) / 219
    cb, cr = ((plane.repeat(2, 0).repeat(2, 1).astype(float) - 128) / 224 for plane in chroma)
    rgb = np.dstack((y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb))
    return (rgb * 255).round().clip(0, 255).astype(np.uint8)
