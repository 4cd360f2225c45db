"""The page as a sink: opens the server beside the pipeline and hands it every finished frame."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address

from streamseg.controls import Controls
from streamseg.errors import MissingExtraError
from streamseg.frames import Frame, VideoInfo
from streamseg.image import Pixels
from streamseg.sink.base import BaseSink
from streamseg.statistics import Statistics

try:
    from streamseg.live.api import PUBLIC, Api, Run
    from streamseg.live.feed import Feed
    from streamseg.live.gate import Gate, check_token, new_token
    from streamseg.live.server import ServerThread, listen
except ImportError as error:
    raise MissingExtraError("the page", (error.name or "starlette").partition(".")[0], "serve") from error

LOOPBACK, PORT = "127.0.0.1", 8765


class HttpSink(BaseSink):
    """The page's server; a frame is converted only while someone watches, and never in the pipeline's thread.

    Attributes:
        url: address of the page, with the token.
        port: the port that it is on.
    """

    def __init__(self, run: Run, listener: socket.socket, host: str, token: str) -> None:
        """Begin to serve; see `open_page`."""
        self.port: int = listener.getsockname()[1]
        self.url = f"http://{_reachable(host)}:{self.port}/?token={token}"
        self._server = ServerThread(listener)
        self._feed = Feed(self._server.loop)
        api = Api(run, self._feed, _is_loopback(host))
        self._server.start(Gate(api.application(), token, host, self.port, PUBLIC), api.close)

    @property
    def summary(self) -> str:
        """See `Sink`."""
        lost = f", of which viewers lost {self._feed.lost}" if self._feed.lost else ""
        return f"page closed after {self._feed.frames} frames{lost}"

    @property
    def banner(self) -> str:
        """The line that tells the user where the page is."""
        return f"page: {self.url}"

    def write(self, frame: Frame) -> None:
        """See `Sink`."""
        self._feed.put(frame)

    def complete(self) -> None:
        """End the server and its threads, and remove what was uploaded."""
        self._server.close()

    discard = complete


def open_page(
    info: VideoInfo,
    controls: Controls,
    statistics: Statistics,
    matte: Callable[[Pixels], Pixels],
    *,
    models: Sequence[str] = (),
    engine: Callable[[], str] = str,
    host: str = LOOPBACK,
    port: int = PORT,
    token: str | None = None,
) -> HttpSink:
    """Open the page on a thread of its own.

    Args:
        info: size and rate of the frames.
        controls: the live run's settings, which the page changes.
        statistics: the live run's figures.
        matte: from RGB `(H, W, 3)` uint8 to its matte `(H, W)` uint8 with the running engine; called from one thread,
            which is not the pipeline's.
        models: names that the page offers as `model`.
        engine: describes in a few words what runs at the moment.
        host: name or address to serve; all but this machine's loopback can be reached from other machines.
        port: 0 takes a free one.
        token: what opens the page; made at random if None.

    Raises:
        OutputError: the address cannot be served.
        ConfigError: the token is too short.
    """
    token = new_token() if token is None else check_token(token)
    run = Run(info, controls, statistics, matte, models, engine)
    return HttpSink(run, listen(host, port), host, token)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _reachable(host: str) -> str:
    """Return what to write in an address for a host; for all addresses, this machine's own in its network."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return _own_address()
    return f"[{host}]" if address.version == 6 else host


def _own_address() -> str:
    """Return the address of this machine that other machines see, or its name; nothing is sent to find it out."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # RFC 5737: documentation; UDP sends nothing on connect.
        except OSError:
            return socket.gethostname()
        return str(probe.getsockname()[0])
