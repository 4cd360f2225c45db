"""An S3 server on loopback: moto's, which notes what it is asked for, and refuses what a test says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

ADDRESS = "127.0.0.1"
KEYS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_MAX_ATTEMPTS": "1",
}
"""Environment of a client; without the last two it would look elsewhere for keys, and try again for seconds."""

REFUSAL = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"


@dataclass
class Request:
    """What was asked for: a method, a path, a range or a query, and how many bytes of a body went out."""

    method: str
    path: str
    query: str
    range: str
    sent_bytes: int = 0


class S3Server:
    """Keeps objects in memory.

    Attributes:
        requests: those so far.
        answer: called with each request; a status to refuse it with, or None.
    """

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._server = make_server(ADDRESS, 0, self, threaded=True, request_handler=_Quiet)
        self.requests: list[Request] = []
        self.answer: Callable[[Request], int | None] = lambda _: None
        self.url = f"http://{ADDRESS}:{self._server.server_port}"
        self.environment = {**KEYS, "AWS_ENDPOINT_URL": self.url}

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        request = Request(
            environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"], environ.get("HTTP_RANGE", "")
        )
        self.requests.append(request)
        status = self.answer(request)
        if status:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
            start_response(f"{status} Refused", [("Content-Type", "application/xml")])
            return [] if request.method == "HEAD" else [REFUSAL]
        return self._counted(request, self._moto(environ, start_response))

    def _counted(self, request: Request, body: Iterable[bytes]) -> Iterator[bytes]:
        for part in body:
            request.sent_bytes += len(part) if request.method == "GET" else 0
            yield part

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._server.shutdown()
            thread.join()
            self._server.server_close()

    def client(self) -> Any:
        """boto3's own, so that what is written is read by another library."""
        return boto3.client("s3", endpoint_url=self.url, aws_access_key_id="testing", aws_secret_access_key="testing")


class _Quiet(MotoRequestHandler):  # type: ignore[misc]
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Print nothing."""
