"""Downloads of weights, from a server on this machine: whole or not there, and one line for all that goes wrong."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner, Result

from streamseg.cli import app as cli
from streamseg.errors import OutputError, WeightsError
from streamseg.model import weights
from streamseg.model.download import download, downloadable
from streamseg.model.u2net import LITE, U2Net
from streamseg.model.weights import RegistryEntry, downloads_folder, list_weights, load_weights

CONTENT = bytes(range(256)) * 4096
HALF = len(CONTENT) // 2


class Request(BaseHTTPRequestHandler):
    """Hands each request to the server's `answer` and writes nothing into the tests' output."""

    server: Web

    def do_GET(self) -> None:
        self.server.asked.append((self.path, self.headers["Range"]))
        self.server.answer(self)

    def log_message(self, *_: object) -> None:
        pass

    @property
    def start(self) -> int:
        """Where the bytes that are asked for begin."""
        return int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))

    def send(
        self, status: int, content: bytes, kind: str = "application/octet-stream", length: int | None = -1
    ) -> None:
        """Sends an answer; `length` is what it says of itself: by default the truth, None for nothing."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        if length is not None:
            self.send_header("Content-Length", str(len(content) if length < 0 else length))
        self.end_headers()
        self.wfile.write(content)


Answer = Callable[[Request], None]


class Web(ThreadingHTTPServer):
    """A web server on this machine, with what it was asked: paths and ranges."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.asked: list[tuple[str, str | None]] = []
        self.answer: Answer = whole

    def handle_error(self, *_: object) -> None:
        """A client that has had enough hangs up; that is no news."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


def whole(request: Request) -> None:
    """What a simple server does: all of it, whatever range is asked for."""
    request.send(200, CONTENT)


def ranged(request: Request) -> None:
    """What release servers do."""
    request.send(206 if request.headers["Range"] else 200, CONTENT[request.start :])


