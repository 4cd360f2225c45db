"""Sources and outputs by URL, against moto's S3 on loopback: the same as with files, few bytes, errors of one line."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from platformdirs import user_cache_path
from s3fs import S3FileSystem
from typer.testing import CliRunner

from streamseg.batch.jobs import arrivals
from streamseg.batch.schedule import work_off
from streamseg.batch.tasks import SegmentTask, Task, Work
from streamseg.cli.app import app
from streamseg.composite.background import open_background
from streamseg.decode import open_source
from streamseg.decode.time_range import TimeRange
from streamseg.errors import InputError, OutputError
from streamseg.frames import Frame
from streamseg.media.storage import PART_BYTES, RemotePath, path_of
from streamseg.photos import matte_photos, plan_photos
from streamseg.pipeline import run
from streamseg.probe import describe
from streamseg.settings import InferSettings, OutputSettings, Settings
from streamseg.sink import BaseSink, MadeFrom, MadeOtherwise, open_sink
from tests import writer
from tests.crews import OneByOne, done, largest_difference, register_engines, settings_of, single_run
from tests.s3_server import Request, S3Server
from tests.synthetic import DiscEngine, picture, write_clip
from tests.test_fidelity import packets, record, yuv

BUCKET = "clips"
SMALL = Settings(infer=InferSettings(input_size=64))
NOT_A_PORT = "http://127.0.0.1:9"


@dataclass
class Storage:
    """A bucket that is empty at the beginning of each test, and the folder where outputs are written first."""

    server: S3Server
    client: Any
    uploads: Path

    def put(self, path: Path, key: str = "") -> str:
        """Store a file; return its URL."""
        self.client.upload_file(str(path), BUCKET, key or path.name)
        return self.url(key or path.name)

    def url(self, key: str) -> str:
        return f"s3://{BUCKET}/{key}"

    def stored(self) -> list[str]:
        return [one["Key"] for one in self.client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def get(self, key: str, path: Path) -> Path:
        self.client.download_file(BUCKET, key, str(path))
        return path

    def left_here(self) -> list[str]:
        """Names of the files that wait for their upload."""
        return sorted(path.name for path in self.uploads.iterdir()) if self.uploads.exists() else []

    def sent_bytes(self) -> int:
        return sum(request.sent_bytes for request in self.server.requests)


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    server = S3Server()
    with server.running():
        yield server


@pytest.fixture
def storage(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    client = server.client()
    client.create_bucket(Bucket=BUCKET)
    storage = Storage(server, client, user_cache_path("streamseg", appauthor=False) / "uploads")
    server.requests.clear()
    yield storage
    server.answer = lambda _: None
    for key in storage.stored():
        client.delete_object(Bucket=BUCKET, Key=key)
    client.delete_bucket(Bucket=BUCKET)
    client.close()
    shutil.rmtree(storage.uploads, ignore_errors=True)


@pytest.fixture
def other_environment(storage: Storage) -> Iterator[None]:
    """The client of a test begins anew with what the test puts into the environment."""
    S3FileSystem.clear_instance_cache()
    yield
    S3FileSystem.clear_instance_cache()


def through(source: str, out: str, resume: bool = False, made_from: MadeFrom | None = None, **output: Any) -> BaseSink:
    """The whole line with the engine that knows the disc."""
    with (
        open_source(source) as opened,
        open_sink(out, opened.info, "foreground", OutputSettings(**output), resume, made_from=made_from) as sink,
    ):
        run(opened, DiscEngine(), sink, SMALL)
    return sink


def frames_of(source: str) -> list[Frame]:
    with open_source(source) as opened:
        return list(opened)


def assert_same(found: list[Frame], expected: list[Frame]) -> None:
    assert [frame.pts for frame in found] == [frame.pts for frame in expected]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """20 MB: 310 frames of a plain wall and 60 of noise; its index comes last."""
    path, noise = tmp_path_factory.mktemp("large") / "x.mov", np.random.default_rng(0)
    with av.open(str(path), "w") as output:
        video = output.add_stream("mjpeg", rate=25, options={"qmin": "2", "qmax": "2"})
        video.width, video.height, video.pix_fmt = 640, 480, "yuvj420p"
        for index in range(370):
            plain = np.full((480, 640, 3), 96, np.uint8)
            pixels = plain if index < 310 else noise.integers(0, 256, (480, 640, 3), np.uint8)
            output.mux(video.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        output.mux(video.encode(None))
    return path


@pytest.fixture(scope="module")
def loud(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 MB, nearly all of it sound, which is stored beside 100 small frames."""
    path = tmp_path_factory.mktemp("loud") / "x.mov"
    with av.open(str(path), "w") as output:
        video = output.add_stream("mjpeg", rate=25)
        video.width, video.height, video.pix_fmt = 128, 96, "yuvj420p"
        sound = output.add_stream("pcm_f32le", rate=96_000, layout="7.1")
        for index in range(100):
            output.mux(video.encode(av.VideoFrame.from_ndarray(picture(index), "rgb24")))
            heard = av.AudioFrame.from_ndarray(np.full((1, 8 * 3840), index / 200, np.float32), "flt", "7.1")
            heard.sample_rate, heard.pts = 96_000, index * 3840
            output.mux(sound.encode(heard))
        output.mux(video.encode(None))
    return path


