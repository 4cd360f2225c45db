"""The library as its users call it: one image, a loop of their own, a stream, a whole file."""

from __future__ import annotations

import doctest
import gc
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

import streamseg
from streamseg import Frame, MattingSession, VideoInfo, convert, matte, open_background, open_source, register_engine
from streamseg.errors import ConfigError, EngineError, InputError, OutputError
from streamseg.image import Pixels
from streamseg.infer.engines import ENGINES
from streamseg.matting import Result, as_pixels
from streamseg.yuv import RgbImage
from tests.conftest import SAMPLES
from tests.synthetic import DISC, DiscEngine, ListSource, frames, picture, true_alpha, write_clip
from tests.test_composite import write_levels
from tests.test_gpu_line import texture


def session(**settings: object) -> MattingSession:
    return MattingSession(engine=DiscEngine(), input_size=128, **settings)


def streamseg_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("streamseg")]


def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "samples").symlink_to(SAMPLES)
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testmod(streamseg)
    assert (failed, tried) == (0, 8)


class TestResult:
    def test_alpha_foreground_and_composite_are_of_one_run(self) -> None:
        one = session(smooth="none")
        result = one(picture(0))
        assert np.abs(result.alpha.astype(int) - true_alpha(0)).mean() < 3
        assert result.rgba.shape == (96, 128, 4)
        assert np.array_equal(result.rgba[..., 3], result.alpha)
        assert np.array_equal(result.rgba[..., :3], result.foreground)
        over = result.over("#0000ff")
        assert tuple(over[0, 0]) == (0, 0, 255)
        inside = result.alpha == 255
        assert np.array_equal(over[inside], picture(0)[inside])
        assert one._engine.calls == 1  # type: ignore[union-attr]

    def test_a_frames_own_alpha_holds_too(self) -> None:
        half = np.dstack((picture(0), np.full((96, 128), 128, np.uint8)))
        result = session()(half)
        assert result.alpha.max() == 128
        assert tuple(result.over("#0000ff")[0, 0]) == (0, 0, 255)

    def test_backgrounds_of_all_kinds(self, tmp_path: Path) -> None:
        result = session()(picture(0))
        Image.new("RGB", (10, 10), (1, 2, 3)).save(tmp_path / "bg.png")
        wall = np.full((96, 128, 3), (1, 2, 3), np.uint8)
        memory = (wall, Image.open(tmp_path / "bg.png"), torch.from_numpy(wall), torch.from_numpy(wall / 255))
        returned = (lambda rgb: wall, lambda rgb: Image.fromarray(wall), lambda rgb: torch.from_numpy(wall))
        for background in (tmp_path / "bg.png", str(tmp_path / "bg.png"), "#010203", *memory, *returned):
            assert tuple(result.over(background)[0, 0]) == (1, 2, 3)
        assert np.array_equal(result.over(lambda rgb: 255 - rgb)[0, 0], 255 - picture(0)[0, 0])

    def test_an_array_is_fitted_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """However many frames it is behind, until there is another one or it is fitted otherwise."""
        opened = Mock(wraps=open_background)
        monkeypatch.setattr("streamseg.matting.open_background", opened)
        red, blue = (np.full((9, 16, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 0, 255)))
        with session() as running:
            shown = [running(frame.pixels).over(red)[48, 0] for frame in frames(3)]
            assert [tuple(colour) for colour in shown] == [(255, 0, 0)] * 3
            assert opened.call_count == 1
            result = running(picture(3))
            assert tuple(result.over(red, fit="contain")[0, 0]) == (0, 0, 0)
            assert tuple(result.over(blue)[0, 0]) == (0, 0, 255)
            assert opened.call_count == 3

    @pytest.mark.parametrize(
        ("background", "message"),
        [
            (np.zeros((4, 4)), r"a background array is uint8 \(H, W, 3\) in RGB, .* got float64 \(4, 4\)"),
            (lambda rgb: rgb[:5], r"the background function returned \(5, 128, 3\) for a frame of \(96, 128, 3\)"),
            (lambda rgb: None, r"a background is an array, a PIL image or a tensor where .* got NoneType"),
            (None, r"a background is a path, a colour, a gradient, blur, an array, .* got NoneType"),
            (["red"], r"a background is a path, .* got list"),
            (torch.full((9, 16, 3), 255.0), r"floats has levels from 0 to 1; got 255 to 255: divide"),
            ("no such thing", "background 'no such thing' is neither a file nor a colour"),
        ],
    )
    def test_backgrounds_that_are_none(self, background: object, message: str) -> None:
        with pytest.raises(InputError, match=message):
            session()(picture(0)).over(background)  # type: ignore[arg-type]

    def test_a_background_video_plays_along(self, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "bg.mp4", 24, 128, 96, Fraction(25), sound=False)
        with session() as one:
            shown = [one(np.full((96, 128, 3), 96, np.uint8), pts=n / 25).over(clip.path) for n in range(6)]
        assert not np.array_equal(shown[0], shown[5])


