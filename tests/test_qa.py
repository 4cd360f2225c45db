"""`streamseg qa`: faults planted in rendered clips are found at their time, clean clips have none, and the page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamseg.decode import TimeRange
from streamseg.frames import Frame, VideoInfo
from streamseg.image import Pixels
from streamseg.qa.figures import Meter
from streamseg.qa.grades import CRITERIA
from streamseg.qa.judge import Judge, Report
from streamseg.qa.matted import MattedFrame, MattedVideo, is_luma_matte, luma_matte, open_matted
from streamseg.qa.moments import SHOWN
from streamseg.qa.report import page_html
from streamseg.settings import OutputSettings, Settings
from streamseg.sink import open_sink
from tests.chromium import BROWSER, Browser
from tests.synthetic import Clip, DiscEngine
from tests.test_cli import expect_one_line_error, streamseg

WIDTH_PX, HEIGHT_PX, COUNT, RATE = 256, 192, 40, 25
RADIUS_PX = 40
AT = 20
"""Frame of the planted fault."""

Fault = Callable[[int, Pixels], None]
"""Changes the matte of a frame, by its number."""

ROOM = cv2.GaussianBlur(np.random.default_rng(5).integers(0, 256, (HEIGHT_PX, WIDTH_PX, 3), np.uint8), (0, 0), 3)
CLOTH = cv2.GaussianBlur(np.random.default_rng(6).integers(60, 256, (HEIGHT_PX, WIDTH_PX, 3), np.uint8), (0, 0), 2)


def centre(index: int) -> tuple[int, int]:
    return 70 + 2 * index, 100


def clean_matte(index: int) -> Pixels:
    """A disc that moves by two pixels a frame."""
    matte = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    cv2.circle(matte, centre(index), RADIUS_PX, 255, -1, cv2.LINE_AA)
    return matte


def scene(index: int) -> Pixels:
    """The disc, whose pattern moves with it, before a room that stands still."""
    weight = clean_matte(index)[..., None].astype(np.float32) / 255
    cloth = np.roll(CLOTH, 2 * index, axis=1)
    return (cloth * weight + ROOM * (1 - weight)).round().astype(np.uint8)


def matted_frames(fault: Fault | None = None, picture: Callable[[int], Pixels] = scene) -> Generator[MattedFrame]:
    for index in range(COUNT):
        matte = clean_matte(index)
        if fault:
            fault(index, matte)
        yield MattedFrame(Frame(index, Fraction(index, RATE), picture(index)), matte)


def judged(frames: Generator[MattedFrame], shows_background: bool = True) -> Report:
    video = MattedVideo(VideoInfo(WIDTH_PX, HEIGHT_PX, Fraction(RATE)), "planted", shows_background)
    video.frames = frames
    judge = Judge("clip.mkv", video)
    judge.judge()
    return judge.report()


def found(report: Report) -> list[tuple[str, float, float]]:
    return [(moment.kind, moment.start_seconds, moment.end_seconds) for moment in report.moments]


def grade_of(report: Report, name: str) -> str:
    return next(verdict.grade for verdict in report.verdicts if verdict.criterion.name == name)


def during(first: int, last: int, change: Fault) -> Fault:
    def fault(index: int, matte: Pixels) -> None:
        if first <= index <= last:
            change(index, matte)

    return fault


def whole_frame(_: int, matte: Pixels) -> None:
    matte[:] = 255


def nothing(_: int, matte: Pixels) -> None:
    matte[:] = 0


def half_an_alpha(_: int, matte: Pixels) -> None:
    matte //= 2


def island(_: int, matte: Pixels) -> None:
    cv2.circle(matte, (20, 20), 7, 255, -1)


def hole(index: int, matte: Pixels) -> None:
    cv2.circle(matte, centre(index), 8, 0, -1)


def haze(_: int, matte: Pixels) -> None:
    np.maximum(matte, 20, out=matte)


def test_a_clean_clip_has_no_moment_and_good_grades() -> None:
    report = judged(matted_frames())
    assert found(report) == []
    assert {verdict.criterion.name: verdict.grade for verdict in report.verdicts} == {
        **dict.fromkeys((criterion.name for criterion in CRITERIA), "good"),
    }


@pytest.mark.parametrize(
    ("first", "last", "change", "kind", "grade"),
    [
        (AT, AT, whole_frame, "flicker", "flicker"),
        (AT, AT, nothing, "drop-out", "drop-outs"),
        (AT, AT + 10, half_an_alpha, "drop-out", "drop-outs"),
        (AT, AT + 2, island, "island", "islands"),
        (AT, AT + 2, hole, "hole", "holes"),
        (AT, AT + 9, haze, "haze", "haze"),
    ],
)
def test_a_planted_fault_is_found_at_its_time(first: int, last: int, change: Fault, kind: str, grade: str) -> None:
    report = judged(matted_frames(during(first, last, change)))
    ((found_kind, start, end),) = found(report)
    assert found_kind == kind
    assert start == pytest.approx(first / RATE)
    # Flicker is seen when a fault begins and when it ends.
    assert end == pytest.approx((last + (kind == "flicker")) / RATE)
    assert grade_of(report, grade) != "good"
    others = {criterion.name for criterion in CRITERIA} - {grade, "flicker", "softness"}
    assert {name: grade_of(report, name) for name in others} == dict.fromkeys(others, "good")


@pytest.mark.parametrize("change", [whole_frame, nothing])
def test_a_fault_of_a_foreground_whose_hidden_colours_change_with_it(change: Fault) -> None:
    """A foreground hides what its matte does not cover, which looks like a scene cut."""

    def picture(index: int) -> Pixels:
        matte = clean_matte(index)
        during(AT, AT, change)(index, matte)
        return np.where(matte[..., None] > 0, scene(index), np.uint8(0))

    ((kind, start, _),) = found(judged(matted_frames(during(AT, AT, change), picture), shows_background=False))
    assert kind == ("flicker" if change is whole_frame else "drop-out")
    assert start == pytest.approx(AT / RATE)


@pytest.mark.parametrize("shows_background", [True, False])
def test_a_scene_cut_is_no_flicker(shows_background: bool) -> None:
    def picture(index: int) -> Pixels:
        return scene(index) if index < AT else 255 - np.roll(scene(index), 50, axis=0) // 3

    def elsewhere(index: int, matte: Pixels) -> None:
        if index >= AT:
            matte[:] = np.roll(matte, 40, axis=0)

    report = judged(matted_frames(elsewhere, picture), shows_background)
    assert [index for index, is_cut in enumerate(report.series["is_cut"]) if is_cut] == [AT]
    assert found(report) == []


def test_who_leaves_and_does_not_come_back_has_not_dropped_out() -> None:
    assert not [kind for kind, *_ in found(judged(matted_frames(during(AT, COUNT, nothing)))) if kind == "drop-out"]


def test_a_gap_that_closes_from_outside_is_no_hole() -> None:
    """As between an arm and the body: what it encloses was never covered."""

    def arm(index: int, matte: Pixels) -> None:
        x, y = centre(index)
        cv2.ellipse(matte, (x, y - RADIUS_PX), (22, 30), 0, 180, 180 + min(180, 9 * index), 255, 8)

    assert found(judged(matted_frames(arm))) == []


def test_a_second_person_is_no_island() -> None:
    def second(_: int, matte: Pixels) -> None:
        cv2.circle(matte, (228, 30), 20, 255, -1)

    assert found(judged(matted_frames(second))) == []


def test_an_empty_room_is_judged() -> None:
    report = judged(matted_frames(nothing))
    assert report.grade == "good"
    assert found(report) == []


def test_only_the_worst_moments_keep_their_images_and_all_are_counted() -> None:
    def specks(index: int, matte: Pixels) -> None:
        if index % 9 == 4 and index < 9 * (SHOWN + 3):
            cv2.circle(matte, (20, 20), 4 + index // 20, 255, -1)

    long = (
        MattedFrame(Frame(index, Fraction(index, RATE), ROOM), matte)
        for index in range(9 * (SHOWN + 4))
        for matte in [clean_matte(0)]
        if specks(index, matte) is None
    )
    report = judged(long)  # type: ignore[arg-type]
    assert next(verdict.count for verdict in report.verdicts if verdict.criterion.name == "islands") == SHOWN + 3
    assert len(report.moments) == SHOWN
    assert [moment.index for moment in report.moments] == sorted(moment.index for moment in report.moments)
    assert report.moments[0].index > 4  # The smallest ones, which came first, have made room.


@pytest.mark.parametrize("width_px", [4, 10, 24])
def test_softness_is_the_width_of_a_straight_ramp(width_px: int) -> None:
    ramp = np.clip((np.arange(WIDTH_PX) - 100.5) / width_px, 0, 1) * 255
    matte = np.repeat(np.rint(ramp).astype(np.uint8)[None], HEIGHT_PX, 0)
    figures, _ = Meter(True).measure(MattedFrame(Frame(0, Fraction(0), ROOM), matte))
    # A straight upright line is crossed in one direction alone, of which Crofton's formula makes pi / 4 of its length.
    assert figures.softness_px * np.pi / 4 == pytest.approx(width_px, rel=0.04)


def test_the_figures_do_not_depend_on_the_size() -> None:
    def figures(scale: int) -> tuple[float, ...]:
        matte = clean_matte(3)
        island(0, matte)
        haze(0, matte)
        large = cv2.resize(matte, None, fx=scale, fy=scale, interpolation=cv2.INTER_NEAREST).astype(np.uint8)
        rgb = cv2.resize(ROOM, None, fx=scale, fy=scale).astype(np.uint8)
        one, _ = Meter(True).measure(MattedFrame(Frame(0, Fraction(0), rgb), large))
        return one.area, one.islands, one.haze

    assert figures(4) == pytest.approx(figures(1), rel=0.1)


# Files


INFO = VideoInfo(WIDTH_PX, HEIGHT_PX, Fraction(RATE), Fraction(1, RATE), COUNT)


def write_foreground(path: Path, fault: Fault, alpha: str = "embedded") -> Path:
    with open_sink(str(path), INFO, "foreground", OutputSettings(alpha=alpha)) as sink:  # type: ignore[arg-type]
        for one in matted_frames(fault):
            sink.write(Frame(one.frame.index, one.frame.pts, np.dstack([one.frame.pixels, one.matte])))
    return path


def write_matte(path: Path, fault: Fault, count: int = COUNT) -> Path:
    with open_sink(str(path), INFO, "matte") as sink:
        for one in list(matted_frames(fault))[:count]:
            sink.write(Frame(one.frame.index, one.frame.pts, one.matte))
    return path


def write_frames(path: Path) -> Path:
    with open_sink(str(path), INFO) as sink:
        for index in range(COUNT):
            sink.write(Frame(index, Fraction(index, RATE), scene(index)))
    return path


def judged_file(video: Path, *options: object) -> dict:  # type: ignore[type-arg]
    """What the command writes as JSON."""
    page = video.with_name("report.html")
    result = streamseg("qa", video, "-o", page, *options)
    assert result.exit_code == 0, result.output
    assert page.exists()
    assert f"page: {page}; all figures: {page.with_suffix('.json')}" in result.stdout
    return json.loads(page.with_suffix(".json").read_text())  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("name", "alpha", "origin"),
    [
        ("x.mkv", "embedded", "the file's own alpha"),
        ("x.mov", "embedded", "the file's own alpha"),
        ("x.webm", "embedded", "the file's own alpha"),
        ("x.mp4", "embedded", "the file's own alpha"),
        ("x.mp4", "stacked", "the file's own alpha"),
        ("x.mp4", "sidecar", "matte in x.alpha.mp4"),
        ("x.webp", "embedded", "the file's own alpha"),
    ],
)
def test_what_streamseg_video_writes_is_read(name: str, alpha: str, origin: str, tmp_path: Path) -> None:
    report = judged_file(write_foreground(tmp_path / name, during(AT, AT + 2, island), alpha))
    assert (report["matte"], report["frames"]) == (origin, COUNT)
    assert report["size_px"] == [WIDTH_PX, HEIGHT_PX]
    ((kind, start, end),) = [(one["kind"], one["start_seconds"], one["end_seconds"]) for one in report["moments"]]
    assert kind == "island"
    assert (start, end) == pytest.approx((AT / RATE, (AT + 2) / RATE), abs=0.002)


def test_the_files_own_alpha_comes_before_a_matte_beside_it(tmp_path: Path) -> None:
    """Such as that of `x.mov`, cut out of what `x.alpha.mov` was made for, too."""
    video = write_foreground(tmp_path / "x.mov", during(AT, AT + 2, island))
    write_matte(tmp_path / "x.alpha.mov", lambda *_: None)
    report = judged_file(video)
    assert report["matte"] == "the file's own alpha"
    assert [one["kind"] for one in report["moments"]] == ["island"]


def test_the_matte_of_a_part(tmp_path: Path) -> None:
    """Its first frame is that of the video's at --start."""
    with open_sink(str(tmp_path / "part.mp4"), INFO, "matte") as sink:
        for one in list(matted_frames(lambda *_: None))[10:20]:
            sink.write(Frame(one.frame.index - 10, one.frame.pts - Fraction(10, RATE), one.matte))
    frames = write_frames(tmp_path / "frames.mp4")
    start, end = (float(Fraction(2 * index - 1, 2 * RATE)) for index in (10, 20))
    report = judged_file(frames, "--matte", tmp_path / "part.mp4", "--start", start, "--end", end)
    assert (report["frames"], report["warning"]) == (10, None)
    with open_matted(str(frames), str(tmp_path / "part.mp4"), Settings(), TimeRange.of(str(start), str(end))) as part:
        first = next(part.frames)
    assert np.abs(first.frame.pixels.astype(int) - scene(10)).mean() < np.abs(scene(0).astype(int) - scene(10)).mean()


