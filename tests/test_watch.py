"""Files that are saved while a camera runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from streamseg.controls import Controls
from streamseg.live.watch import FileWatcher
from streamseg.settings import load_settings


class Watched:
    def __init__(self, config: Path) -> None:
        self.config, self.saves = config, 0
        self.save("[composite]\nbg = 'red'\n")
        self.controls = Controls(load_settings(config))
        self.watcher = FileWatcher(self.controls, config, lambda: load_settings(config))

    def save(self, text: str) -> None:
        self.saves += 1
        self.config.write_text(text)
        os.utime(self.config, (self.saves, self.saves))  # whatever the clock's resolution


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "live.toml")


def test_what_is_saved_takes_effect(watched: Watched) -> None:
    watched.watcher.look()
    assert watched.controls.notice == ""
    watched.save("[composite]\nbg = 'blur'\nblur = 2\n[live]\nmirror = true\n")
    watched.watcher.look()
    current = watched.controls.current
    assert (current.composite.bg, current.composite.blur, current.live.mirror) == ("blur", 2, True)
    assert watched.controls.notice == "configuration read again"


def test_what_the_keys_changed_stays(watched: Watched) -> None:
    watched.controls.change(matte_only=True)
    watched.save("[composite]\nbg = 'red'\n[smooth]\nsmooth = 'ema'\n")
    watched.watcher.look()
    assert watched.controls.current.composite.matte_only
    assert watched.controls.current.smooth.smooth == "ema"


def test_a_mistake_changes_nothing_and_is_told(watched: Watched) -> None:
    before = watched.controls.current
    watched.save("[composite]\nbg = 'red'\nblurr = 2\n")
    watched.watcher.look()
    assert watched.controls.current == before
    assert "unknown setting composite.blurr" in watched.controls.notice
    watched.save("[composite]\nbg = 'lime'\n")
    watched.watcher.look()
    assert watched.controls.current.composite.bg == "lime"


def test_what_cannot_change_now_is_told(watched: Watched) -> None:
    watched.save("[composite]\nbg = 'lime'\n[infer]\nengine = 'torch'\n")
    watched.watcher.look()
    assert watched.controls.current.composite.bg == "lime"
    assert watched.controls.notice == "configuration read again; engine at the next start"


def test_a_file_that_is_missing_for_a_moment_is_waited_for(watched: Watched) -> None:
    watched.config.unlink()
    watched.watcher.look()
    watched.save("[composite]\nbg = 'lime'\n")
    watched.watcher.look()
    assert watched.controls.current.composite.bg == "lime"


def test_a_background_that_is_saved_is_opened_again(watched: Watched, tmp_path: Path) -> None:
    image = tmp_path / "beach.jpg"
    image.write_bytes(b"1")
    watched.controls.change(bg=str(image))
    watched.watcher.look()
    assert watched.controls.background_version == 0
    image.write_bytes(b"two")
    watched.watcher.look()
    watched.watcher.look()
    assert watched.controls.background_version == 1


def test_its_thread_ends(watched: Watched) -> None:
    with watched.watcher:
        assert watched.watcher._thread.is_alive()
    assert not watched.watcher._thread.is_alive()
