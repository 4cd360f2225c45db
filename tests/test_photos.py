"""Photos: which file goes where, and what happens to each."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pillow_heif
import pytest
from PIL import Image

from streamseg.errors import InputError, OutputError
from streamseg.photos import matte_photos, plan_photos
from streamseg.settings import Settings, load_settings
from tests.synthetic import WALL, DiscEngine, picture, true_alpha

SIZES = [(128, 96), (96, 128), (200, 100)]


def write_photo(path: Path, width_px: int = 128, height_px: int = 96) -> Path:
    assert cv2.imwrite(str(path), picture(3, width_px, height_px)[..., ::-1])
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three photos of different sizes, and a file that is none."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for name, size in zip(("b.png", "a.png", "c.bmp"), SIZES, strict=True):
        write_photo(photos / name, *size)
    (photos / "notes.txt").write_text("not a photo")
    return photos


def settings(**overrides: object) -> Settings:
    return load_settings(overrides={"input_size": 128} | overrides)


def test_one_photo_to_one_file(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "cut.PNG"
    assert plan_photos([str(folder / "a.png")], str(out), True) == [(folder / "a.png", out)]


def test_a_folder_goes_to_a_folder_in_the_order_of_the_names(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "deep"
    expected = [(folder / name, out / f"{name[0]}.png") for name in ("a.png", "b.png", "c.bmp")]
    assert plan_photos([str(folder)], str(out), True) == expected
    assert out.is_dir()


def test_several_photos_and_folders(folder: Path, tmp_path: Path) -> None:
    single = write_photo(tmp_path / "z.jpg")
    pairs = plan_photos([str(single), str(folder)], str(tmp_path / "out"), True)
    assert [out.name for _, out in pairs] == ["z.png", "a.png", "b.png", "c.png"]


def test_an_existing_folder_with_an_image_name_is_a_folder(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "odd.png"
    out.mkdir()
    assert plan_photos([str(folder / "a.png")], str(out), True)[0][1] == out / "a.png"


@pytest.mark.parametrize("out", ["one.png", "folder"])
def test_two_photos_never_share_an_output(folder: Path, tmp_path: Path, out: str) -> None:
    twin = write_photo(tmp_path / "a.jpg")
    with pytest.raises(OutputError, match="would both be written to"):
        plan_photos([str(folder / "a.png"), str(twin)], str(tmp_path / out), True)


def test_a_photo_is_not_written_over_itself(folder: Path) -> None:
    with pytest.raises(OutputError, match="is the input itself"):
        plan_photos([str(folder / "a.png")], str(folder / "a.png"), True)
    with pytest.raises(OutputError, match="is the input itself"):
        plan_photos([str(folder)], str(folder), True)


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG", ".bmp"])
def test_transparency_needs_a_format_that_holds_it(folder: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"x{suffix}"
    with pytest.raises(OutputError, match="cannot hold transparency"):
        plan_photos([str(folder / "a.png")], str(out), True)
    assert plan_photos([str(folder / "a.png")], str(out), False) == [(folder / "a.png", out)]


@pytest.mark.parametrize(
    "name", ["x.mp4", "x.mov", "x.heic", "x.avif", "x.pdf", "x.svg", "x.txt", "photos.v2", "x.jp2"]
)
def test_the_name_of_another_kind_of_file_never_becomes_a_folder(name: str, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / name
    with pytest.raises(OutputError, match=r"cannot write a photo as .*a folder for PNGs"):
        plan_photos([str(folder / "a.png")], str(out), True)
    assert not out.exists()
    assert plan_photos([str(folder / "a.png")], f"{out}/", True) == [(folder / "a.png", out / "a.png")]
    assert plan_photos([str(folder / "a.png")], str(out), True) == [(folder / "a.png", out / "a.png")], "it is one now"


@pytest.mark.parametrize("name", ["x.png", "x.apng", "x.webp", "x.tif", "x.tiff", "x.exr", "x.gif"])
def test_formats_that_hold_transparency(name: str, folder: Path, tmp_path: Path) -> None:
    pairs = plan_photos([str(folder / "a.png")], str(tmp_path / name), True)
    (done,) = matte_photos(pairs, DiscEngine(), settings())
    assert done.problem is None
    with av.open(str(tmp_path / name)) as file:
        alpha = next(file.decode(video=0)).to_ndarray(format="rgba")[..., 3]
    assert np.abs(alpha.astype(int) - true_alpha(3, *SIZES[1])).mean() < 4


@pytest.mark.parametrize(
    ("bg", "says"), [(None, "whole or transparent"), ("blue", "GIF, 256 colours a frame, dithered")]
)
def test_a_gif_says_what_it_cannot_hold(bg: str | None, says: str, folder: Path, tmp_path: Path) -> None:
    pairs = plan_photos([str(folder / "a.png")], str(tmp_path / "x.gif"), bg is None)
    (done,) = matte_photos(pairs, DiscEngine(), settings(bg=bg))
    assert says in done.note
    with Image.open(tmp_path / "x.gif") as found:
        assert (found.format, found.size, getattr(found, "n_frames", 1)) == ("GIF", SIZES[1], 1)


def test_of_an_animation_the_first_frame_is_taken_and_said(tmp_path: Path) -> None:
    first, *others = (Image.fromarray(picture(index)) for index in range(3))
    first.save(tmp_path / "a.webp", save_all=True, append_images=others, duration=100)
    pairs = plan_photos([str(tmp_path / "a.webp")], str(tmp_path / "x.png"), True)
    (done,) = matte_photos(pairs, DiscEngine(), settings())
    assert done.note == "the first of 3 frames, streamseg video does them all"


def test_a_folder_takes_every_format_that_a_single_photo_may_have(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    names = ["1.jpg", "2.png", "3.webp", "4.gif", "5.bmp", "6.tif", "7.avif", "8.jp2", "9.ppm", "10.heic"]
    for name in names[:-1]:
        Image.fromarray(picture(3)).save(photos / name)
    pillow_heif.from_pillow(Image.fromarray(picture(3))).save(photos / names[-1])
    pairs = plan_photos([str(photos)], str(tmp_path / "out"), True)
    done = list(matte_photos(pairs, DiscEngine(), settings()))
    assert [(each.photo.name, each.size_px, each.problem) for each in done] == [
        (name, (128, 96), None) for name in names
    ]


def test_missing_and_empty_inputs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no such photo or folder: .*gone"):
        plan_photos([str(tmp_path / "gone.jpg")], str(tmp_path / "x.png"), True)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no images"):
        plan_photos([str(tmp_path / "empty")], str(tmp_path / "out"), True)


def test_a_foreground_has_the_photos_size_pixels_and_straight_alpha(folder: Path, tmp_path: Path) -> None:
    pairs = plan_photos([str(folder)], str(tmp_path / "out"), True)
    for done, size in zip(matte_photos(pairs, DiscEngine(), settings()), (SIZES[1], SIZES[0], SIZES[2]), strict=True):
        assert (done.problem, done.size_px) == (None, size)
        assert done.inference_ms >= 0
        bgra = cv2.imread(str(done.out), cv2.IMREAD_UNCHANGED)
        assert bgra.shape == (size[1], size[0], 4)
        whole = bgra[..., 3] == 255
        assert np.array_equal(bgra[..., 2::-1][whole], picture(3, *size)[whole])
        assert np.abs(bgra[..., 3].astype(int) - true_alpha(3, *size)).mean() < 2


def test_matte_only_is_a_grey_png(folder: Path, tmp_path: Path) -> None:
    # A background is not needed then: it is not even opened.
    pairs = plan_photos([str(folder / "b.png")], str(tmp_path / "m.png"), False)
    (done,) = matte_photos(pairs, DiscEngine(), settings(matte_only=True, bg="no such colour"))
    grey = cv2.imread(str(done.out), cv2.IMREAD_UNCHANGED)
    assert grey.shape == (96, 128)
    assert np.abs(grey.astype(int) - true_alpha(3)).mean() < 1.5


def test_a_background_is_fitted_to_every_photo(folder: Path, tmp_path: Path) -> None:
    pairs = plan_photos([str(folder)], str(tmp_path / "out"), False)
    for done in matte_photos(pairs, DiscEngine(), settings(bg="blue")):
        bgr = cv2.imread(str(done.out), cv2.IMREAD_UNCHANGED)
        assert bgr.shape == (done.size_px[1], done.size_px[0], 3)
        assert np.abs(bgr[0, 0].astype(int) - (255, 0, 0)).max() <= 1
        assert np.abs(bgr[..., ::-1][true_alpha(3, *done.size_px) == 0].astype(int) - WALL).min() > 0


def test_a_bad_photo_is_reported_and_the_rest_are_done(folder: Path, tmp_path: Path) -> None:
    (folder / "aa.jpg").write_bytes(b"not a jpeg")
    write_photo(folder / "ab.png", 15, 40)
    pairs = plan_photos([str(folder)], str(tmp_path / "out"), True)
    results = list(matte_photos(pairs, DiscEngine(), settings()))
    assert [done.photo.name for done in results] == ["a.png", "aa.jpg", "ab.png", "b.png", "c.bmp"]
    assert [bool(done.problem) for done in results] == [False, True, True, False, False]
    assert "aa.jpg is not an image" in str(results[1].problem)
    assert "15x40 px" in str(results[2].problem)
    assert [done.out.exists() for done in results] == [True, False, False, True, True]


def test_an_output_that_cannot_be_written_is_reported(folder: Path, tmp_path: Path) -> None:
    pairs = [(folder / "a.png", tmp_path / "no" / "folder" / "a.png"), (folder / "b.png", tmp_path / "b.png")]
    first, second = matte_photos(pairs, DiscEngine(), settings())
    assert "cannot write" in str(first.problem)
    assert second.problem is None


def test_the_background_is_closed_however_it_ends(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[bool] = []
    monkeypatch.setattr("streamseg.composite.background.ImageBackground.close", lambda _: closed.append(True))

    class Broken(DiscEngine):
        def alpha(self, frames: object) -> object:  # type: ignore[override]
            raise KeyboardInterrupt

    pairs = plan_photos([str(folder)], str(tmp_path / "out"), False)
    with pytest.raises(KeyboardInterrupt):
        list(matte_photos(pairs, Broken(), settings(bg="blue")))
    left_early = matte_photos(pairs, DiscEngine(), settings(bg="blue"))
    next(left_early)
    left_early.close()  # type: ignore[attr-defined]
    assert closed == [True, True]