def test_a_luma_matte_alone_and_with_its_frames(tmp_path: Path) -> None:
    matte = write_matte(tmp_path / "matte.mp4", during(AT, AT + 2, hole))
    alone = judged_file(matte)
    assert alone["matte"] == "luma matte, without its frames"
    together = judged_file(write_frames(tmp_path / "frames.mp4"), "--matte", matte)
    assert together["matte"] == "matte in matte.mp4"
    for report in (alone, together):
        assert [(one["kind"], one["frame"]) for one in report["moments"]] == [("hole", pytest.approx(AT, abs=2))]


def test_a_video_without_alpha_is_matted_first(monkeypatch: pytest.MonkeyPatch, clip: Clip) -> None:
    monkeypatch.setattr("streamseg.infer.engines.load_engine", lambda *_, **__: DiscEngine())
    report = judged_file(clip.path, "--smooth", "none")
    assert report["matte"].startswith("computed with ")
    assert report["frames"] == clip.frames
    assert report["figures"]["area"][0] == pytest.approx(np.pi * 24**2 / (128 * 96), rel=0.1)
    assert report["figures"]["flicker"][0] is None  # There is no frame before the first.


def test_alpha_that_is_opaque_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamseg.infer.engines.load_engine", lambda *_, **__: DiscEngine())
    report = judged_file(write_foreground(tmp_path / "screen.mkv", whole_frame))
    assert report["matte"].startswith("computed with ")


