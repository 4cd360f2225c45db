"""The page under abuse: the line of frames never stalls, clients see no traceback, and nothing is left behind."""

from __future__ import annotations

import logging
import random
import selectors
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import psutil
import pytest

from streamseg.live import server
from streamseg.live.api import MAX_VIEWERS
from streamseg.live.uploads import MAX_AT_ONCE
from tests.live import TOKEN, LivePage
from tests.waiting import WAIT_SECONDS, wait_for

HOST = b"Host: localhost\r\n"
AUTHORIZED = HOST + b"Authorization: Bearer " + TOKEN.encode() + b"\r\n"


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A background that makes large JPEGs."""
    path = tmp_path_factory.mktemp("noise") / "noise.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 256, (360, 640, 3), np.uint8))
    return path


@pytest.fixture
def live(noise: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LivePage]:
    """A run whose temporary folder is gone afterwards."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    with LivePage(640, 360, bg=str(noise)) as live:
        yield live
    # Others' threads keep things of their own there, such as the pipes of multiprocessing.
    left = partial(temporary.glob, "streamseg-*")
    wait_for(lambda: not list(left()), lambda: f"left behind: {sorted(left())}")


def connect(live: LivePage, receive_bytes: int | None = None) -> socket.socket:
    connection = socket.socket()
    if receive_bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    connection.settimeout(WAIT_SECONDS)
    connection.connect(("127.0.0.1", live.page.port))
    return connection


def all_of(connection: socket.socket) -> bytes:
    """What comes until the other side ends the connection."""
    found = b""
    with suppress(ConnectionError):
        while more := connection.recv(1 << 16):
            found += more
    return found


def await_frames(live: LivePage, more: int) -> None:
    """Waits until so many more frames have gone through the line."""
    wanted = live.statistics.frames + more
    wait_for(lambda: live.statistics.frames >= wanted, "the line of frames stalled")


def malformed(chance: random.Random) -> bytes:
    """A request that nobody should send."""
    garbage = chance.randbytes(chance.randint(1, 400))
    verbs = (b"GET", b"POST", b"PUT", b"TRACE", b"CONNECT", b"GE T", b"\x00", b"PRI")
    paths = (
        b"/",
        b"/api/state",
        b"/api/matte",
        b"/api/backgrounds?name=%00%ff..%2f..%2fx",
        b"/api/webrtc",
        b"/feed.mjpeg?alpha=%",
        b"/../../../etc/passwd",
        b"//evil.example/",
        b"http://evil.example/",
        b"/api/thumbnail?id=folder/%2e%2e/%2e%2e/etc/passwd",
        b"*",
        b"/" + b"a" * 20_000,
        "/ä".encode(),
        b"/?token=" + garbage.hex().encode(),
    )
    extras = (
        b"",
        b"Content-Length: -1\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: gzip\r\n",
        b"Upgrade: websocket\r\nConnection: Upgrade\r\n",
        b'Content-Type: multipart/form-data; boundary="x\r\n',
        b"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 40\r\n",
        b"Expect: 100-continue\r\nContent-Length: 10\r\n",
        b"Cookie: =;;=\x01;streamseg\r\n",
        b"X: " + b"y" * 30_000 + b"\r\n",
        b"Sec-Fetch-Site: cross-site\r\n",
        b"Origin: " + garbage.hex().encode() + b"\r\n",
        b": no name\r\n",
        b"no colon\r\n",
    )
    bodies = (b"", garbage, b"ffffffff\r\nx", b"-5\r\n", b"{" * 2000, b"--x\r\n\r\n--x--", b"0\r\n\r\n")
    if chance.random() < 0.1:
        return garbage
    head = (
        chance.choice(verbs)
        + b" "
        + chance.choice(paths)
        + b" "
        + chance.choice((b"HTTP/1.1", b"HTTP/1.0", b"HTTP/9", b""))
    )
    host = chance.choice((AUTHORIZED, AUTHORIZED, AUTHORIZED, HOST, HOST + HOST, b"Host: evil.example\r\n", b""))
    return head + b"\r\n" + host + chance.choice(extras) + b"\r\n" + chance.choice(bodies)


@pytest.mark.parametrize("count", [80, pytest.param(1000, marks=pytest.mark.sweep)])
def test_malformed_requests(live: LivePage, count: int, caplog: pytest.LogCaptureFixture) -> None:
    chance = random.Random(count)
    caplog.set_level(logging.WARNING)
    await_frames(live, 1)
    for _ in range(count):
        with connect(live) as connection, suppress(ConnectionError):
            connection.sendall(malformed(chance))
            connection.shutdown(socket.SHUT_WR)
            if chance.random() < 0.7:
                answer = connection.recv(1 << 16)
                assert b"Traceback" not in answer and b'File "' not in answer
                assert not answer or answer.startswith(b"HTTP/1.1 ")
                assert b"HTTP/1.1 500" not in answer
    await_frames(live, 25)
    through = live.statistics.frames  # Read first: a frame is counted here once the page has it.
    assert live.page_frames() >= through
    assert [record.getMessage() for record in caplog.records] == []
    assert live.controls.current.composite.bg == live.start_bg