class TestNames:
    @pytest.mark.parametrize(
        ("name", "path"),
        [
            ("talk.mp4", Path("talk.mp4")),
            ("12:30.mp4", Path("12:30.mp4")),
            ("file:///a/b%20c.mp4", Path("/a/b c.mp4")),
            ("file://localhost/a/b.mp4", Path("/a/b.mp4")),
            ("C://b.mp4", Path("C://b.mp4")),
            ("s3://bucket/a/b.mp4", RemotePath("s3://bucket/a/b.mp4")),
            ("S3://bucket/a/", RemotePath("S3://bucket/a")),
        ],
    )
    def test_what_a_name_stands_for(self, name: str, path: Path | RemotePath) -> None:
        assert path_of(name) == path

    def test_parts(self) -> None:
        path = path_of("s3://bucket/a/50% b.tar.MP4")
        assert (path.name, path.stem, path.suffix) == ("50% b.tar.MP4", "50% b.tar", ".MP4")
        assert str(path.parent / "x.mov") == "s3://bucket/a/x.mov" == str(path.with_name("x.mov"))
        assert str(path.parent.parent) == "s3://bucket" == str(path.parent.parent.parent)

    def test_the_query_of_a_web_address_is_no_part_of_the_name(self) -> None:
        assert path_of("https://host/a.mp4?X-Amz-Signature=1%2F2.b").suffix == ".mp4"

    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("sftp://me:secret@host/x.mp4", "holds a password"),
            ("memory://x.mp4", "memory of one process"),
            ("s3://", "names no file"),
        ],
    )
    def test_what_is_refused(self, name: str, message: str) -> None:
        with pytest.raises(InputError, match=message) as refused:
            path_of(name)
        assert "secret" not in str(refused.value)