class TestClipsOneAfterTheOther:
    """In one session: where pts goes back, another stream begins, and a background video too."""

    times = (0, 1, 2, 3)
    wall = np.full((96, 128, 3), 96, np.uint8)

    @pytest.fixture
    def levels(self, tmp_path: Path) -> Callable[[Iterable[Result]], list[int]]:
        background = write_levels(tmp_path / "bg.mkv", [40, 80, 120, 160, 200])
        return lambda results: [int(result.over(background).mean().round()) for result in results]

    def test_each_frame_at_once(self, levels: Callable[[Iterable[Result]], list[int]]) -> None:
        with session() as one:
            shown = levels(one(self.wall, pts=Fraction(n, 25)) for n in self.times * 2)
        assert shown == pytest.approx([40, 80, 120, 160] * 2, abs=1)

    def test_all_frames_afterwards(self, levels: Callable[[Iterable[Result]], list[int]]) -> None:
        """Each result keeps to the stream that it is of."""
        with session() as one:
            results = [one(self.wall, pts=Fraction(n, 25)) for n in self.times * 2]
            one.reset()
            results += [one(self.wall, pts=Fraction(n, 25)) for n in self.times]
            assert levels(results) == pytest.approx([40, 80, 120, 160] * 3, abs=1)

    def test_the_same_time_twice_is_the_same_picture(self, levels: Callable[[Iterable[Result]], list[int]]) -> None:
        with session() as one:
            shown = levels(one(self.wall, pts=Fraction(n, 25)) for n in (0, 1, 2, 2, 3))
        assert shown == pytest.approx([40, 80, 120, 120, 160], abs=1)


