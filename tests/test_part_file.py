"""The unfinished file is there once it plays, and not before."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from streamseg.sink import part_file
from streamseg.sink.part_file import PartFile
from tests.test_sink import grey_frames, write_mp4

OLDER = b"what an earlier run left"


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A finished file, whose index comes last."""
    return write_mp4(tmp_path_factory.mktemp("video") / "x.mp4", grey_frames(6))._path.read_bytes()


def test_it_is_made_when_it_plays(video: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.part"
    path.write_bytes(OLDER)
    file = PartFile(path)
    assert file.write(video[:100]) == 100
    file.synchronize()
    assert not file.is_on_disk
    assert path.read_bytes() == OLDER
    file.write(video[100:])
    file.synchronize()
    assert file.is_on_disk
    assert path.read_bytes() == video
    file.close()
    assert [left.name for left in tmp_path.iterdir()] == ["x.part"]


@pytest.mark.parametrize("settles", [True, False], ids=["on disk", "in memory"])
def test_it_is_a_file(settles: bool, video: bytes, tmp_path: Path) -> None:
    """FFmpeg goes back to fill in lengths; the place is kept when the bytes move to the disk."""
    file = PartFile(tmp_path / "x.part")
    file.write(video)
    file.seek(4)
    if settles:
        file.synchronize()
    assert file.tell() == 4
    file.write(video[4:8])
    assert file.seek(0, os.SEEK_END) == len(video)
    file.write(b"end")
    file.close()
    assert (tmp_path / "x.part").read_bytes() == video + b"end"


def test_what_never_plays_can_be_kept(tmp_path: Path) -> None:
    file = PartFile(tmp_path / "x.part")
    file.write(b"no video")
    file.keep()
    file.write(b", at all")
    file.close()
    file.close()
    assert (tmp_path / "x.part").read_bytes() == b"no video, at all"


def test_what_never_plays_is_not_made(tmp_path: Path) -> None:
    file = PartFile(tmp_path / "x.part")
    file.write(b"no video")
    file.close()
    assert not file.is_on_disk
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_at_the_beginning(video: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(part_file, "replace_file", full)
    file = PartFile(tmp_path / "x.part")
    file.write(video)
    with pytest.raises(OSError, match="No space left on device"):
        file.close()
    assert not file.is_on_disk
