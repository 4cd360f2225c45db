"""A Ray cluster of three nodes on this machine: what comes out is what one run writes, also when a node is removed."""

from __future__ import annotations

import builtins
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamseg.batch.ray_crew import RayCrew
from streamseg.batch.schedule import Progress, work_off
from streamseg.batch.visible import everywhere, look, needs_of
from streamseg.errors import EngineError, OutputError
from tests.crews import (
    OneByOne,
    blobs,
    done,
    frames_of,
    largest_difference,
    register_engines,
    settings_of,
    single_run,
    work_on,
    write_levels,
)
from tests.test_cli import expect_one_line_error, streamseg

COUNT, SECONDS = 150, 0.5
ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="clusters of several nodes on one machine are for Linux"),
    # Ray's own: it leaves sockets, logs and processes to the garbage collector, and announces changes by warnings.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning:ray"),
]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five seconds: ten segments."""
    pictures = [blobs((10 + index // 4, 12, 30, 0.6 + 0.4 * (index % 2))) for index in range(COUNT)]
    return write_levels(tmp_path_factory.mktemp("cluster") / "in.mkv", pictures)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Three nodes with a core each; the driver is on the first."""
    pytest.importorskip("ray", reason="Ray is not installed: extra cluster")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80 << 20}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # Ray's 15 has workers wait for ever where the machine is busy.
        patch.delenv("RAY_ADDRESS", raising=False)
        made = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        made.add_node(**node)
        made.add_node(**node)
        yield made
        made.shutdown()