class TestLoop:
    def test_a_loop_gives_what_a_file_run_gives(self, tmp_path: Path) -> None:
        """The mattes of `streamseg video --matte-only`, losslessly, with a filter that needs no later frames."""
        chosen = {"engine": DiscEngine(), "input_size": 128, "smooth": "one-euro"}
        convert(ListSource(frames(12)), tmp_path / "x_%05d.png", matte_only=True, **chosen)
        with session(smooth="one-euro") as one:
            found = [one(frame.pixels, pts=frame.pts).alpha for frame in frames(12)]
        with open_source(str(tmp_path)) as written:
            for alpha, other in zip(found, written, strict=True):
                assert np.abs(alpha.astype(int) - other.pixels[..., 0]).max() <= 1

    @pytest.mark.parametrize("background", ["video", "array", "none"])
    def test_with_the_look_too(self, background: str, tmp_path: Path) -> None:
        """Composites and foregrounds of files, whatever is asked for besides; and again after a reset."""
        look = {"feather": 3, "light_wrap": 0.6, "match_colors": True, "shadow": True}
        chosen: dict[str, Any] = {"smooth": "one-euro", "fit": "contain", **look}
        video = write_clip(tmp_path / "bg.mp4", 24, 160, 96, Fraction(12), sound=False).path
        behind = {"video": video, "array": texture(5, 64, 64), "none": None}[background]
        (tmp_path / "out").mkdir()
        convert(
            ListSource(frames(8)), tmp_path / "out/x_%05d.png", behind, engine=DiscEngine(), input_size=128, **chosen
        )
        with open_source(str(tmp_path / "out")) as source:
            written = list(source)
        with session(**chosen) as one:
            for _ in range(2):
                one.reset()
                for frame, other in zip(frames(8), written, strict=True):
                    result = one(frame.pixels, pts=frame.pts)
                    if behind is None:
                        shown = result.rgba
                    else:
                        result.over(texture(6, 64, 64))
                        shown = result.over(behind)
                        assert np.array_equal(result.over(behind), shown)
                    assert np.abs(shown.astype(int) - other.pixels).max() <= 1

    def test_the_blur_is_as_strong_as_the_settings_say(self) -> None:
        weak, strong = (session(blur=strength)(texture(1, 128, 96)).over("blur") for strength in (0.25, 4))
        assert strong.std() < 0.8 * weak.std()

    def test_without_pts_frames_are_a_25th_of_a_second_apart(self) -> None:
        timed, untimed = session(), session()
        for frame in frames(5):
            assert np.array_equal(timed(frame.pixels, pts=frame.pts).alpha, untimed(frame.pixels).alpha)

    def test_the_state_is_kept_until_it_is_reset(self) -> None:
        one = session(smooth="ema", ema_seconds=10)
        first, second = one(picture(0)).alpha, one(picture(8)).alpha
        # A filter of ten seconds hardly moves in a 25th; the few pixels that do follow the frame's own edges.
        assert np.abs(second.astype(int) - first).mean() < 1
        one.reset()
        assert np.abs(one(picture(8)).alpha.astype(int) - true_alpha(8)).mean() < 3

    @pytest.mark.parametrize(
        "image",
        [
            torch.from_numpy(picture(0)),
            torch.from_numpy(picture(0)).permute(2, 0, 1),
            torch.from_numpy(picture(0)).permute(2, 0, 1).float() / 255,
            torch.from_numpy(picture(0)).permute(2, 0, 1).half() / 255,
            Image.fromarray(picture(0)),
            picture(0)[:, ::-1][:, ::-1],
        ],
        ids=["tensor", "channels first", "float", "half", "PIL", "strided"],
    )
    def test_what_an_image_may_be(self, image: object) -> None:
        assert np.abs(as_pixels(image).astype(int) - picture(0)).max() <= (1 if image is not None else 0)  # type: ignore[arg-type]

    def test_levels_of_pil_images(self) -> None:
        """Floats are in [0, 1], and wide integers have 16 bits, as in files; a little beyond is white."""
        grey = picture(0)[..., 1]
        for image in (
            Image.fromarray((grey / np.float32(255)).astype(np.float32)),
            Image.fromarray(grey.astype(np.int32) * 257),
            Image.fromarray(grey.astype(np.uint16) * 257),
            Image.fromarray(grey),
        ):
            assert np.abs(as_pixels(image).astype(int) - grey[..., None]).max() <= 1
        assert as_pixels(torch.full((20, 20, 3), 1.2)).min() == 255
        assert as_pixels(Image.new("I", (20, 20))).max() == 0

    def test_a_pil_image_is_turned_upright(self, tmp_path: Path) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.fromarray(picture(0)).save(tmp_path / "a.png", exif=exif)
        with Image.open(tmp_path / "a.png") as opened:
            assert as_pixels(opened).shape == (128, 96, 3)

    @pytest.mark.parametrize(
        ("image", "message"),
        [
            (np.zeros((64, 64), np.uint8), r"an image array is uint8 \(H, W, 3\) in RGB, .* got uint8 \(64, 64\)"),
            (np.zeros((64, 64, 3)), r"got float64 \(64, 64, 3\)"),
            (torch.zeros(64, 64), r"got uint8 \(64, 64\)"),
            (np.zeros((8, 64, 3), np.uint8), "the image is 64x8 px; the smallest image that can be matted is 16x16"),
            (42, "an image is a path, an array, a PIL image or a tensor; got int"),
            (
                torch.from_numpy(picture(0)).float(),
                r"has levels from 0 to 1; got \d+ to \d+: divide levels of 255 by 255",
            ),
            (torch.from_numpy(picture(0)).float() / 127.5 - 1, r"has levels from 0 to 1; got -0\.\d+ to "),
            (torch.full((64, 64, 3), torch.nan), r"has levels from 0 to 1; got nan to nan"),
            (Image.fromarray(picture(0)).convert("F"), r"has levels from 0 to 1; got [\d.]+ to [\d.]+: divide"),
            (Image.fromarray(picture(0)).convert("L").convert("I"), r"mode I has levels of 16 bits, .* got \d+ to \d+"),
            (Image.fromarray(np.full((64, 64), 70_000, np.int32)), r"0 to 65535; got 70000 to 70000"),
            ("no/such.png", r"no/such\.png"),
        ],
    )
    def test_what_it_may_not_be(self, image: object, message: str) -> None:
        with pytest.raises(InputError, match=message):
            session()(image)  # type: ignore[arg-type]

    def test_a_truncated_pil_image(self, tmp_path: Path) -> None:
        Image.fromarray(texture(1, 128, 96)).save(tmp_path / "whole.jpg")
        (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:2000])
        with Image.open(tmp_path / "cut.jpg") as opened, pytest.raises(InputError, match=r"cut\.jpg is damaged.*trunc"):
            session()(opened)

    @pytest.mark.parametrize(
        "pts", [0.5, np.float32(0.5), np.float64(0.5), Fraction(1, 2), Decimal("0.5"), torch.tensor(0.5)], ids=repr
    )
    def test_numbers_of_any_type_are_times(self, pts: Any) -> None:
        assert session()(picture(0), pts=pts).pts == Fraction(1, 2)

    @pytest.mark.parametrize("pts", [float("nan"), float("inf"), "soon", [1], np.float32("nan")], ids=repr)
    def test_what_is_no_time(self, pts: Any) -> None:
        one = session()
        with pytest.raises(InputError, match="pts is a number of seconds; got"):
            one(picture(0), pts=pts)
        assert one(picture(0)).pts == 0

    def test_settings_have_the_command_lines_names(self) -> None:
        assert session(smooth="ema").settings.smooth.smooth == "ema"
        with pytest.raises(ConfigError, match="unknown setting 'smoothing'"):
            MattingSession(smoothing="ema")