def broken_off(request: Request) -> None:
    """Half of what is left, and then the connection is gone."""
    left = CONTENT[request.start :]
    request.send(206 if request.start else 200, left[: len(left) // 2], length=len(left))


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Web() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert downloads_folder().is_relative_to(tmp_path)
    return downloads_folder()


@pytest.fixture
def tiny(web: Web) -> RegistryEntry:
    """A row of the registry whose file the server has."""
    digest = hashlib.sha256(CONTENT).hexdigest()
    return RegistryEntry("tiny", "CC0", "a test", "tiny.bin", digest, f"{web.url}/files/tiny.bin", len(CONTENT))


def fetch(entry: RegistryEntry, mirror: str | None = None) -> Path:
    return download(entry, mirror, lambda _: None)


def left_behind(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_the_file_is_verified_and_kept(web: Web, tiny: RegistryEntry, data_folder: Path) -> None:
    heard: list[int] = []
    path = download(tiny, None, heard.append)
    assert path == data_folder / "tiny.bin" == tiny.path
    assert path.read_bytes() == CONTENT
    assert left_behind(data_folder) == ["tiny.bin"]
    assert web.asked == [("/files/tiny.bin", None)]
    assert heard[0] == 0 and heard[-1] == len(CONTENT) and heard == sorted(set(heard))


def test_what_is_there_is_not_fetched_again(web: Web, tiny: RegistryEntry) -> None:
    path = fetch(tiny)
    assert fetch(tiny) == path
    assert len(web.asked) == 1
    path.write_bytes(CONTENT[:-1] + b"x")
    assert fetch(tiny).read_bytes() == CONTENT, "unless it is damaged"
    assert len(web.asked) == 2


@pytest.mark.parametrize("ending", ["", "/"])
def test_a_mirror_has_the_file_under_the_same_name(web: Web, tiny: RegistryEntry, ending: str) -> None:
    elsewhere = replace(tiny, url="http://127.0.0.1:9/never/asked")
    assert fetch(elsewhere, f"{web.url}/copies{ending}").read_bytes() == CONTENT
    assert web.asked == [("/copies/tiny.bin", None)]


def test_redirections_are_followed(web: Web, tiny: RegistryEntry) -> None:
    def redirect(request: Request) -> None:
        request.send_response(302)
        request.send_header("Location", "/elsewhere")
        request.end_headers()

    web.answer = lambda request: (ranged if request.path == "/elsewhere" else redirect)(request)
    assert fetch(tiny).read_bytes() == CONTENT


def test_a_server_that_does_not_tell_the_length(web: Web, tiny: RegistryEntry) -> None:
    web.answer = lambda request: request.send(200, CONTENT, length=None)
    assert fetch(tiny).read_bytes() == CONTENT


# After a break


@pytest.mark.parametrize(("then", "ranges"), [(ranged, "all that is left"), (whole, "all of it again")])
def test_the_next_download_goes_on_after_a_break(
    web: Web, tiny: RegistryEntry, data_folder: Path, then: Answer, ranges: str
) -> None:
    web.answer = broken_off
    with pytest.raises(WeightsError, match=r"tiny\.bin broke off after 0\.5 of 1\.0 MB; the same command goes on"):
        fetch(tiny)
    assert left_behind(data_folder) == ["tiny.bin.part"]
    assert (data_folder / "tiny.bin.part").read_bytes() == CONTENT[:HALF]
    web.answer = then
    heard: list[int] = []
    assert download(tiny, None, heard.append).read_bytes() == CONTENT
    assert web.asked[1] == ("/files/tiny.bin", f"bytes={HALF}-")
    assert heard[0] == (HALF if then is ranged else 0), ranges
    assert left_behind(data_folder) == ["tiny.bin"]


def test_a_server_may_break_off_twice(web: Web, tiny: RegistryEntry, data_folder: Path) -> None:
    web.answer = broken_off
    for share in (r"0\.5", r"0\.8"):
        with pytest.raises(WeightsError, match=f"broke off after {share} of"):
            fetch(tiny)
    assert (data_folder / "tiny.bin.part").read_bytes() == CONTENT[: HALF + HALF // 2]


def test_ctrl_c_leaves_what_is_there(web: Web, tiny: RegistryEntry, data_folder: Path) -> None:
    def interrupt(done_bytes: int) -> None:
        if done_bytes:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download(tiny, None, interrupt)
    there = (data_folder / "tiny.bin.part").read_bytes()
    assert 0 < len(there) < len(CONTENT) and CONTENT.startswith(there)
    web.answer = ranged
    assert fetch(tiny).read_bytes() == CONTENT
    assert web.asked[1][1] == f"bytes={len(there)}-"


def test_a_run_that_was_killed_before_the_rename(web: Web, tiny: RegistryEntry, data_folder: Path) -> None:
    data_folder.mkdir(parents=True)
    (data_folder / "tiny.bin.part").write_bytes(CONTENT)
    assert fetch(tiny).read_bytes() == CONTENT
    assert web.asked == []


# What goes wrong


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        pytest.param(lambda r: r.send(200, CONTENT[::-1]), r"another file: its sha256 is [0-9a-f]{64}, not", id="hash"),
        pytest.param(lambda r: r.send(200, b"short"), "another file: it sends 5 bytes where 1,048,576", id="size"),
        pytest.param(lambda r: r.send(200, CONTENT[1:] * 2, length=None), "another file: its sha256", id="too long"),
        pytest.param(lambda r: r.send(200, b"<html>", "text/html; charset=utf-8"), "is a web page, not", id="HTML"),
        pytest.param(lambda r: r.send_error(404), r"answers 404 Not Found; .* --mirror URL", id="404"),
        pytest.param(lambda r: r.send(521, b""), "answers 521", id="a code of its own"),
        pytest.param(lambda r: None, "cannot be reached: .*closed connection", id="silence"),
    ],
)
def test_a_server_without_the_file(
    web: Web, tiny: RegistryEntry, data_folder: Path, answer: Answer, problem: str
) -> None:
    web.answer = answer
    with pytest.raises(WeightsError, match=problem) as caught:
        fetch(tiny)
    assert "\n" not in str(caught.value) and str(tiny.url) in str(caught.value)
    assert left_behind(data_folder) == []


def test_a_part_of_another_file_is_not_kept(web: Web, tiny: RegistryEntry, data_folder: Path) -> None:
    data_folder.mkdir(parents=True)
    (data_folder / "tiny.bin.part").write_bytes(b"x" * HALF)
    web.answer = ranged
    with pytest.raises(WeightsError, match="another file: its sha256"):
        fetch(tiny)
    assert left_behind(data_folder) == []
    assert fetch(tiny).read_bytes() == CONTENT


@pytest.mark.parametrize("mirror", ["http://127.0.0.1:{port}", "http://[half", "http://a b/", "http://ü"])
def test_no_server_there(web: Web, tiny: RegistryEntry, data_folder: Path, mirror: str) -> None:
    web.server_close()  # so that nobody listens at its port
    with pytest.raises(WeightsError, match=r"cannot be reached: .*--mirror URL") as caught:
        fetch(tiny, mirror.format(port=web.server_port))
    assert "\n" not in str(caught.value)
    assert left_behind(data_folder) == []


@pytest.mark.parametrize("mirror", ["file:///etc", "ftp://127.0.0.1", "/etc", "mirror.example.com", "http:///"])
def test_other_kinds_of_addresses_are_refused(tiny: RegistryEntry, mirror: str) -> None:
    with pytest.raises(WeightsError, match="begins with http:// or https://"):
        fetch(tiny, mirror)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_a_full_disk(tiny: RegistryEntry, data_folder: Path) -> None:
    data_folder.mkdir(parents=True)
    (data_folder / "tiny.bin.part").symlink_to("/dev/full")
    with pytest.raises(OutputError, match=r"cannot write .*tiny\.bin: No space left on device"):
        fetch(tiny)
    assert left_behind(data_folder) == []


def test_a_folder_that_cannot_be_made(tiny: RegistryEntry, data_folder: Path) -> None:
    data_folder.parent.mkdir(parents=True)
    data_folder.touch()
    with pytest.raises(OutputError, match=r"cannot write .*tiny\.bin: (File exists|Not a directory)"):
        fetch(tiny)


# By name, as a user types it


def streamseg(*arguments: object) -> Result:
    return CliRunner().invoke(cli.app, [str(argument) for argument in arguments])


@pytest.fixture
def network(web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> U2Net:
    """A network that the registry knows as `remote`, and the server has."""
    torch.manual_seed(5)
    net = U2Net(LITE).eval()
    content = safetensors.torch.save(net.state_dict())
    web.answer = lambda request: request.send(200, content)
    models = tmp_path / "models"
    shutil.copytree(weights.MODELS, models)
    with (models / "models.toml").open("a", encoding="utf-8") as registry:
        registry.write(
            f"""
            [[weights]]
            name = "remote"
            file = "remote.safetensors"
            url = "{web.url}/remote.safetensors"
            sha256 = "{hashlib.sha256(content).hexdigest()}"
            size_bytes = {len(content)}
            licence = "CC0"
            description = "a test"
            """
        )
    monkeypatch.setattr(weights, "MODELS", models)
    return net


def state_of(name: str) -> str:
    lines = streamseg("weights", "list").stdout.splitlines()
    return next(line for line in lines if line.split()[0] == name)


def test_weights_are_downloaded_once_asked_for_and_then_run(web: Web, network: U2Net) -> None:
    assert "to download     4.6 MB  CC0" in state_of("remote")
    with pytest.raises(
        WeightsError, match="remote is not downloaded yet; to fetch it: streamseg weights download remote"
    ):
        load_weights("remote")
    assert web.asked == [], "never unasked"
    result = streamseg("weights", "download", "remote")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        f"{downloads_folder() / 'remote.safetensors'}: verified; --model remote runs it"
    ]
    assert "downloaded      4.6 MB  CC0" in state_of("remote")
    assert "1,128,333" in streamseg("weights", "info", "remote").stdout
    loaded = load_weights("remote").state_dict()
    assert all(torch.equal(tensor, loaded[key]) for key, tensor in network.state_dict().items())


def test_downloaded_weights_that_were_damaged_since(network: U2Net) -> None:
    assert streamseg("weights", "download", "remote").exit_code == 0
    path = downloads_folder() / "remote.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match=r"is damaged: .* to put it right: streamseg weights download remote"):
        load_weights("remote")
    assert streamseg("weights", "download", "remote").exit_code == 0
    assert load_weights("remote")


def test_a_mirror_by_option_or_by_environment(web: Web, network: U2Net, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMSEG_WEIGHTS_URL", f"{web.url}/firm")
    assert streamseg("weights", "download", "remote", "--mirror", f"{web.url}/own").exit_code == 0
    (downloads_folder() / "remote.safetensors").unlink()
    assert streamseg("weights", "download", "remote").exit_code == 0
    assert [path for path, _ in web.asked] == ["/own/remote.safetensors", "/firm/remote.safetensors"]


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("lite", "lite is packaged already: --model lite runs it"),
        ("large", "no weights are called 'large'; to download there are: full, remote"),
        ("remote", "remote.safetensors answers 404"),
    ],
)
def test_errors_are_one_line(web: Web, network: U2Net, name: str, problem: str) -> None:
    web.answer = lambda request: request.send_error(404)
    result = streamseg("weights", "download", name)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ") and problem in result.stderr and result.stderr.count("\n") == 1
    assert left_behind(downloads_folder()) == []


def test_every_row_to_download_is_pinned() -> None:
    rows = [entry for entry in list_weights() if entry.url]
    assert downloadable("full") in rows
    for entry in rows:
        assert entry.url.startswith("https://") and entry.url.endswith(f"/{entry.file}"), "as mirrors have it"
        assert len(entry.sha256) == 64 and entry.size_bytes > 0
        assert not entry.is_there