def test_ctrl_c_keeps_what_was_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = write_foreground(tmp_path / "cut.mkv", lambda *_: None)
    measure = Meter.measure

    def interrupted(meter: Meter, matted: MattedFrame):  # type: ignore[no-untyped-def]
        if matted.frame.index == AT:
            raise KeyboardInterrupt
        return measure(meter, matted)

    monkeypatch.setattr(Meter, "measure", interrupted)
    result = streamseg("qa", video, "-o", tmp_path / "report.html")
    assert result.exit_code == 130
    assert f"holds the first {AT} frames" in result.stderr
    assert json.loads((tmp_path / "report.json").read_text())["frames"] == AT


def test_photographs_and_titles_are_no_luma_mattes(tmp_path: Path, clip: Clip) -> None:
    assert not is_luma_matte(str(clip.path))

    def write(name: str, images: list[Pixels]) -> str:
        with open_sink(str(tmp_path / name), INFO) as sink:
            for index, image in enumerate(images):
                sink.write(Frame(index, Fraction(index, RATE), image))
        return str(tmp_path / name)

    title = np.zeros((HEIGHT_PX, WIDTH_PX, 3), np.uint8)
    cv2.putText(title, "FILM", (20, 100), cv2.FONT_HERSHEY_SIMPLEX, 2, (255, 255, 255), 6)
    assert is_luma_matte(write("title.mp4", [title] * 12))
    assert not is_luma_matte(write("film.mp4", [title] * 12 + [scene(0)] * 12))
    grey_film = np.repeat(scene(0)[..., :1], 3, axis=2)
    assert not is_luma_matte(write("grey.mp4", [grey_film] * 3))
    assert not is_luma_matte(write("black.mp4", [title * 0] * 3))