class TestStream:
    def test_a_file(self, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "clip.mp4", 10)
        with session() as one:
            results = list(one.stream(clip.path))
        assert [result.pts for result in results] == [Fraction(n * 1001, 24000) for n in range(10)]
        assert all(np.abs(result.alpha.astype(int) - true_alpha(n)).mean() < 6 for n, result in enumerate(results))
        assert streamseg_threads() == []

    def test_leaving_it_early_ends_its_threads(self) -> None:
        results = session().stream(ListSource(frames(50)))
        next(iter(results))
        assert streamseg_threads()
        results.close()  # type: ignore[attr-defined]
        assert streamseg_threads() == []

    @pytest.mark.parametrize("smooth", ["motion", "one-euro", "none"])
    @pytest.mark.parametrize("look", [{}, {"match_colors": True, "shadow": True}])
    def test_pictures_with_and_without_alpha_or_colours(self, smooth: str, look: dict[str, Any]) -> None:
        """Such as a folder holds; the scene goes on through them."""
        full = np.full((96, 128), 255, np.uint8)
        images = [np.dstack((picture(n), full)) if n % 2 else picture(n) for n in range(6)]
        images.append(np.ascontiguousarray(picture(6)[..., 0]))
        mixed = [Frame(n, Fraction(n, 25), RgbImage(pixels)) for n, pixels in enumerate(images)]
        results = list(session(smooth=smooth, **look).stream(ListSource(mixed)))
        for n, result in enumerate(results):
            assert result.over("#0000ff").shape == result.foreground.shape == (96, 128, 3)
            if n < 6:  # The engine of the tests finds its disc by colour.
                assert np.abs(result.alpha.astype(int) - true_alpha(n)).mean() < 6
        assert len(results) == 7

    def test_a_source_of_ones_own(self) -> None:
        class Counted:
            info = VideoInfo(128, 96)
            is_closed = False

            def __iter__(self) -> Iterator[Frame]:
                yield from frames(3)

            def close(self) -> None:
                self.is_closed = True

        mine = Counted()
        assert len(list(session().stream(mine))) == 3
        assert mine.is_closed

    @pytest.mark.parametrize("source", [picture(0), None, [picture(0)]], ids=["array", "None", "list"])
    def test_what_is_no_source(self, source: Any) -> None:
        with pytest.raises(InputError, match="a source is a path, or an object with info and frames; got "):
            next(session().stream(source))