def unused_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.cluster
class TestCluster:
    def test_a_batch_of_mixed_files(self, cluster: Any, clip: Path, tmp_path: Path) -> None:
        """By the command: two of several segments, a short one, and one that is no video."""
        (tmp_path / "in").mkdir()
        for name in ("a.mkv", "c.mkv"):
            (tmp_path / "in" / name).write_bytes(clip.read_bytes())
        write_levels(tmp_path / "in" / "d.mkv", [blobs((20, 20, 20, 1))] * 5)
        (tmp_path / "in" / "b.mp4").write_bytes(b"nothing")
        config = tmp_path / "c.toml"
        config.write_text(
            '[infer]\nmodel = "nano"\ninput_size = 64\n[smooth]\nsmooth = "none"\n[batch]\nsegment_seconds = 1\n'
        )
        flags = ("--config", config, "--to", "mkv", "--matte-only", "--cluster", cluster.address)
        result = streamseg("batch", tmp_path / "in", "-o", tmp_path / "out", *flags)
        assert result.exit_code == 1, result.output
        rows = {Path(row["source"]).name: row for row in json.loads((tmp_path / "out" / "report.json").read_text())}
        assert {name: (row["status"], row["frames"]) for name, row in rows.items()} == {
            "a.mkv": ("done", COUNT),
            "b.mp4": ("failed", 0),
            "c.mkv": ("done", COUNT),
            "d.mkv": ("done", 5),
        }
        assert "b.mp4" in rows["b.mp4"]["message"]
        assert [len(rows[name]["segments"]) for name in ("a.mkv", "c.mkv", "d.mkv")] == [5, 5, 1]
        for segment in rows["a.mkv"]["segments"]:
            assert segment["machine"] == socket.gethostname() and segment["seconds"] > 0
        assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.mkv", "c.mkv", "d.mkv", "report.json"]
        again = streamseg("batch", tmp_path / "in", "-o", tmp_path / "out", *flags)
        assert again.stdout.count("skipped") >= 3

    def test_a_path_that_workers_cannot_see(self, cluster: Any, clip: Path, tmp_path: Path) -> None:
        """Paths that lead somewhere in this process alone; no segment is begun."""
        (tmp_path / "in.mkv").write_bytes(clip.read_bytes())
        own = Path(f"/proc/self/task/{os.getpid()}/root")
        seen, unseen = tmp_path, own / tmp_path.relative_to("/")
        assert (unseen / "in.mkv").exists()
        for source, out, named in ((unseen, seen, "in.mkv"), (seen, unseen, str(unseen))):
            work = work_on(source / "in.mkv", out / "x.mkv", settings_of("level"), SECONDS)
            with (
                RayCrew(cluster.address) as crew,
                pytest.raises(OutputError, match=r"on the node .* every node") as told,
            ):
                crew.check([work])
            assert named in str(told.value)
        assert [path.name for path in tmp_path.iterdir()] == ["in.mkv"]

    def test_other_versions_are_refused(
        self, cluster: Any, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("streamseg.__version__", "99.0")
        work = work_on(clip, tmp_path / "x.mkv", settings_of("level"), SECONDS)
        with RayCrew(cluster.address) as crew, pytest.raises(EngineError, match=r"has streamseg .*, not 99\.0 as here"):
            crew.check([work])

    def test_more_of_a_gpu_than_there_is(self, cluster: Any) -> None:
        with pytest.raises(EngineError, match=r"no node of the cluster has a core and 0\.5 of a GPU"):
            RayCrew(cluster.address, gpus_per_task=0.5)

    def test_a_node_is_removed_midway(self, cluster: Any, clip: Path, tmp_path: Path) -> None:
        """The long clip in ten segments: its mattes are those of one run."""
        settings = settings_of("level", matte_only=True)
        single = single_run(clip, f"{tmp_path}/single/", settings)
        (tmp_path / "parted").mkdir()
        work = everywhere(work_on(clip, f"{tmp_path}/parted/", settings, SECONDS))
        removed: list[int] = []

        def remove_one(progress: Progress) -> None:
            if progress.frames and not removed:
                removed.append(progress.workers)
                cluster.remove_node(cluster.list_all_nodes()[-1], allow_graceful=False)

        crew = RayCrew(cluster.address, prepare=register_engines)
        crew.check([work])
        (result,) = work_off([work], crew, remove_one)
        assert removed == [3]
        assert not result.has_failed, result.message
        assert (len(result.segments), result.frames) == (10, COUNT)
        assert largest_difference(frames_of(single), frames_of(tmp_path / "parted")) <= 1
        assert not work.folder.path.exists()

    def test_what_an_interrupted_driver_has_left(self, cluster: Any, clip: Path, tmp_path: Path) -> None:
        """The same command goes on with it, and so does another kind of crew."""
        settings = settings_of("level", matte_only=True, smooth="none", gate=False)
        work = everywhere(work_on(clip, tmp_path / "x.mkv", settings, SECONDS))

        def interrupt(progress: Progress) -> None:
            if list(work.folder.finished()):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            list(work_off([work], RayCrew(cluster.address, prepare=register_engines), interrupt))
        kept = len(work.folder.finished())
        assert kept
        register_engines()
        rest = OneByOne()
        done(work, rest)
        assert len(rest.segments) == 10 - kept
        assert len(frames_of(tmp_path / "x.mkv")) == COUNT


class TestRefused:
    """What is told in one line, with exit code 2."""

    def video(self, clip: Path, out: Path, *flags: object) -> Any:
        return streamseg("video", clip, "-o", out / "x.mkv", *flags)

    def test_no_cluster_at_the_address(self, clip: Path, tmp_path: Path) -> None:
        pytest.importorskip("ray", reason="Ray is not installed: extra cluster")
        address = f"127.0.0.1:{unused_port()}"
        expect_one_line_error(self.video(clip, tmp_path, "--cluster", address), f"there is no cluster at {address}")

    def test_no_address(self, clip: Path, tmp_path: Path) -> None:
        expect_one_line_error(self.video(clip, tmp_path, "--cluster", "ray://there"), "HOST:PORT")

    def test_ray_is_not_installed(self, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        original = builtins.__import__

        def without_ray(name: str, *rest: Any, **named: Any) -> Any:
            if name.partition(".")[0] == "ray":
                raise ImportError("No module named 'ray'")
            return original(name, *rest, **named)

        monkeypatch.setattr(builtins, "__import__", without_ray)
        result = self.video(clip, tmp_path, "--cluster", "auto")
        expect_one_line_error(result, "pip install 'streamseg[cluster]'")

    @pytest.mark.parametrize(
        ("flags", "told"),
        [
            (("--cluster", "auto", "--jobs", 2), "choose one"),
            (("--gpus-per-task", 0.5), "give both, or neither"),
        ],
        ids=str,
    )
    def test_flags_that_do_not_go_together(
        self, flags: tuple[object, ...], told: str, clip: Path, tmp_path: Path
    ) -> None:
        expect_one_line_error(self.video(clip, tmp_path, *flags), told)

    def test_a_watched_folder(self, clip: Path, tmp_path: Path) -> None:
        result = streamseg("batch", clip.parent, "-o", tmp_path, "--cluster", "auto", "--watch")
        expect_one_line_error(result, "--watch is for this machine alone")


class TestLook:
    def test_all_is_well_here_and_nothing_is_left(self, clip: Path, tmp_path: Path) -> None:
        work = work_on(clip, tmp_path / "x.mkv", settings_of("level"), SECONDS)
        with needs_of([work]) as needs:
            seen = look(needs)
        assert seen.problems == ()
        assert seen.versions["Python"] == ".".join(map(str, sys.version_info[:2]))
        assert list(tmp_path.iterdir()) == []

    def test_another_file_of_that_name(self, clip: Path, tmp_path: Path) -> None:
        source = tmp_path / "in.mkv"
        source.write_bytes(clip.read_bytes())
        with needs_of([work_on(source, tmp_path / "x.mkv", settings_of("level"), SECONDS)]) as needs:
            source.write_bytes(b"other")
            (problem,) = look(needs).problems
        assert f"another file is at {source}, of 5" in problem

    def test_paths_become_absolute(self, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(clip.parent)
        work = everywhere(work_on(Path("in.mkv"), Path("x.mkv"), settings_of(bg="green"), SECONDS))
        assert (work.source, work.out, work.settings.composite.bg) == (str(clip), clip.parent / "x.mkv", "green")
        assert work.settings.infer.model == "nano"