class TestSources:
    @pytest.mark.parametrize("name", ["x.mp4", "x.mkv", "x.mov", "x.ts", "x.gif"])
    def test_videos(self, name: str, storage: Storage, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "clip.mp4", 12).path
        if name != "x.mp4":
            path = remuxed(path, tmp_path / name) if name != "x.gif" else written(tmp_path / name)
        url = storage.put(path, f"in/{name}")
        assert_same(frames_of(url), frames_of(str(path)))
        assert facts(url) == facts(str(path))

    @pytest.mark.parametrize("name", ["x.webp", "x.apng", "x.avif"])
    def test_animations(self, name: str, storage: Storage, tmp_path: Path) -> None:
        path = tmp_path / name
        images = [Image.fromarray(picture(index)) for index in range(5)]
        images[0].save(
            path, save_all=True, append_images=images[1:], duration=40, **({"format": "PNG"} if "apng" in name else {})
        )
        assert_same(frames_of(storage.put(path)), frames_of(str(path)))

    def test_a_damaged_animation(self, storage: Storage, tmp_path: Path) -> None:
        whole = tmp_path / "x.webp"
        images = [Image.fromarray(picture(index)) for index in range(5)]
        images[0].save(whole, save_all=True, append_images=images[1:], duration=40)
        whole.write_bytes(whole.read_bytes()[:-100])
        with open_source(storage.put(whole)) as source:
            assert len(list(source)) == 4
        assert source.decode_error
        assert "cut short" in source.decode_error

    def test_a_folder_of_images(self, storage: Storage, tmp_path: Path) -> None:
        for index in range(12):
            path = tmp_path / f"f{index}.png"
            Image.fromarray(picture(index)).save(path)
            storage.put(path, f"photos/f{index}.png")
        storage.client.put_object(Bucket=BUCKET, Key="photos/", Body=b"")  # As consoles mark folders.
        storage.put(tmp_path / "f0.png", "photos/below/f0.png")
        for url in (storage.url("photos"), storage.url("photos/")):
            found = frames_of(url)
            assert len(found) == 12
            np.testing.assert_array_equal(found[10].pixels, picture(10))

    def test_16_bits(self, storage: Storage, tmp_path: Path) -> None:
        import cv2

        path = tmp_path / "x.png"
        assert cv2.imwrite(str(path), picture(0).astype(np.uint16) * 257)
        (frame,) = frames_of(storage.put(path))
        np.testing.assert_array_equal(frame.pixels[..., ::-1], picture(0))

    @pytest.mark.parametrize("name", ["b.png", "b.mp4"])
    def test_a_background(self, name: str, storage: Storage, tmp_path: Path) -> None:
        path = tmp_path / name
        Image.fromarray(picture(0)).save(path) if name == "b.png" else write_clip(path, 3)
        frame = Frame(0, writer.frame(0, "composite").pts, picture(5))
        found, expected = (open_background(spec) for spec in (storage.put(path), str(path)))
        np.testing.assert_array_equal(found.frame_at(frame), expected.frame_at(frame))
        found.close(), expected.close()

    def test_over_http(self, storage: Storage, tmp_path: Path) -> None:
        path = write_clip(tmp_path / "x.mp4", 5).path
        storage.client.put_object(Bucket=BUCKET, Key="x.mp4", Body=path.read_bytes(), ACL="public-read")
        url = f"{storage.server.url}/{BUCKET}/x.mp4"
        assert_same(frames_of(url), frames_of(str(path)))


class TestRanges:
    def test_a_probe_reads_little(self, large: Path, storage: Storage) -> None:
        """What it looks at is at the beginning and at the end; between them there are 15 MB of no interest."""
        url, size = storage.put(large), large.stat().st_size
        storage.server.requests.clear()
        assert facts(url) == facts(str(large))
        assert storage.sent_bytes() < size / 3
        assert len([request for request in storage.server.requests if request.method == "GET"]) <= 4

    def test_sound_is_not_read_again(self, loud: Path, storage: Storage, tmp_path: Path) -> None:
        url = storage.put(loud)
        storage.server.requests.clear()
        through(url, str(tmp_path / "out.mkv"))
        assert storage.sent_bytes() < loud.stat().st_size * 1.2
        assert [data for _, data in packets(tmp_path / "out.mkv")] == [data for _, data in packets(loud)]

    def test_a_time_range_reads_its_part(self, large: Path, storage: Storage) -> None:
        url = storage.put(large)
        storage.server.requests.clear()
        with open_source(url, TimeRange.of("14.6", None)) as source:
            assert len(list(source)) == 5
        assert storage.sent_bytes() < large.stat().st_size / 2


