"""A Ray cluster of three nodes on this machine: what comes out is what one run writes, also when a node is removed."""

from __future__ import annotations

import builtins
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import psutil
import pytest

from streamseg.batch.cuts import from_cuts
from streamseg.batch.local import nothing
from streamseg.batch.ray_crew import Place, RayCrew, RayWorker
from streamseg.batch.schedule import Progress, work_off
from streamseg.batch.tasks import SegmentTask, Work
from streamseg.batch.visible import everywhere, look, needs_of
from streamseg.errors import EngineError, OutputError
from streamseg.media.storage import path_of
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
from tests.s3_server import S3Server
from tests.synthetic import picture
from tests.test_cli import expect_one_line_error, streamseg
from tests.test_fidelity import packets, record, yuv

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
def server() -> Iterator[S3Server]:
    server = S3Server()
    with server.running():
        yield server


@pytest.fixture(scope="module")
def cluster(server: S3Server) -> Iterator[Any]:
    """Three nodes with a core each, which reach the storage; the driver is on the first."""
    pytest.importorskip("ray", reason="Ray is not installed: extra cluster")
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80 << 20}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("RAY_worker_niceness", "0")  # Ray's 15 has workers wait for ever where the machine is busy.
        patch.delenv("RAY_ADDRESS", raising=False)
        for name, value in server.environment.items():
            patch.setenv(name, value)
        made = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
        made.add_node(**node)
        made.add_node(**node)
        yield made
        made.shutdown()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "c.toml"
    path.write_text(
        f'[infer]\nmodel = "nano"\ninput_size = 64\n[smooth]\nsmooth = "none"\n[batch]\nsegment_seconds = {SECONDS}\n'
    )
    return path


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """What this process tells Ray's dashboard."""
    metrics = pytest.importorskip("ray.util.metrics", reason="Ray is not installed: extra cluster")
    found = Counter[str]()

    def note(counter: Any, value: int = 1) -> None:
        found[counter.info["name"]] += value

    monkeypatch.setattr(metrics.Counter, "inc", note)
    return found


