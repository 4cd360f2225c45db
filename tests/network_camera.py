"""A network camera for tests: a clip, over and over and at its pace, as MJPEG; it can be lost and come back."""

from __future__ import annotations

import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import cycle
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import cv2

from streamseg.decode import open_source


class NetworkCamera:
    """A server on this machine.

    Attributes:
        url: its address.
    """

    def __init__(self, clip: Path) -> None:
        with open_source(str(clip)) as source:
            self._frame_seconds = float(1 / source.info.rate)
            jpegs = [cv2.imencode(".jpg", frame.pixels[..., ::-1])[1].tobytes() for frame in source]
        self._is_lost = threading.Event()
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if camera._is_lost.is_set():
                    self.send_error(503)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
                self.end_headers()
                with suppress(OSError):  # The client has left.
                    for jpeg in cycle(jpegs):
                        head = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
                        self.wfile.write(head + jpeg + b"\r\n")
                        if camera._is_lost.wait(camera._frame_seconds):
                            return

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self.url = f"http://127.0.0.1:{self._server.server_port}/live"

    def lose(self) -> None:
        """End the stream, and serve none."""
        self._is_lost.set()

    def restore(self) -> None:
        """Serve it again."""
        self._is_lost.clear()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.lose()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