class TestOutputs:
    @pytest.mark.parametrize("name", ["x.mov", "x.mkv", "x.webm", "x.mp4", "x.gif", "x.webp"])
    def test_the_same_file_as_on_disk(self, name: str, storage: Storage, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "clip.mp4", 6).path
        sink = through(storage.put(clip), storage.url(f"out/{name}"))
        through(str(clip), str(tmp_path / name))
        assert sink.summary.startswith(f"s3://clips/out/{name}: 6 frames")
        uploaded = storage.get(f"out/{name}", tmp_path / f"uploaded_{name}")
        assert_same(frames_of(str(uploaded)), frames_of(str(tmp_path / name)))
        if name in ("x.mov", "x.mkv", "x.mp4"):
            assert packets(uploaded) == packets(tmp_path / name)
        assert storage.left_here() == []

    def test_a_sidecar(self, storage: Storage, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "clip.mp4", 6).path
        sink = through(str(clip), storage.url("out/x.mp4"), alpha="sidecar")
        assert storage.stored() == ["out/x.alpha.mp4", "out/x.mp4"]
        assert sink.summary.endswith("luma matte in s3://clips/out/x.alpha.mp4")
        assert storage.left_here() == []

    def test_a_sidecar_without_its_video(self, storage: Storage, tmp_path: Path) -> None:
        storage.server.answer = lambda request: 403 if (request.method, request.path[-5:]) == ("PUT", "x.mp4") else None
        clip = write_clip(tmp_path / "clip.mp4", 6).path
        with pytest.raises(OutputError, match=r"what was to be uploaded is in .*-x\.alpha\.mp4 and .*-x\.mp4$"):
            through(str(clip), storage.url("out/x.mp4"), alpha="sidecar")
        assert storage.stored() == []
        assert len(storage.left_here()) == 2

    @pytest.mark.parametrize("out", ["seq/x_%03d.png", "seq/", "x_%02d.exr"])
    def test_a_sequence(self, out: str, storage: Storage, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "clip.mp4", 3).path
        through(str(clip), storage.url(out))
        through(str(clip), f"{tmp_path}/here/{Path(out).name if '%' in out else ''}")
        written_here = sorted((tmp_path / "here").iterdir())
        assert [Path(key).name for key in storage.stored()] == [path.name for path in written_here]
        for key, path in zip(storage.stored(), written_here, strict=True):
            assert storage.get(key, tmp_path / "back").read_bytes() == path.read_bytes()

    def test_photos(self, storage: Storage, tmp_path: Path) -> None:
        for name in ("a.png", "b.jpg"):
            Image.fromarray(picture(3)).save(tmp_path / name)
            storage.put(tmp_path / name, f"photos/{name}")
        pairs = plan_photos([storage.url("photos")], storage.url("cut"), transparent=True)
        done = list(matte_photos(pairs, DiscEngine(), SMALL))
        assert [one.problem for one in done] == [None, None]
        assert storage.stored() == ["cut/a.png", "cut/b.png", "photos/a.png", "photos/b.jpg"]
        with Image.open(storage.get("cut/a.png", tmp_path / "cut.png")) as image:
            assert image.mode == "RGBA"

    def test_a_photo_is_not_written_over_itself(self, storage: Storage, tmp_path: Path) -> None:
        Image.fromarray(picture(3)).save(tmp_path / "a.png")
        url = storage.put(tmp_path / "a.png")
        with pytest.raises(OutputError, match="is the input itself"):
            plan_photos([url], url, transparent=True)

    def test_goes_on_with_what_an_interrupted_run_left_here(self, loud: Path, storage: Storage, tmp_path: Path) -> None:
        """The source cannot be read any more amid the run; nothing is uploaded, and the part is continued."""
        url, out = storage.put(loud), storage.url("out/x.mkv")
        storage.server.answer = refuse_after(4)
        with pytest.raises(InputError, match=r"cannot read s3://clips/x\.mov: access denied"):
            through(url, out, made_from={"feather": 3})
        assert "out/x.mkv" not in storage.stored()
        part, record = sorted(storage.left_here())
        assert part.endswith("-x.mkv.part")
        assert record == f"{part}.json"
        storage.server.answer = lambda _: None
        with pytest.raises(MadeOtherwise, match=rf"{part}: it was made with feather 3, not 0"):
            through(url, out, resume=True, made_from={"feather": 0})
        sink = through(url, out, resume=True, made_from={"feather": 3})
        assert sink.resume_at > 0
        assert sink.summary.startswith("s3://clips/out/x.mkv: 100 frames")
        assert storage.left_here() == []
        through(str(loud), str(tmp_path / "here.mkv"))
        back = storage.get("out/x.mkv", tmp_path / "back.mkv")
        assert packets(back) == packets(tmp_path / "here.mkv")
        assert_same(frames_of(str(back)), frames_of(str(tmp_path / "here.mkv")))


