"""HTTP server on its own thread: uvicorn with bounds on connections, slow headers and clients that do not read."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from streamseg.errors import OutputError

MAX_CONNECTIONS = 256
HEADER_BYTES = 16 * 1024
HEADER_SECONDS = 10.0
"""A client sends its request's headers within this time, or its connection is cut."""
STALL_SECONDS = 10.0
"""A client that reads nothing for this long, while there is something for it, is cut off."""
SEND_BUFFER_BYTES = 256 * 1024
"""What the system keeps for a client who reads slowly; with more, they would see old pictures instead of fewer."""
KEEP_ALIVE_SECONDS = 15
BACKLOG = 64
STOP_SECONDS = 5.0
ENCODER_THREADS = 6
"""For the forms of the feed and the viewers by WebRTC, each of whom has an encoder."""

LIBRARY_LOGGERS = ("uvicorn", "asyncio", "aiortc", "aioice")

log = logging.getLogger(__name__)


class GuardedProtocol(H11Protocol):
    """An HTTP connection that a client cannot hold without sending a request or reading the answer."""

    _deadline: asyncio.TimerHandle | None = None
    _stalled: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection, unless there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()
            return
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        """Parse what has come in; headers that are incomplete have a deadline."""
        super().data_received(data)
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if is_answering:
            self._forget(self._deadline)
            self._deadline = None
        elif self._deadline is None:
            self._wait_for_headers()

    def pause_writing(self) -> None:
        """Note that the client reads too slowly."""
        super().pause_writing()  # type: ignore[no-untyped-call, unused-ignore]
        self._forget(self._stalled)
        self._stalled = self.loop.call_later(STALL_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        self._forget(self._stalled)
        self._stalled = None
        super().resume_writing()  # type: ignore[no-untyped-call, unused-ignore]

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, unless it follows the head of a request that is being answered already."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.abort()
                return
        super().send_400_response(msg)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection."""
        self._forget(self._deadline)
        self._forget(self._stalled)
        super().connection_lost(exc)

    def cut_if_stalled(self) -> None:
        """End the connection if its client does not read: it could not be told in another way."""
        if self._stalled:
            self.transport.abort()

    def _wait_for_headers(self) -> None:
        self._deadline = self.loop.call_later(HEADER_SECONDS, self.transport.abort)

    @staticmethod
    def _forget(timer: asyncio.TimerHandle | None) -> None:
        if timer:
            timer.cancel()


class ServerThread:
    """Serves an application from a thread of its own until it is closed.

    Attributes:
        loop: the thread's event loop; it runs from `start` on.
    """

    def __init__(self, listener: socket.socket) -> None:
        """Take a listening socket."""
        self._listener = listener
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="streamseg-page", daemon=True)
        self._server: uvicorn.Server | None = None
        self._at_end: Callable[[], Awaitable[None]] | None = None

    def start(self, app: ASGIApp, at_end: Callable[[], Awaitable[None]]) -> None:
        """Begin to serve.

        Args:
            app: answers the requests.
            at_end: awaited on the loop when the server is closed, before its connections are.
        """
        _silence_libraries()
        config = uvicorn.Config(
            app,
            http=GuardedProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=1,
            h11_max_incomplete_event_size=HEADER_BYTES,
            backlog=BACKLOG,
        )
        self._server, self._at_end = uvicorn.Server(config), at_end
        self._thread.start()

    def close(self) -> None:
        """End all connections and the thread."""
        if not self._thread.is_alive() or not self._server:
            return
        server, at_end = self._server, self._at_end

        async def end() -> None:
            assert at_end
            try:
                await at_end()
            except Exception as error:
                log.error("the page did not end in order: %r", error)
            finally:
                for connection in list(server.server_state.connections):
                    if isinstance(connection, GuardedProtocol):
                        connection.cut_if_stalled()
                server.should_exit = True

        asyncio.run_coroutine_threadsafe(end(), self.loop)
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        assert self._server
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            self.loop.set_default_executor(ThreadPoolExecutor(ENCODER_THREADS, "streamseg-encoder"))
            self.loop.set_exception_handler(_log_quietly)
            runner.run(self._server.serve([self._listener]))


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket.

    Args:
        host: a name or an address of this machine.
        port: 0 takes a free one.

    Raises:
        OutputError: the address is not this machine's, or the port is taken.
    """
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputError(f"cannot serve the page on {host}, port {port}: {reason}; give another --port") from error


class _ErrorsOnly(logging.Handler):
    """Passes on the errors of libraries, as one line each, to streamseg's own log."""

    def emit(self, record: logging.LogRecord) -> None:
        reason = record.exc_info[1] if record.exc_info else None
        if isinstance(reason, asyncio.CancelledError):
            return  # A request that was under way at the end.
        message = f"{record.getMessage().splitlines()[0]}{f': {reason!r}' if reason else ''}"
        log.error("%s: %s", record.name, message)


def _silence_libraries() -> None:
    """Let nothing of the libraries through but errors, so that the terminal shows our own lines."""
    for name in LIBRARY_LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(logging.ERROR)
        logger.propagate = False
        if not any(isinstance(handler, _ErrorsOnly) for handler in logger.handlers):
            logger.addHandler(_ErrorsOnly())


def _log_quietly(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what a task or a connection failed with, instead of a traceback on the terminal."""
    log.info("%s: %r", context.get("message"), context.get("exception"))
