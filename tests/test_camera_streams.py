"""Network cameras from a server on this machine: MJPEG and HLS over HTTP, and one line when it is not there."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import pytest

from streamseg.decode import LiveCamera, open_camera
from streamseg.decode.streams import StreamOpener, is_address, without_password
from streamseg.errors import CameraError
from streamseg.frames import Frame
from tests.synthetic import picture
from tests.waiting import WAIT_SECONDS

JPEG = cv2.imencode(".jpg", picture(0)[..., ::-1])[1].tobytes()


class Handler(SimpleHTTPRequestHandler):
    """Serves files, MJPEG without end under /mjpeg until `over` is set, and no answer at all under /hang."""

    over, let_go = threading.Event(), threading.Event()

    def do_GET(self) -> None:
        if self.path == "/hang":
            self.let_go.wait(WAIT_SECONDS)
        elif self.path == "/mjpeg":
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            with suppress(OSError):  # The client has left.
                while not self.over.wait(0.005):
                    head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(JPEG)
                    self.wfile.write(head + JPEG + b"\r\n")
        else:
            super().do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    Handler.over.clear()
    Handler.let_go.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path))) as web:
        thread = threading.Thread(target=web.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{web.server_port}"
        Handler.over.set()
        Handler.let_go.set()
        web.shutdown()
        thread.join()


def test_mjpeg_and_what_happens_when_the_server_ends_and_comes_back(server: str) -> None:
    with open_camera(f"{server}/mjpeg") as live:
        assert isinstance(live, LiveCamera)
        assert live.granted == f"camera {server}/mjpeg: 128x96 at 25 fps, MJPEG"
        frames = iter(live)
        assert abs(next(frames).pixels.astype(int) - picture(0)).mean() < 3
        Handler.over.set()
        lost = "no picture from the network camera: waiting for it"
        assert next(frame for frame in soon(frames) if frame.card == lost).image.shape == (96, 128, 3)
        Handler.over.clear()
        assert next(frame for frame in soon(frames) if not frame.card).image.shape == (96, 128, 3)


def soon(frames: Iterator[Frame]) -> Iterator[Frame]:
    """The next frames: other cards may come first where the machine is busy, but not for ever."""
    return islice(frames, 1000)


def test_hls(server: str, tmp_path: Path) -> None:
    with av.open(tmp_path / "live.m3u8", "w", format="hls", options={"hls_time": "1"}) as hls:
        stream = hls.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for index in range(30):
            hls.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index), format="rgb24")))
        hls.mux(stream.encode(None))
    with open_camera(f"{server}/live.m3u8") as live:
        assert (live.info.width_px, live.info.height_px, live.info.rate, live.info.live) == (128, 96, 25, True)
        assert next(iter(live)).image.shape == (96, 128, 3)


@pytest.mark.parametrize("scheme", ["rtsp", "http", "https"])
def test_no_server(scheme: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"{scheme}://127.0.0.1:{free.getsockname()[1]}/live.m3u8"
        with pytest.raises(CameraError, match=f"^cannot read {url}: Connection refused; check the address[^\n]*$"):
            open_camera(url)


def test_a_server_that_does_not_answer(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamseg.decode.streams.OPEN_SECONDS", 0.1)
    with pytest.raises(CameraError, match=r"/hang: no answer within 0.1 s; check the address"):
        open_camera(f"{server}/hang")


def test_nothing_at_the_address(server: str) -> None:
    with pytest.raises(CameraError, match="Server returned 404 Not Found"):
        open_camera(f"{server}/nothing")


def test_no_video_at_the_address(server: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>no video</p>" * 100)
    with pytest.raises(CameraError, match=r"cannot read .*page\.html: Invalid data"):
        open_camera(f"{server}/page.html")


def test_passwords_are_not_told(server: str) -> None:
    url = server.replace("http://", "http://me:secret@") + "/nothing"
    with pytest.raises(CameraError) as caught:
        StreamOpener(url)()
    assert "secret" not in str(caught.value) and f"{server}/nothing" in str(caught.value)
    assert without_password("rtsp://me:p%40ss@cam:554/1?x=2") == "rtsp://cam:554/1?x=2"
    assert without_password("https://me:p@ss@[fe80::1/1") == "https://[fe80::1/1"
    assert without_password("http://cam/1?mail=me@home") == "http://cam/1?mail=me@home"


@pytest.mark.parametrize("url", ["rtsp://[fe80::1/stream", "http://[fe80::1/stream", "rtsp://]/", "http://"])
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(CameraError, match=rf"^cannot read {re.escape(url)}: [^\n]*; check the address[^\n]*$"):
        open_camera(url)


@pytest.mark.parametrize(
    ("spec", "is_one"),
    [("RTSP://cam/1", True), ("https://cam/x.m3u8", True), ("http:cam", False), ("file:///x", False), ("0", False)],
)
def test_what_an_address_is(spec: str, is_one: bool) -> None:
    assert is_address(spec) == is_one