def test_luma_is_stretched_to_full_alpha(tmp_path: Path) -> None:
    from streamseg.decode import open_source

    path = write_matte(tmp_path / "matte.mkv", lambda *_: None)
    with open_source(str(path)) as source:
        matte = luma_matte(next(iter(source)).image)
    assert (int(matte.min()), int(matte.max())) == (0, 255)
    assert int(cv2.absdiff(matte, clean_matte(0)).max()) <= 16


def test_files_that_do_not_go_together(tmp_path: Path, clip: Clip) -> None:
    frames = write_frames(tmp_path / "frames.mp4")
    page = tmp_path / "report.html"
    other = write_matte(tmp_path / "short.mp4", lambda *_: None, 10)
    result = streamseg("qa", frames, "--matte", other, "-o", page)
    assert result.exit_code == 3
    assert result.stderr.splitlines()[-1] == (
        "warning: the matte ends after 10 frames, before the video does; if it was made with --start or --end, "
        "give the same here"
    )
    assert json.loads(page.with_suffix(".json").read_text())["frames"] == 10
    result = streamseg("qa", frames, "--matte", clip.path, "-o", tmp_path / "other.html")
    expect_one_line_error(result, "in the video and at", "give the matte of this video")
    assert not (tmp_path / "other.html").exists()


