"""What files and consoles are called and made of: every name works, and what is no file is refused at once."""

from __future__ import annotations

import os
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import cv2
import pytest
from rich.console import Console

from streamseg.batch.jobs import Outcome
from streamseg.batch.report import BatchProgress
from streamseg.cli.progress import RunProgress
from streamseg.errors import OutputError
from streamseg.settings import OutputSettings
from streamseg.sink import Sink, open_sink
from streamseg.sink.images import sequence_pattern, write_image
from streamseg.sink.lock import Claim
from streamseg.sink.resume import part_of
from streamseg.statistics import Statistics
from tests import writer
from tests.synthetic import DiscEngine, picture, write_clip
from tests.test_cli import expect_one_line_error, streamseg, video_facts
from tests.writer import INFO

needs_posix = pytest.mark.skipif(os.name == "nt", reason="named pipes and symbolic links are made another way there")


@pytest.fixture
def disc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamseg.infer.engines.load_engine", lambda *_: DiscEngine())


def write(sink: Sink, count: int = 4) -> None:
    with sink:
        for index in range(count):
            sink.write(writer.frame(index, "composite"))


class TestPercent:
    @pytest.mark.parametrize("name", ["50%.mp4", "100%done.mov", "x_%d.mkv", "%s.webm"])
    def test_a_video(self, name: str, tmp_path: Path) -> None:
        write(open_sink(str(tmp_path / name), INFO))
        assert video_facts(tmp_path / name)[0] == 4

    def test_a_percent_sign_beside_the_number(self, tmp_path: Path) -> None:
        write(open_sink(str(tmp_path / "50%%_%02d.png"), INFO))
        assert sorted(path.name for path in tmp_path.iterdir()) == [f"50%_0{number}.png" for number in range(4)]

    def test_a_folder(self, tmp_path: Path) -> None:
        write(open_sink(f"{tmp_path}/50%d/", INFO))
        write(open_sink(f"{tmp_path}/50%d/x.mp4", INFO))
        assert sorted(path.name for path in (tmp_path / "50%d").iterdir()) == [
            *(f"0000{number}.png" for number in range(4)),
            "x.mp4",
        ]

    @pytest.mark.parametrize("name", ["50%.webp", "100%.gif", "x_%d.apng"])
    def test_an_animation(self, name: str, tmp_path: Path) -> None:
        write(open_sink(str(tmp_path / name), INFO))
        assert [path.name for path in tmp_path.iterdir()] == [name]

    def test_a_pattern_that_was_meant_as_one(self) -> None:
        """Refused by its suffix later, with a line."""
        assert sequence_pattern("x_%05d.mp4") == Path("x_%05d.mp4")

    @pytest.mark.usefixtures("disc")
    def test_a_photo_does_not_overwrite_its_background(self, tmp_path: Path) -> None:
        for name in ("me.png", "50%.png"):
            cv2.imwrite(str(tmp_path / name), picture(0))
        result = streamseg("image", tmp_path / "me.png", "-o", tmp_path / "50%.png", "--bg", tmp_path / "50%.png")
        expect_one_line_error(result, "is an input too")


@needs_posix
class TestLinks:
    @pytest.fixture
    def link(self, tmp_path: Path) -> Path:
        """A link to a file elsewhere."""
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "blob").write_bytes(b"older")
        (tmp_path / "x.mp4").symlink_to("elsewhere/blob")
        return tmp_path / "x.mp4"

    def test_a_video_is_written_through(self, link: Path, tmp_path: Path) -> None:
        write(open_sink(str(link), INFO))
        assert link.is_symlink()
        assert video_facts(tmp_path / "elsewhere" / "blob")[0] == 4
        assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["blob"]

    def test_it_is_resumed(self, link: Path, tmp_path: Path) -> None:
        sink = open_sink(str(link), INFO)
        for index in range(200):
            sink.write(writer.frame(index, "composite"))
        sink.__exit__(ValueError, None, None)
        assert [path.name for path in tmp_path.glob("*/*.part")] == ["blob.part"]
        again = open_sink(str(link), INFO, resume=True)
        assert again.resume_at > 0
        writer.write(again, "composite")
        assert video_facts(link)[0] == writer.COUNT

    def test_a_sidecar_lies_beside_the_link(self, link: Path, tmp_path: Path) -> None:
        with open_sink(str(link), INFO, "foreground", OutputSettings(alpha="sidecar")) as sink:
            sink.write(writer.frame(0, "foreground"))
        assert link.is_symlink()
        assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "x.alpha.mp4", "x.mp4"]

    def test_an_image_is_written_through(self, tmp_path: Path) -> None:
        (tmp_path / "x.png").symlink_to("y.png")  # which is not there yet
        write_image(tmp_path / "x.png", picture(0))
        assert (tmp_path / "x.png").is_symlink()
        assert cv2.imread(str(tmp_path / "y.png")) is not None

    def test_a_circle(self, tmp_path: Path) -> None:
        (tmp_path / "x.mp4").symlink_to("y.mp4")
        (tmp_path / "y.mp4").symlink_to("x.mp4")
        with pytest.raises(OutputError, match="lead in a circle"):
            open_sink(str(tmp_path / "x.mp4"), INFO)


