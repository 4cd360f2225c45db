"""What the server answers: the page, its state and changes, feeds, uploads, mattes for photos."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from streamseg.composite.background import open_background
from streamseg.composite.stage import apply_matte
from streamseg.controls import CHANGEABLE, Controls
from streamseg.errors import ConfigError, StreamsegError
from streamseg.frames import Frame, VideoInfo
from streamseg.image import Pixels
from streamseg.live.backgrounds import Backgrounds
from streamseg.live.feed import Encoded, Feed, FeedEnded
from streamseg.live.gate import refusal
from streamseg.live.images import as_green_jpeg, as_jpeg, as_png, encode_png
from streamseg.live.limited import LimitedProcess, read_photo, read_thumbnail
from streamseg.live.refusals import Refused
from streamseg.live.uploads import MAX_PHOTO_BYTES, Uploads, read_body
from streamseg.live.webrtc import WebRtc
from streamseg.settings import Settings
from streamseg.statistics import Statistics
from streamseg.yuv import RgbImage

PAGE = Path(__file__).parent / "page"
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/obs": ("obs.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/app.js": ("app.js", "text/javascript; charset=utf-8"),
    "/obs.js": ("obs.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
PUBLIC = frozenset({"/style.css", "/icon.svg"})
"""Files that the locked page needs."""

MAX_VIEWERS = 64
"""Of the JPEGs, of either form; they cost no more than their sending."""
MAX_LISTENERS = 64
MAX_MATTES = 4
MAX_STATE_BYTES = 16 * 2**10
MAX_OFFER_BYTES = 64 * 2**10
MAX_THUMBNAILS = 256

FIGURES_SECONDS = 1.0
BOUNDARY = "frame"
GREEN = "green"

log = logging.getLogger(__name__)

MatteFunction = Callable[[Pixels], Pixels]
"""From RGB `(H, W, 3)` uint8 to its matte `(H, W)` uint8; called on one thread, which is not the pipeline's."""


@dataclass(frozen=True)
class Run:
    """The live run that the page belongs to.

    Attributes:
        info: size and rate of the frames.
        controls: its settings, which the page changes.
        statistics: its figures.
        matte: mattes a photo with the running engine.
        models: names that may be chosen as `model`.
        engine: describes in a few words what runs at the moment.
    """

    info: VideoInfo
    controls: Controls
    statistics: Statistics
    matte: MatteFunction
    models: Sequence[str]
    engine: Callable[[], str]