def begun(*arguments: object) -> subprocess.Popen[str]:
    """The command in a process of its own, and in a group, as a terminal begins it."""
    return subprocess.Popen(
        [sys.executable, "-m", "streamseg", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for_a_segment(driver: subprocess.Popen[str], folder: Path) -> None:
    while not list(folder.glob("0*.json")):
        assert driver.poll() is None, driver.communicate()
        time.sleep(0.01)


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

    def test_a_node_is_removed_midway(self, cluster: Any, clip: Path, tmp_path: Path, counted: Counter[str]) -> None:
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
        assert counted["streamseg_lost"] >= 1
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

    def test_a_killed_driver(self, cluster: Any, clip: Path, config: Path, tmp_path: Path) -> None:
        """The same command takes up what is finished: the report has the first run's times."""
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "a.mkv").write_bytes(clip.read_bytes())
        command = ("batch", tmp_path / "in", "-o", tmp_path / "out", "--config", config, "--to", "mkv", "--matte-only")
        command = (*command, "--cluster", cluster.address)
        folder = tmp_path / "out" / "a.mkv.segments"
        with begun(*command) as driver:
            wait_for_a_segment(driver, folder)
            driver.kill()
        kept = [json.loads(path.read_text()) for path in folder.glob("0*.json")]
        result = streamseg(*command)
        assert result.exit_code == 0, result.output
        (row,) = json.loads((tmp_path / "out" / "report.json").read_text())
        assert (row["frames"], len(row["segments"])) == (COUNT, 10)
        assert kept
        for one in kept:
            assert row["segments"][one["number"]]["seconds"] == one["seconds"]

    def test_ctrl_c(self, cluster: Any, clip: Path, config: Path, tmp_path: Path) -> None:
        out = tmp_path / "x.mkv"
        command = ("video", clip, "-o", out, "--config", config, "--matte-only")
        folder = tmp_path / "x.mkv.segments"
        with begun(*command, "--cluster", cluster.address) as driver:
            wait_for_a_segment(driver, folder)
            os.killpg(driver.pid, signal.SIGINT)
            said = driver.communicate()[1]
        assert driver.returncode == 130
        (kept,) = re.findall(r"^stopped by Ctrl-C; (\d+) of 10 segments are kept in ", said, re.MULTILINE)
        assert int(kept) == len(list(folder.glob("0*.json"))) > 0
        result = streamseg(*command, "--jobs", 2)
        assert result.exit_code == 0, result.output
        assert len(frames_of(out)) == COUNT
        assert not folder.exists()

    def test_from_storage_to_storage(self, cluster: Any, server: S3Server, tmp_path: Path) -> None:
        """Sound and all: packet by packet."""
        pictures = [yuv(picture(n // 2, 96, 64)) for n in range(60)]
        path = record(tmp_path / "in.mp4", pictures, [n * 3000 for n in range(60)], sound_seconds=2, gop_size=10)
        client = server.client()
        client.create_bucket(Bucket="clips")
        client.upload_file(str(path), "clips", "in.mp4")
        work = Work("s3://clips/in.mp4", path_of("s3://clips/out/x.mkv"), settings_of(), 0.6)
        crew = RayCrew(cluster.address, prepare=register_engines)
        crew.check([work])
        (result,) = work_off([work], crew)
        assert not result.has_failed, result.message
        assert (len(result.segments), result.frames) == (3, 60)
        assert [one["Key"] for one in client.list_objects_v2(Bucket="clips")["Contents"]] == ["in.mp4", "out/x.mkv"]
        client.download_file("clips", "out/x.mkv", str(tmp_path / "x.mkv"))
        single = single_run(path, tmp_path / "single.mkv", settings_of())
        assert packets(tmp_path / "x.mkv") == packets(single) != []
        assert largest_difference(frames_of(single), frames_of(tmp_path / "x.mkv")) <= 1


@pytest.mark.cluster
class TestOwnCluster:
    """Of `--cluster auto`, where there is none."""

    @pytest.fixture(autouse=True)
    def home(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        pytest.importorskip("ray", reason="Ray is not installed: extra cluster")
        monkeypatch.setenv("RAY_ADDRESS", "local")
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        return tmp_path / "home"

    def test_it_is_as_one_run(self, clip: Path, config: Path, home: Path, tmp_path: Path) -> None:
        """Nothing but the command's lines is on the terminal, and no token stays."""
        command = ("video", clip, "--config", config)
        single = streamseg(*command, "-o", tmp_path / "single.mov")
        assert single.exit_code == 0, single.output
        with begun(*command, "-o", tmp_path / "x.mov", "--cluster", "auto") as driver:
            printed, said = driver.communicate()
        assert driver.returncode == 0, said
        assert re.fullmatch(r".*150 frames, ProRes.*\n150 frames in .* 10 segments by \d+ workers?\n", printed), printed
        assert re.fullmatch(r"(frame \d+ .*\n)*", said), said
        assert not (home / ".ray").exists()
        assert largest_difference(frames_of(tmp_path / "single.mov"), frames_of(tmp_path / "x.mov")) <= 1

    def test_it_is_for_its_driver_alone(self, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It listens on this machine alone, and refuses who has not its token."""
        hold = "from streamseg.batch.ray_crew import RayCrew\nwith RayCrew('auto'):"
        hold += " import ray; print(ray.get_runtime_context().gcs_address, flush=True); input()"
        with subprocess.Popen(
            [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as driver:
            assert driver.stdout
            address = driver.stdout.readline().strip()
            listening = addresses_of_children(driver.pid)
            monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # It takes 127.0.0.1 as it is.
            with begun("video", clip, "-o", tmp_path / "x.mkv", "--cluster", address) as stranger:
                said = stranger.communicate()[1]
            driver.communicate("\n")
        assert said.startswith(f"error: the cluster at {address} asks for a token: set RAY_AUTH_MODE=token")
        assert (stranger.returncode, said.count("\n")) == (2, 1)
        assert listening
        assert listening <= {"127.0.0.1", "::1"}


def addresses_of_children(number: int) -> set[str]:
    """Where the processes that a process has begun, and theirs, wait for others."""
    children = psutil.Process(number).children(recursive=True)
    connections = [one for child in children for one in child.net_connections("tcp")]
    return {one.laddr.ip.removeprefix("::ffff:") for one in connections if one.status == psutil.CONN_LISTEN}


class TestCounters:
    def test_frames_and_segments(self, clip: Path, tmp_path: Path, counted: Counter[str]) -> None:
        """A worker, without a cluster."""
        settings = settings_of("level", matte_only=True, smooth="none", gate=False)
        register_engines()
        work = work_on(clip, tmp_path / "x.mkv", settings, SECONDS)
        (tmp_path / "x.mkv.segments").mkdir()
        worker = RayWorker(Place("node", "host", 0, 1), nothing)
        (segment, *_) = from_cuts([Fraction(1, 2)])
        assert worker.do(SegmentTask(work, segment, "a"))[1] is None
        assert counted == {"streamseg_frames": 15, "streamseg_segments": 1}


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