class TestTwoRuns:
    @pytest.mark.parametrize("name", ["x.mp4", "x_%03d.png", "folder/"])
    @pytest.mark.parametrize("resume", [False, True])
    def test_the_second_is_refused(self, name: str, resume: bool, tmp_path: Path) -> None:
        out = f"{tmp_path}/{name}"
        first = open_sink(out, INFO)
        first.write(writer.frame(0, "composite"))
        if not (resume and "mp4" not in name):
            with pytest.raises(OutputError, match="another run is writing"):
                open_sink(out, INFO, resume=resume)
        write(first)
        write(open_sink(out, INFO))
        assert not list(tmp_path.glob("**/*.lock"))

    def test_it_touches_nothing_of_the_first(self, tmp_path: Path) -> None:
        out = tmp_path / "x.mp4"
        first = open_sink(str(out), INFO)
        for index in range(200):
            first.write(writer.frame(index, "composite"))
        assert part_of(out).exists()
        with pytest.raises(OutputError, match="another run is writing"):
            open_sink(str(out), INFO, resume=True)
        write(first, 0)
        assert video_facts(out)[0] == 200

    def test_another_process(self, tmp_path: Path) -> None:
        with open_sink(str(tmp_path / "x.mp4"), INFO):
            code = (
                "import sys\nfrom streamseg.errors import OutputError\nfrom streamseg.sink.lock import Claim\n"
                "from pathlib import Path\n"
                "try:\n    Claim(Path(sys.argv[1]))\nexcept OutputError as error:\n    print(error)\n"
            )
            found = python(code, str(tmp_path / "x.mp4"))
        assert found.stdout.startswith("another run is writing")

    def test_a_lock_that_a_killed_run_left(self, tmp_path: Path) -> None:
        code = (
            "import os, sys\nfrom pathlib import Path\nfrom streamseg.sink.lock import Claim\n"
            "claim = Claim(Path(sys.argv[1]))\nos._exit(0)"
        )
        assert python(code, str(tmp_path / "x.mp4")).returncode == 0
        assert [path.name for path in tmp_path.iterdir()] == ["x.mp4.part.lock"]
        write(open_sink(str(tmp_path / "x.mp4"), INFO))
        assert [path.name for path in tmp_path.iterdir()] == ["x.mp4"]

    def test_all_or_none(self, tmp_path: Path) -> None:
        held = Claim(tmp_path / "b.mp4")
        with pytest.raises(OutputError, match=r"b\.mp4"):
            Claim(tmp_path / "a.mp4", tmp_path / "b.mp4")
        Claim(tmp_path / "a.mp4").release()
        held.release()


@needs_posix
@pytest.mark.usefixtures("disc")
class TestPipes:
    @pytest.fixture
    def pipe(self, tmp_path: Path) -> Path:
        os.mkfifo(tmp_path / "pipe.mp4")
        return tmp_path / "pipe.mp4"

    @pytest.mark.parametrize("command", ["video", "probe", "image"])
    def test_as_a_source(self, command: str, pipe: Path, tmp_path: Path) -> None:
        out = () if command == "probe" else ("-o", tmp_path / "out.png")
        expect_one_line_error(streamseg(command, pipe, *out), "is a pipe or a device")
        expect_one_line_error(streamseg(command, "-", *out), "standard input")

    def test_as_a_background(self, pipe: Path, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "a.mp4", 2)
        result = streamseg("video", clip.path, "-o", tmp_path / "out.mp4", "--bg", pipe)
        expect_one_line_error(result, "is a pipe or a device")

    def test_as_an_output(self, pipe: Path, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "a.mp4", 2)
        expect_one_line_error(streamseg("video", clip.path, "-o", pipe, "--bg", "red"), "is a pipe or a device")
        cv2.imwrite(str(tmp_path / "me.png"), picture(0))
        os.mkfifo(tmp_path / "pipe.png")
        expect_one_line_error(streamseg("image", tmp_path / "me.png", "-o", tmp_path / "pipe.png"), "is a pipe")
        assert pipe.is_fifo()

    @pytest.mark.parametrize("command", ["video", "image", "batch"])
    def test_standard_output(self, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        write_clip(tmp_path / "a.mp4", 2)
        expect_one_line_error(streamseg(command, "." if command == "batch" else "a.mp4", "-o", "-"), "standard output")
        assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


class TestConsoles:
    def test_a_command(self, tmp_path: Path) -> None:
        """The name is not even text."""
        path = os.fsencode(tmp_path) + "/猫 \N{LATIN SMALL LETTER U WITH DIAERESIS}".encode() + b"\xff.png"
        Path(os.fsdecode(path)).write_bytes(cv2.imencode(".png", picture(0))[1].tobytes())
        command = [sys.executable, "-W", "error", "-m", "streamseg", "image", path, "-o", path + b".webp"]
        environment = os.environ | {"PYTHONIOENCODING": "ascii", "OMP_NUM_THREADS": "1"}
        done = subprocess.run([*command, "--input-size", "64"], capture_output=True, check=False, env=environment)
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"\\udcff.png -> " in done.stdout
        assert len(list(tmp_path.iterdir())) == 2

    @pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
    def test_the_bar_and_the_table(self, encoding: str, tmp_path: Path) -> None:
        """Their lines are drawn with what the console has."""
        screen = TextIOWrapper(BytesIO(), encoding=encoding)
        console = Console(file=screen, force_terminal=True, width=80)
        with RunProgress(2, console) as progress:
            progress.update(Statistics(frames=1, elapsed_seconds=1.0))
        with BatchProgress(tmp_path / "report.json", 1, console) as batch:
            batch.add(Outcome("a.mp4", "b.mp4", "done", 1, 1.0))
        screen.flush()
        assert "1/2" in screen.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]


def python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