class Api:
    """Answers requests; all its coroutines run on the feed's event loop."""

    def __init__(self, run: Run, feed: Feed, is_loopback: bool) -> None:
        self._run, self._feed, self._loop = run, feed, feed.loop
        self._decoding = LimitedProcess()
        self._matting = ThreadPoolExecutor(1, "streamseg-photos")
        self._uploads = Uploads(self._decoding)
        self._backgrounds = Backgrounds(run.controls, self._uploads)
        self._jpegs = {"": Encoded(feed, as_jpeg), GREEN: Encoded(feed, as_green_jpeg)}
        self._webrtc = WebRtc(feed, is_loopback)
        self._listeners: set[asyncio.Event] = set()
        self._thumbnails: dict[tuple[str, float], bytes] = {}
        self._mattes = 0
        self._is_ended = False
        self._forget = run.controls.on_change(self._changed)

    def application(self) -> Starlette:
        """Return the ASGI application."""
        files = [Route(path, partial(_file, *entry)) for path, entry in FILES.items()]
        return Starlette(
            routes=[
                *files,
                Route("/feed.mjpeg", self.mjpeg),
                Route("/snapshot.png", self.snapshot),
                Route("/api/state", self.state),
                Route("/api/state", self.change, methods=["POST"]),
                Route("/api/events", self.events),
                Route("/api/webrtc", self.webrtc, methods=["POST"]),
                Route("/api/backgrounds", self.upload, methods=["POST"]),
                Route("/api/thumbnail", self.thumbnail),
                Route("/api/matte", self.matte, methods=["POST"]),
            ],
            exception_handlers={
                Refused: _refused,
                StreamsegError: _cannot,
                HTTPException: _http_error,
                ClientDisconnect: _gone,
                Exception: _unexpected,
            },
        )

    async def close(self) -> None:
        """End the streams, the limited process and what was uploaded."""
        self._is_ended = True
        self._forget()
        self._wake()
        self._feed.end()
        try:
            await self._webrtc.close()
            await self._loop.run_in_executor(None, self._decoding.close)
            self._matting.shutdown(wait=False)
        finally:
            self._uploads.close()

    async def state(self, request: Request) -> Response:
        """GET: settings, choices and figures."""
        state = json.dumps(self._settings() | {"figures": self._figures()})  # ASCII, whatever files are called.
        return Response(state, media_type="application/json")

    async def change(self, request: Request) -> Response:
        """POST: change settings by name; the answer is as that of GET."""
        values = self._checked(await _json_object(request))
        self._run.controls.change(**values)
        return await self.state(request)

    async def events(self, request: Request) -> Response:
        """GET: settings at each change, and figures every second, as server-sent events."""
        if len(self._listeners) >= MAX_LISTENERS:
            raise Refused(503, f"{MAX_LISTENERS} pages are the most")
        return StreamingResponse(self._events(), media_type="text/event-stream")

    async def mjpeg(self, request: Request) -> Response:
        """GET: the picture as a stream of JPEGs; `?alpha=green` shows the foreground over green."""
        form = self._jpegs.get(request.query_params.get("alpha", ""))
        if form is None:
            raise Refused(422, "alpha is green, or left out")
        if sum(jpegs.viewers for jpegs in self._jpegs.values()) >= MAX_VIEWERS:
            raise Refused(503, f"{MAX_VIEWERS} viewers are the most")
        return StreamingResponse(_multipart(form), media_type=f"multipart/x-mixed-replace; boundary={BOUNDARY}")

    async def snapshot(self, request: Request) -> Response:
        """GET: the newest frame as a PNG, with its transparency."""
        frame = self._feed.newest
        if frame is None:
            raise Refused(503, "there is no picture yet")
        png = await self._loop.run_in_executor(None, as_png, frame)
        name = time.strftime("streamseg-%Y%m%d-%H%M%S.png")
        return Response(png, media_type="image/png", headers={"content-disposition": f'attachment; filename="{name}"'})

    async def webrtc(self, request: Request) -> Response:
        """POST: an offer as SDP; the answer to it."""
        offer = (await read_body(request, MAX_OFFER_BYTES)).decode("utf-8", "replace")
        answer = await self._webrtc.answer(offer, request.client.host if request.client else "")
        return Response(answer, media_type="application/sdp")

    async def upload(self, request: Request) -> Response:
        """POST: an image or a video as the body, `?name=` as what it is called; answers with the id of a background."""
        identity = await self._uploads.add(request, lambda: self._run.controls.current.composite.bg)
        self._wake()
        return JSONResponse({"id": f"upload/{identity}"}, 201)

    async def thumbnail(self, request: Request) -> Response:
        """GET: a small JPEG of the background with an id."""
        choice = self._backgrounds.choice(request.query_params.get("id", ""))
        if choice is None:
            raise Refused(404, "there is no such background")
        upload = self._uploads.kept.get(choice.id.partition("/")[2])
        jpeg = upload.background.thumbnail if upload else await self._thumbnail(choice.path)
        return Response(jpeg, media_type="image/jpeg")

    async def matte(self, request: Request) -> Response:
        """POST: a photo as the body or as the field `file` of a form; answers with a PNG.

        It has alpha, or with `?bg=` a colour, `blur` or another background; `?matte_only=1` gives the matte.
        """
        if self._mattes >= MAX_MATTES:
            raise Refused(503, "too many photos are being matted at once; try again in a moment")
        bg = self._backgrounds.value_of(request.query_params.get("bg"))
        matte_only = request.query_params.get("matte_only", "") in ("1", "true")
        self._mattes += 1
        try:
            async with self._uploads.received(request, MAX_PHOTO_BYTES) as path:
                if path.suffix in (".mp4", ".mkv"):
                    raise Refused(415, "this is a video; a photo is wanted")
                photo = await self._decoding.do(partial(read_photo, path))
            png = await self._loop.run_in_executor(self._matting, self._cut_out, photo, bg, matte_only)
        finally:
            self._mattes -= 1
        return Response(png, media_type="image/png")

    def _cut_out(self, photo: Pixels, bg: str | None, matte_only: bool) -> bytes:
        frame = Frame(0, Fraction(0), RgbImage(photo))
        matte = self._run.matte(frame.image.rgb)
        with closing(open_background(bg)) if bg else nullcontext() as background:
            result = apply_matte(frame, matte, background, matte_only)
        return encode_png(result.pixels)

    async def _thumbnail(self, path: Path) -> bytes:
        try:
            key = (str(path), path.stat().st_mtime)
        except OSError:
            raise Refused(404, "the file of this background is gone") from None
        if key not in self._thumbnails:
            jpeg = await self._decoding.do(partial(read_thumbnail, path))
            if len(self._thumbnails) >= MAX_THUMBNAILS:
                self._thumbnails.pop(next(iter(self._thumbnails)))
            self._thumbnails[key] = jpeg
        return self._thumbnails[key]

    def _checked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return changes as `Controls.change` takes them.

        Raises:
            ConfigError: a background or network is not among those offered.
        """
        checked = dict(values)
        if "bg" in checked:
            checked["bg"] = self._backgrounds.value_of(checked["bg"])
        if checked.get("model", self._run.models) not in (self._run.models, *self._run.models):
            raise ConfigError(f"model is one of {', '.join(self._run.models)}; got {checked['model']!r:.80}")
        return checked

    def _settings(self) -> dict[str, Any]:
        current = self._run.controls.current
        files = self._backgrounds.files()
        sections = current.model_dump().values()
        settings = {name: value for section in sections for name, value in section.items() if name in CHANGEABLE}
        # Paths of files are nobody's business.
        settings["bg"] = self._backgrounds.id_of(current.composite.bg)
        settings["model"] = Path(current.infer.model).name
        return {
            "settings": settings,
            "choices": {
                "models": list(self._run.models),
                "backgrounds": [{"id": one.id, "name": one.name, "is_video": one.is_video} for one in files],
            },
            "notice": self._run.controls.notice,
            "notice_count": self._run.controls.notice_count,
            "is_problem": self._run.controls.is_problem,
        }

    def _figures(self) -> dict[str, Any]:
        statistics = self._run.statistics
        return {
            "fps": round(self._feed.fps(), 1),
            "latency_ms": round(statistics.latency_ms()),
            "latency_p95_ms": round(statistics.latency_ms(0.95)),
            "matte_age_ms": round(statistics.matte_age_ms()),
            "dropped": statistics.dropped,
            "frames": statistics.frames,
            "lost": self._feed.lost,
            "engine": self._run.engine(),
            "width_px": self._run.info.width_px,
            "height_px": self._run.info.height_px,
        }

    async def _events(self) -> AsyncIterator[str]:
        changed = asyncio.Event()
        self._listeners.add(changed)
        try:
            sent = ""
            while not self._is_ended:
                changed.clear()
                settings = json.dumps(self._settings())
                if settings != sent:
                    sent = settings
                    yield f"event: settings\ndata: {settings}\n\n"
                yield f"event: figures\ndata: {json.dumps(self._figures())}\n\n"
                with suppress(TimeoutError):
                    await asyncio.wait_for(changed.wait(), FIGURES_SECONDS)
        finally:
            self._listeners.discard(changed)

    def _changed(self, settings: Settings) -> None:
        """Tell the pages of a change; called in whatever thread made it."""
        self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        for changed in self._listeners:
            changed.set()


async def _file(name: str, media_type: str, request: Request) -> Response:
    return Response((PAGE / name).read_bytes(), media_type=media_type)


async def _multipart(form: Encoded[bytes]) -> AsyncIterator[bytes]:
    """Yield JPEGs as the parts of one answer; each is followed by the boundary at once, which is what shows it."""
    yield f"--{BOUNDARY}\r\n".encode()
    with form.watched() as viewer, suppress(FeedEnded):
        while True:
            jpeg = await viewer.next()
            head = f"content-type: image/jpeg\r\ncontent-length: {len(jpeg)}\r\n\r\n"
            yield b"".join((head.encode(), jpeg, f"\r\n--{BOUNDARY}\r\n".encode()))


async def _json_object(request: Request) -> dict[str, Any]:
    try:
        values = json.loads(await read_body(request, MAX_STATE_BYTES))
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise Refused(400, "the body is no JSON object of settings")
    return values


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return refusal(error.status, str(error))


def _cannot(request: Request, error: Exception) -> Response:
    return refusal(422, str(error))


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refusal(error.status_code, error.detail)


def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)


def _unexpected(request: Request, error: Exception) -> Response:
    return refusal(500, "this failed inside streamseg")