class TestUploads:
    def test_in_parts(self, storage: Storage, tmp_path: Path) -> None:
        path = sparse(tmp_path / "x.bin", 3)
        RemotePath(storage.url("x.bin")).upload(path)
        assert parts_sent(storage) == 3
        assert storage.client.head_object(Bucket=BUCKET, Key="x.bin")["ContentLength"] == path.stat().st_size

    def test_refused_amid_its_parts(self, storage: Storage, tmp_path: Path) -> None:
        storage.server.answer = lambda request: 403 if "partNumber=2" in request.query else None
        with pytest.raises(OutputError, match=r"cannot write s3://clips/x\.bin: access denied"):
            RemotePath(storage.url("x.bin")).upload(sparse(tmp_path / "x.bin", 3))
        assert storage.stored() == []
        assert "Uploads" not in storage.client.list_multipart_uploads(Bucket=BUCKET)

    @pytest.mark.skipif(os.name == "nt", reason="there are no signals there")
    @pytest.mark.parametrize("how", ["SIGKILL", "SIGINT"])
    def test_ended_amid_its_parts(self, how: str, storage: Storage, tmp_path: Path) -> None:
        path = sparse(tmp_path / "x.bin", 3)
        is_sent, goes_on = threading.Event(), threading.Event()

        def hold(request: Request) -> None:
            if "partNumber=3" in request.query:
                is_sent.set()
                goes_on.wait(60)

        storage.server.answer = hold
        upload = "import sys; from pathlib import Path; from streamseg.media.storage import RemotePath; "
        upload += "RemotePath(sys.argv[1]).upload(Path(sys.argv[2]))"
        with subprocess.Popen([sys.executable, "-c", upload, storage.url("x.bin"), str(path)]) as process:
            assert is_sent.wait(60)
            process.send_signal(getattr(signal, how))
        goes_on.set()
        assert process.returncode != 0
        assert storage.stored() == []

    def test_a_finished_file_that_cannot_be_uploaded_is_kept(self, storage: Storage, tmp_path: Path) -> None:
        storage.server.answer = lambda request: 403 if request.method == "PUT" else None
        clip = write_clip(tmp_path / "clip.mp4", 6).path
        with pytest.raises(OutputError, match=r"what was to be uploaded is in .*-x\.mov$") as failed:
            through(str(clip), storage.url("x.mov"))
        assert storage.stored() == []
        kept = Path(str(failed.value).rpartition(" is in ")[2])
        assert len(frames_of(str(kept))) == 6
        with suppress(InterruptedError), open_sink(storage.url("x.mov"), writer.INFO):  # The same command again.
            raise InterruptedError
        assert len(frames_of(str(kept))) == 6

    def test_a_matte_that_an_earlier_run_left_is_not_uploaded(self, storage: Storage, tmp_path: Path) -> None:
        storage.server.answer = lambda request: 403 if request.method == "PUT" else None
        clip = write_clip(tmp_path / "clip.mp4", 6).path
        with pytest.raises(OutputError, match="what was to be uploaded"):
            through(str(clip), storage.url("x.mp4"), alpha="sidecar")
        storage.server.answer = lambda request: None
        through(str(clip), storage.url("x.mp4"), alpha="stacked")
        assert storage.stored() == ["x.mp4"]
        assert storage.left_here() == []


class TestBatch:
    def test_from_bucket_to_bucket(self, storage: Storage, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "clip.mp4", 5).path
        (tmp_path / "bad.mov").write_bytes(b"nothing")
        for key in ("in/a.mp4", "in/b.MP4", "in/below/c.mp4"):
            storage.put(clip, key)
        storage.put(tmp_path / "bad.mov", "in/bad.mov")
        storage.put(tmp_path / "bad.mov", "in/notes.txt")
        command = ["batch", storage.url("in"), "-o", storage.url("out"), "--bg", "green", "--input-size", "64"]
        first = CliRunner().invoke(app, command)
        assert first.exit_code == 1, first.output
        assert "cannot read s3://clips/in/bad.mov as video" in first.output
        report = json.loads(storage.get("out/report.json", tmp_path / "report.json").read_text())
        assert {row["source"]: (row["status"], row["frames"]) for row in report} == {
            "s3://clips/in/a.mp4": ("done", 5),
            "s3://clips/in/b.MP4": ("done", 5),
            "s3://clips/in/bad.mov": ("failed", 0),
        }
        assert [key for key in storage.stored() if key.startswith("out/")] == [
            "out/a.mp4",
            "out/b.mp4",
            "out/report.json",
        ]
        storage.client.delete_object(Bucket=BUCKET, Key="in/bad.mov")
        again = CliRunner().invoke(app, command)
        assert again.exit_code == 0, again.output
        assert again.output.count("was there before") == 2

    def test_waits_for_more(self, storage: Storage, tmp_path: Path) -> None:
        clip = write_clip(tmp_path / "clip.mp4", 2).path
        storage.put(clip, "in/a.mp4")
        looks = arrivals(path_of(storage.url("in")), path_of(storage.url("out")), ".mov", lambda _: None)
        assert next(looks) is None  # It may be growing.
        job = next(looks)
        assert job
        assert (str(job.source), str(job.out)) == (storage.url("in/a.mp4"), storage.url("out/a.mov"))
        storage.put(clip, "in/b.mp4")
        assert [next(looks), next(looks)] == [None, None]

    def test_into_the_folder_that_is_read(self, storage: Storage, tmp_path: Path) -> None:
        storage.put(write_clip(tmp_path / "clip.mp4", 2).path, "in/a.mp4")
        done = CliRunner().invoke(app, ["batch", storage.url("in"), "-o", storage.url("in/")])
        assert done.exit_code == 2
        assert "is the folder that is read" in done.output