class TestConvert:
    def test_a_file_with_alpha(self, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "clip.mp4", 12)
        told: list[str] = []
        done = convert(
            clip.path, tmp_path / "cut.mkv", engine=DiscEngine(), progress=lambda so_far: told.append(str(so_far))
        )
        assert done.summary.startswith(f"{tmp_path}/cut.mkv: 12 frames, FFV1")
        assert (done.statistics.frames, done.decode_error) == (12, None)
        assert told[-1].startswith("12 frames, ")
        with open_source(str(tmp_path / "cut.mkv")) as written:
            assert all(frame.kind == "foreground" for frame in written)

    def test_a_background_that_is_a_function(self, tmp_path: Path) -> None:
        def negative(rgb: Pixels) -> Pixels:
            return 255 - rgb

        convert(ListSource(frames(3)), tmp_path / "x_%05d.png", background=negative, engine=DiscEngine())
        with open_source(str(tmp_path)) as written:
            for frame in written:
                assert tuple(frame.pixels[0, 0]) == tuple(255 - picture(0)[0, 0])

    def test_a_part(self, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "clip.mp4", 24, rate=Fraction(24))
        done = convert(clip.path, tmp_path / "x.mkv", engine=DiscEngine(), start="0.25", end="0.5")
        assert done.statistics.frames == 6

    @pytest.mark.parametrize("background", ["green", lambda rgb: rgb])
    def test_two_backgrounds(self, background: Any, tmp_path: Path) -> None:
        with pytest.raises(
            ConfigError, match="the background is given twice, as an argument and as bg='red': give one"
        ):
            convert(ListSource(frames(3)), tmp_path / "x.mp4", background, bg="red", engine=DiscEngine())
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("out", ["clip.mp4", "bg.mp4"])
    @pytest.mark.parametrize("opened", [False, True], ids=["by name", "opened"])
    def test_onto_an_input(self, opened: bool, out: str, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "clip.mp4", 12)
        write_clip(tmp_path / "bg.mp4", 12)
        before = (tmp_path / out).read_bytes()
        source = open_source(str(clip.path)) if opened else clip.path
        with pytest.raises(OutputError, match=rf"the output .*{out} is an input too; give another name"):
            convert(source, tmp_path / out, tmp_path / "bg.mp4", engine=DiscEngine())
        assert (tmp_path / out).read_bytes() == before

    def test_a_second_file_onto_the_source(self, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "talk.alpha.mp4", 12)
        before = clip.path.read_bytes()
        with pytest.raises(OutputError, match=r"talk\.alpha\.mp4 is an input too"):
            convert(clip.path, tmp_path / "talk.mp4", alpha="sidecar", engine=DiscEngine())
        convert(clip.path, tmp_path / "talk.mp4", "green", alpha="sidecar", engine=DiscEngine())
        assert clip.path.read_bytes() == before

    def test_an_output_that_cannot_be_written(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match="nowhere"):
            convert(ListSource(frames(3)), tmp_path / "nowhere" / "x.mp4", engine=DiscEngine())


class TestEngines:
    def test_one_of_ones_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("streamseg.infer.engines.ENGINES", dict(ENGINES))
        register_engine("disc", lambda net, threads, device: DiscEngine())
        result = MattingSession("nano", engine="disc", smooth="none")(picture(0))
        assert np.abs(result.alpha.astype(int) - true_alpha(0)).mean() < 6

    def test_an_unknown_one(self) -> None:
        with pytest.raises(EngineError, match="unknown engine 'tensorrt'; known are auto, openvino, onnx, torch"):
            MattingSession("nano", engine="tensorrt")(picture(0))

    def test_cuda_where_there_is_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("streamseg.hardware.cuda.best_device", lambda: torch.device("cpu"))
        with pytest.raises(EngineError, match="no GPU that PyTorch can use"):
            MattingSession("nano", device="cuda")(picture(0))


def test_one_image_keeps_the_network() -> None:
    first = matte(picture(0), "nano", input_size=96)
    second = matte(picture(0), "nano", input_size=96)
    assert np.array_equal(first.alpha, second.alpha)
    assert first.alpha.shape == (96, 128)


def test_settings_of_one_image_may_be_lists() -> None:
    """As a session takes them, which are told apart by what they say."""
    alike = [matte(picture(0), "nano", input_size=96, keep=keep).alpha for keep in ([0.25, 0.5], (0.25, 0.5))]
    assert np.array_equal(*alike)
    with pytest.raises(ConfigError, match="keep"):
        matte(picture(0), "nano", keep={"x": 1})
    assert matte(picture(0), engine=DiscEngine(), input_size=128, keep=[0.5, 0.5]).alpha.shape == (96, 128)


def test_of_many_networks_the_last_ones_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    engines: list[weakref.ref[DiscEngine]] = []

    def opened(net: object, threads: object, device: object) -> DiscEngine:
        engine = DiscEngine()
        engines.append(weakref.ref(engine))
        return engine

    monkeypatch.setattr("streamseg.infer.engines.ENGINES", dict(ENGINES))
    register_engine("counted", opened)
    for size in (96, 128, 160):
        matte(picture(0), "nano", engine="counted", input_size=size)
    gc.collect()
    assert [engine() is not None for engine in engines] == [False, True, True]


def test_disc_colour_is_kept() -> None:
    result = session()(picture(0))
    assert tuple(result.foreground[result.alpha == 255].mean(0).round().astype(int)) == DISC