def test_a_matte_of_another_shape(tmp_path: Path) -> None:
    frames = write_frames(tmp_path / "frames.mp4")
    with open_sink(str(tmp_path / "wide.mp4"), VideoInfo(320, 96, Fraction(RATE)), "matte") as sink:
        sink.write(Frame(0, Fraction(0), np.zeros((96, 320), np.uint8)))
    result = streamseg("qa", frames, "--matte", tmp_path / "wide.mp4", "-o", tmp_path / "x.html")
    expect_one_line_error(result, "the matte is 320x96 px and the video 256x192")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-o", "report.pdf"), "give a name that ends in .html"),
        (("-o", "nowhere/report.html"), "there is no folder nowhere"),
        (("-o", "-"), "standard output"),
        (("--matte", "gone.mp4"), "gone.mp4"),
        (("--input-size", "1"), "input_size"),
    ],
)
def test_bad_options_end_with_one_line(
    options: tuple[str, ...], words: str, clip: Clip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    expect_one_line_error(streamseg("qa", clip.path, *options), words)
    assert list(tmp_path.iterdir()) == []


def test_the_page_has_a_name_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = write_foreground(tmp_path / "cut.mkv", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    assert streamseg("qa", video).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cut.mkv", "cut.mkv.qa.html", "cut.mkv.qa.json"]


# The page


class Resources(HTMLParser):
    """Collects what a page loads, and its ids and links within."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.without_alt = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.loaded += [values[name] or "" for name in ("src", "srcset", "data") if name in values]
        if tag == "link":
            self.loaded.append(values["href"] or "")
        if tag == "a":
            self.links.append(values["href"] or "")
        if "id" in values:
            self.ids.append(values["id"] or "")
        self.without_alt += tag == "img" and not values.get("alt")
        assert tag != "script"


def test_the_page_loads_nothing_and_its_links_lead_somewhere() -> None:
    report = judged(matted_frames(during(AT, AT, nothing)))
    page = page_html(report)
    resources = Resources()
    resources.feed(page)
    assert all(address.startswith("data:") for address in resources.loaded)
    assert len([address for address in resources.loaded if address.startswith("data:image/webp")]) == 3
    assert not re.search(r"@import|url\(", page)
    assert resources.links and {link.removeprefix("#") for link in resources.links} <= set(resources.ids)
    assert not resources.without_alt


def test_a_name_is_no_markup() -> None:
    video = MattedVideo(INFO, "<b>", True)
    video.frames = matted_frames()
    judge = Judge("<script>alert(1)</script> $name.mkv", video)
    judge.judge()
    page = page_html(judge.report())
    assert "<script" not in page
    assert "alert(1)&lt;/script&gt; $name.mkv" in page or "script&gt; $name.mkv" in page


@pytest.mark.browser
def test_the_page_fits_a_phone_and_a_desk_without_asking_anyone(tmp_path: Path) -> None:
    if BROWSER is None:
        pytest.skip("no Chromium is installed")
    page = tmp_path / "report.html"
    page.write_text(page_html(judged(matted_frames(during(AT, AT, nothing)))), encoding="utf-8")
    browser = Browser(tmp_path / "profile")
    try:
        browser.open(page.as_uri())
        colours = []
        for width, scheme in ((390, "light"), (1440, "dark")):
            browser.show_as(width, 900, scheme)
            assert browser.evaluate("document.documentElement.scrollWidth") == width
            colours.append(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert len(set(colours)) == 2
        images = "[...document.images].map(image => image.decode().then(() => image.naturalWidth))"
        assert browser.evaluate(f"Promise.all({images})") == [WIDTH_PX] * 3
        names = browser.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
        assert all(name.startswith("data:") for name in names)
    finally:
        browser.close()