class TestErrors:
    """One line, exit code 2, and no traceback."""

    def test_no_such_key(self, storage: Storage) -> None:
        assert error_line("probe", storage.url("none.mp4")) == "no such file or folder: s3://clips/none.mp4"

    @pytest.mark.parametrize("command", ["probe", "video"])
    def test_no_such_bucket(self, command: str, storage: Storage) -> None:
        arguments = {"probe": ["s3://nobody/x.mp4"], "video": ["testsrc=64x64", "-o", "s3://nobody/x.mp4"]}[command]
        assert error_line(command, *arguments) == "cannot reach s3://nobody/x.mp4: The specified bucket does not exist"

    @pytest.mark.usefixtures("other_environment")
    @pytest.mark.parametrize("command", ["probe", "batch"])
    def test_no_credentials(
        self, command: str, storage: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, str(tmp_path / "none"))
        arguments = [storage.url("x"), *(["-o", "out"] if command == "batch" else [])]
        assert "there are no credentials: set AWS_PROFILE" in error_line(command, *arguments)

    @pytest.mark.parametrize(
        "arguments", ["probe URL", "video testsrc=64x64 -o URL", "video testsrc=64x64 -o URL/", "image URL -o out"]
    )
    def test_access_denied(self, arguments: str, storage: Storage) -> None:
        storage.server.answer = lambda _: 403
        line = error_line(*arguments.replace("URL", storage.url("x.mp4")).split())
        assert line.startswith("cannot reach s3://clips/x.mp4: access denied")

    @pytest.mark.usefixtures("other_environment")
    def test_connection_refused(self, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", NOT_A_PORT)
        line = error_line("probe", storage.url("x.mp4"))
        assert line.startswith("cannot reach s3://clips/x.mp4: Could not connect to the endpoint URL")

    def test_no_storage(self, storage: Storage) -> None:
        assert "this is no storage that fsspec knows" in error_line("probe", "rtsp://host/x.mp4")

    def test_a_web_server_that_sends_only_whole_files(self, large: Path) -> None:
        with web_server(large.parent) as address, pytest.raises(InputError, match="only the whole; download it first"):
            open_source(f"{address}/{large.name}")

    def test_the_web_is_only_read(self, storage: Storage) -> None:
        line = error_line("video", "testsrc=64x64", "-o", f"{storage.server.url}/x.mp4")
        assert "web addresses are only read" in line

    def test_an_output_that_is_the_input(self, storage: Storage, tmp_path: Path) -> None:
        url = storage.put(write_clip(tmp_path / "x.mp4", 3).path)
        assert "is an input too" in error_line("video", url, "-o", url)

    def test_an_unknown_suffix_is_found_before_the_run(self, storage: Storage, tmp_path: Path) -> None:
        line = error_line("video", "testsrc=64x64", "-o", storage.url("x.xyz"))
        assert line.startswith("cannot write s3://clips/x.xyz: give a name that ends in")

    def test_s3fs_is_not_installed(self) -> None:
        script = "import sys; sys.modules['s3fs'] = None; from streamseg.media.storage import RemotePath; "
        script += "RemotePath('s3://b/x.mp4').exists()"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
        assert done.stderr.endswith(
            "MissingExtraError: s3:// needs the package s3fs: pip install 'streamseg[cluster]'\n"
        )

    def test_replaced_while_it_is_read(self, large: Path, storage: Storage) -> None:
        url = storage.put(large)
        with open_source(url) as source:
            frames = iter(source)
            next(frames)
            storage.client.put_object(Bucket=BUCKET, Key="x.mov", Body=bytes(large.stat().st_size))
            with pytest.raises(InputError, match=r"cannot read s3://clips/x\.mov"):
                list(frames)


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Python's own, which does not know ranges."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def error_line(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments))
    assert done.exit_code == 2, done.output
    found = re.fullmatch(r"error: (.+)\n", done.stderr)
    assert found, done.stderr
    return found[1]


def facts(source: str) -> dict[str, str]:
    return {fact.name: fact.text for fact in describe(source, 320)}


def remuxed(source: Path, out: Path) -> Path:
    with av.open(str(source)) as file, av.open(str(out), "w") as output:
        streams = {stream.index: output.add_stream_from_template(stream) for stream in file.streams}
        for packet in file.demux():
            if packet.dts is not None:
                index, packet.stream = packet.stream.index, streams[packet.stream.index]
                assert index in streams
                output.mux(packet)
    return out


def written(path: Path) -> Path:
    with open_sink(str(path), writer.INFO, "composite") as sink:
        for index in range(5):
            sink.write(writer.frame(index, "composite"))
    return path


def refuse_after(count: int) -> Callable[[Request], int | None]:
    """Refuse to send parts of objects after the first `count`."""
    seen: list[Request] = []

    def answer(request: Request) -> int | None:
        if request.method != "GET" or not request.range:
            return None
        seen.append(request)
        return 403 if len(seen) > count else None

    return answer


def sparse(path: Path, parts: int) -> Path:
    with path.open("wb") as file:
        file.truncate((parts - 1) * PART_BYTES + 1000)
    return path


def parts_sent(storage: Storage) -> int:
    return len([request for request in storage.server.requests if "partNumber" in request.query])


class TestSegments:
    """Of a video that is parted: each is uploaded, and all are joined from where they are."""

    def clip(self, storage: Storage, folder: Path) -> tuple[Path, str]:
        pictures = [yuv(picture(n // 2, 96, 64)) for n in range(60)]
        path = record(folder / "in.mp4", pictures, [n * 3000 for n in range(60)], sound_seconds=2, gop_size=10)
        return path, storage.put(path)

    @pytest.mark.parametrize("flags", [{}, {"alpha": "sidecar"}], ids=str)
    def test_a_video(self, flags: dict[str, str], storage: Storage, tmp_path: Path) -> None:
        register_engines()
        path, url = self.clip(storage, tmp_path)
        name, settings = "x.mp4" if flags else "x.mkv", settings_of(**flags)
        work = Work(url, RemotePath(storage.url(f"out/{name}")), settings, 0.6)

        def interrupted(task: Task) -> None:
            if isinstance(task, SegmentTask) and task.segment.number == 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            list(work_off([work], OneByOne(interrupted)))
        assert {"out/" + name + ".segments/" + part for part in ("0000.json", "0001.npz", "manifest.json")} <= set(
            storage.stored()
        )
        crew = OneByOne()
        result = done(work, crew)
        assert crew.segments == [2]
        assert result.message.startswith(f"{work.out}: 60 frames")
        assert storage.stored() == ["in.mp4", *(["out/x.alpha.mp4"] if flags else []), f"out/{name}"]
        assert storage.left_here() == []
        found = storage.get(f"out/{name}", tmp_path / name)
        single = single_run(path, tmp_path / f"single_{name}", settings)
        assert packets(found) == packets(single) != []
        if not flags:
            assert largest_difference(frames_of(str(single)), frames_of(str(found))) <= 1

    def test_images(self, storage: Storage, tmp_path: Path) -> None:
        register_engines()
        _, url = self.clip(storage, tmp_path)
        done(Work(url, RemotePath(storage.url("out/x_%02d.png")), settings_of(), 0.6, as_images=True), OneByOne())
        assert storage.stored() == ["in.mp4", *(f"out/x_{number:02}.png" for number in range(60))]