def test_forty_of_fifty_viewers_never_read(live: LivePage) -> None:
    request = b"GET /feed.mjpeg HTTP/1.1\r\n" + AUTHORIZED + b"\r\n"
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        stuck = [stack.enter_context(connect(live, 4096)) for _ in range(40)]
        quick = [stack.enter_context(connect(live)) for _ in range(10)]
        began = live.page_frames()
        for viewer in stuck + quick:
            viewer.sendall(request)
        for viewer in quick:
            viewer.setblocking(False)
            selector.register(viewer, selectors.EVENT_READ)
        seen = dict.fromkeys(quick, 0)
        while min(seen.values()) < 20:
            ready = selector.select(WAIT_SECONDS)
            assert ready, "the quick viewers get nothing"
            for key, _ in ready:
                viewer = key.fileobj
                assert isinstance(viewer, socket.socket)
                seen[viewer] += viewer.recv(1 << 20).count(b"--frame")
        # 20 boundaries hold 19 pictures between them, of which the first may be from before the request.
        assert live.page_frames() - began >= 18
    await_frames(live, 25)
    assert state_of(live)["figures"]["frames"] <= live.page_frames()
    # Counted when the page notices that a viewer has gone.
    wait_for(lambda: state_of(live)["figures"]["lost"] >= 40, "the frames that slow viewers lost are not counted")


def state_of(live: LivePage) -> dict[str, Any]:
    answer = httpx.get(f"{live.base}/api/state", params={"token": TOKEN}, timeout=WAIT_SECONDS)
    return dict(answer.json())


def test_viewers_are_bounded(live: LivePage) -> None:
    request = b"GET /feed.mjpeg HTTP/1.1\r\n" + AUTHORIZED + b"\r\n"
    with ExitStack() as stack:
        answers = []
        for _ in range(MAX_VIEWERS + 2):
            viewer = stack.enter_context(connect(live))
            viewer.sendall(request)
            answers.append(viewer.recv(12)[9:])
            assert viewer.recv(1) or answers[-1] == b"503"
    assert answers == [b"200"] * MAX_VIEWERS + [b"503"] * 2
    await_frames(live, 5)


def test_files_on_their_way_are_bounded(live: LivePage) -> None:
    photo = cv2.imencode(".png", np.zeros((32, 32, 3), np.uint8))[1].tobytes()

    def status() -> int:
        answer = httpx.post(f"{live.base}/api/matte", params={"token": TOKEN}, content=photo, timeout=WAIT_SECONDS)
        return answer.status_code

    assert status() == 200
    with ExitStack() as stack:
        for _ in range(MAX_AT_ONCE):
            slow = stack.enter_context(connect(live))
            slow.sendall(b"POST /api/backgrounds HTTP/1.1\r\n" + AUTHORIZED + b"Content-Length: 1000\r\n\r\n")
        await_status(status, 503)
    await_status(status, 200)


def await_status(status: Callable[[], int], wanted: int) -> None:
    """Waits until the server has taken note of what was begun or ended."""
    for _ in range(200):
        if status() == wanted:
            return
    raise AssertionError(f"the status is never {wanted}")


def test_a_client_that_sends_no_headers_is_cut_off(live: LivePage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEADER_SECONDS", 0.2)
    for start in (b"", b"GET / HTTP/1.1\r\nHost: loc"):
        with connect(live) as connection:
            connection.sendall(start)
            assert all_of(connection) == b""  # It ends, or the time is up.


def test_a_client_that_sends_half_of_a_second_request_is_cut_off(
    live: LivePage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connect(live) as connection:
        connection.sendall(b"GET /style.css HTTP/1.1\r\n" + HOST + b"\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"
        monkeypatch.setattr(server, "HEADER_SECONDS", 0.2)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: loc")
        all_of(connection)


def test_a_client_that_never_reads_is_cut_off(live: LivePage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "STALL_SECONDS", 0.2)
    with connect(live, 4096) as viewer:
        viewer.sendall(b"GET /feed.mjpeg HTTP/1.1\r\n" + AUTHORIZED + b"\r\n")
        assert viewer.recv(12) == b"HTTP/1.1 200"
        # Who reads on before the page has given up would be served for ever.
        wait_for(lambda: not is_served(live), "the page keeps a client that does not read")
        all_of(viewer)


def is_served(live: LivePage) -> bool:
    """Whether the page's end of a connection is open."""
    ends = psutil.Process().net_connections("tcp")
    return any(end.raddr and end.laddr.port == live.page.port for end in ends)


def test_connections_are_bounded(live: LivePage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_CONNECTIONS", 8)
    with ExitStack() as stack:
        for _ in range(8):
            idle = stack.enter_context(connect(live))
            idle.sendall(b"GET /style.css HTTP/1.1\r\n" + HOST + b"\r\n")
            assert idle.recv(12) == b"HTTP/1.1 200"
        with connect(live) as one_more:
            assert all_of(one_more) == b""
    await_frames(live, 5)
