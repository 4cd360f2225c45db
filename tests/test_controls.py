"""The state that keys, page and configuration change while a live run goes on."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamseg.controls import BLUR_STEP, Controls
from streamseg.errors import ConfigError
from streamseg.settings import Settings, load_settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.jpg", "a.png", "c.MP4", "notes.txt"):
        (tmp_path / name).touch()
    return tmp_path


def controls(**values: object) -> Controls:
    return Controls(load_settings(overrides=values))


def test_a_change_replaces_the_settings_and_tells_the_listeners() -> None:
    state, seen = controls(bg="red"), []
    before = state.current
    forget = state.on_change(seen.append)
    state.change(bg="green", mirror=True, smooth="ema")
    assert before.composite.bg == "red"
    assert (state.current.composite.bg, state.current.live.mirror, state.current.smooth.smooth) == (
        "green",
        True,
        "ema",
    )
    assert seen == [state.current]
    state.change(mirror=True)
    assert len(seen) == 1  # nothing changed
    forget()
    state.change(mirror=False)
    assert len(seen) == 1


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"engine": "torch"}, "'engine' cannot be changed while the camera runs; these can: bg, blur"),
        ({"blur": 9}, "composite.blur: Input should be less than or equal to 4"),
        ({"smooth": "kalman"}, "smooth.smooth: Input should be 'motion', 'one-euro', 'ema' or 'none'"),
        ({"mirror": "perhaps"}, "live.mirror"),
    ],
)
def test_what_is_not_allowed_changes_nothing(values: dict[str, object], words: str) -> None:
    state = controls(bg="red")
    with pytest.raises(ConfigError, match=words):
        state.change(bg="green", **values)
    assert state.current == load_settings(overrides={"bg": "red"})


def test_the_backgrounds_of_a_folder_go_round_with_the_blur_and_that_of_the_start(folder: Path) -> None:
    state = controls(backgrounds=folder, bg="red")
    seen = [state.step_background(1).composite.bg for _ in range(6)]
    names = [str(folder / name) for name in ("a.png", "b.jpg", "c.MP4")]
    assert seen == [*names, "blur", "red", names[0]]
    assert state.step_background(-1).composite.bg == "red"
    assert state.step_background(-1).composite.bg == "blur"
    assert controls(bg="blur").step_background(1).composite.bg == "blur"
    assert controls().step_background(1).composite.bg == "blur"


def test_what_is_hidden_or_no_file_is_no_background(folder: Path) -> None:
    for name in ("._b.jpg", ".hidden.png"):
        (folder / name).touch()
    (folder / "album.png").mkdir()
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "refused.png").symlink_to("a" * 300)
    assert [path.name for path in controls(backgrounds=folder).backgrounds()] == ["a.png", "b.jpg", "c.MP4"]


def test_a_folder_that_cannot_be_read_gives_no_backgrounds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> Iterator[Path]:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    state = controls(backgrounds=folder, bg="red")
    monkeypatch.setattr(Path, "iterdir", refuse)
    assert [state.step_background(1).composite.bg for _ in range(3)] == ["blur", "red", "blur"]
    assert controls(backgrounds=folder / ("a" * 300)).backgrounds() == []


def test_the_blur_grows_and_shrinks_within_its_limits() -> None:
    state = controls(bg="blur")
    assert state.step_blur(1).composite.blur == pytest.approx(BLUR_STEP)
    for _ in range(20):
        state.step_blur(1)
    assert state.current.composite.blur == 4
    for _ in range(40):
        state.step_blur(-1)
    assert state.current.composite.blur == 0.25


@pytest.mark.parametrize("name", ["mirror", "paused", "recording", "matte_only"])
def test_toggles(name: str) -> None:
    state = Controls(Settings())
    for meant in (True, False):
        settings = state.toggle(name)
        assert getattr(settings.composite if name == "matte_only" else settings.live, name) is meant


def test_a_snapshot_is_taken_once() -> None:
    state = Controls(Settings())
    assert not state.take_snapshot_request()
    state.ask_snapshot()
    assert state.take_snapshot_request() and not state.take_snapshot_request()


def test_a_problem_is_told_from_a_notice() -> None:
    controls = Controls(Settings())
    controls.report(ConfigError("cannot read x.png"))
    assert (controls.notice, controls.is_problem) == ("cannot read x.png", True)
    controls.notice = "saved y.png"
    assert (controls.notice, controls.is_problem) == ("saved y.png", False)
    controls.notice = "saved y.png"
    assert controls.notice_count == 3
