"""Live camera: the newest frame, or a card while it is paused, unwatched, unplugged or busy; it never ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from fractions import Fraction

from streamseg.controls import Controls
from streamseg.decode.base import BaseSource, check_size
from streamseg.decode.capture import CaptureThread, Opener, Reader, Shot
from streamseg.decode.live_image import ToLiveImage
from streamseg.decode.rest import UNWATCHED, always, reason_to_rest
from streamseg.errors import CameraError, StreamsegError
from streamseg.frames import Frame, VideoInfo
from streamseg.yuv import YuvImage

START_SECONDS = 12.0
"""How long the first picture may take; servers and cameras that start slowly need some seconds."""

RETRY_SECONDS = 0.5
"""Time between two attempts to open a camera that was lost."""

SILENT_SECONDS = 1.0
"""Time without a picture after which a card is shown."""

STALLED_SECONDS = 12.0
"""Time without a picture after which the camera is closed and opened again."""

UNWATCHED_CARD_SECONDS = 0.5
"""Time between two cards while nobody watches."""

STARTING = "the camera starts"
BACK = "the camera is back"
SILENT = "no picture from the camera: waiting for it"

TIME_BASE = Fraction(1, 1_000_000)
LEAST_STEP = Fraction(1, 1000)
"""Least distance of two pts, in seconds."""


class LiveCamera(BaseSource):
    """A camera that is opened again whenever it was lost; its pts are times of arrival since the start.

    Attributes:
        granted: what the camera delivers, as one line for the user.
    """

    def __init__(
        self,
        open_capture: Opener,
        controls: Controls | None = None,
        wanted: Callable[[], bool] = always,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        read: Callable[[Opener], Reader] = CaptureThread,
    ) -> None:
        """Open the camera and wait for its first picture, which tells the size that all images get.

        Args:
            open_capture: opens the camera, at the start and whenever it was closed or lost.
            controls: whether the image is mirrored, and whether the camera is closed and a card shown instead.
            wanted: whether anybody watches; if not, the camera is closed and a card shown. Asked for every frame.
            clock: monotonic, in seconds.
            sleep: waits for a number of seconds.
            read: begins to read a camera, in the background.

        Raises:
            CameraError: the camera does not open, or gives no picture.
        """
        self._open, self._read = open_capture, read
        self._controls, self._wanted, self._clock, self._sleep = controls, wanted, clock, sleep
        self._reader: Reader | None = None
        self._card: str | None = None
        self._last_card: tuple[str, float] | None = None
        self._is_resting = self._is_lost = False
        self._retry_at = self._last_sign = clock()
        self._started: float | None = None
        self._last_pts = -LEAST_STEP
        self._index = 0
        self._begin_reading()
        try:
            self.info = self._first_info()
        except BaseException:
            self.close()
            raise
        self._to_image = ToLiveImage(self.info.width_px, self.info.height_px, self.info.pixel_aspect)
        self._black = self._to_image.black()
        self._follow_controls()  # Paused or unwatched from the start, it rests from here on.

    def __iter__(self) -> Iterator[Frame]:
        while True:
            self._follow_controls()
            shot = self._newest_shot()
            if shot is not None:
                self._card = None
                yield self._picture(shot)
            elif self._card is not None and self._is_card_due(self._card):
                yield self._card_frame(self._card)

    def close(self) -> None:
        """Release the camera."""
        if self._reader:
            reader, self._reader = self._reader, None
            reader.close()

    def _first_info(self) -> VideoInfo:
        """Wait for the first picture and describe the stream by it."""
        assert self._reader
        shot = self._reader.newest(START_SECONDS)
        granted = self._reader.granted
        if shot is None or granted is None:
            raise CameraError(
                f"the camera gives no picture within {START_SECONDS:g} s; plug it in again, or restart it"
            )
        check_size((shot.frame.height, shot.frame.width), granted.name)
        self.granted = str(granted)
        return VideoInfo(
            shot.frame.width & ~1,
            shot.frame.height & ~1,
            granted.rate,
            TIME_BASE,
            live=True,
            pixel_aspect=granted.pixel_aspect,
        )

    def _follow_controls(self) -> None:
        """Close the camera while it is to rest, and open it when it is not, or when a lost one may be back."""
        reason = reason_to_rest(self._controls, self._wanted)
        if reason is not None:
            self.close()
            self._is_resting, self._card = True, reason
        elif self._is_resting:
            self._is_resting, self._card = False, STARTING
            self._begin_reading()
        elif self._reader is None and self._clock() >= self._retry_at:
            self._begin_reading()

    def _begin_reading(self) -> None:
        self._reader, self._last_sign = self._read(self._open), self._clock()

    def _newest_shot(self) -> Shot | None:
        """Wait for the next frame, for the time of one frame at most."""
        frame_seconds = float(1 / self.info.rate)
        if self._reader is None:
            self._sleep(frame_seconds)
            return None
        try:
            shot = self._reader.newest(frame_seconds)
            if shot is None:
                self._check_silence()
        except StreamsegError as error:
            self._lose(error)
            return None
        if shot is not None:
            self._last_sign = self._clock()
            self._find_again()
        return shot

    def _check_silence(self) -> None:
        """Show a card if no frame has come for a while; raise CameraError if none has come for long."""
        silent_seconds = self._clock() - self._last_sign
        if silent_seconds > STALLED_SECONDS:
            raise CameraError(f"the camera has given no picture for {silent_seconds:.0f} s; it is opened again")
        if silent_seconds > SILENT_SECONDS and self._card is None:
            self._card = SILENT

    def _lose(self, error: StreamsegError) -> None:
        """Close a camera that failed, and show why until it is back."""
        self.close()
        self._retry_at = self._clock() + RETRY_SECONDS
        self._card = error.card if isinstance(error, CameraError) else SILENT
        self._is_lost = True
        if self._controls:
            self._controls.report(error)

    def _find_again(self) -> None:
        """Withdraw what was reported of a camera that was lost."""
        if self._is_lost and self._controls:
            self._controls.notice = BACK
        self._is_lost = False

    def _picture(self, shot: Shot) -> Frame:
        image = self._to_image(shot.frame)
        is_mirrored = self._controls is not None and self._controls.current.live.mirror
        image = image.mirrored() if is_mirrored else image
        return self._frame(image, shot.captured_seconds, mirrored=is_mirrored)

    def _is_card_due(self, words: str) -> bool:
        """Whether to show a card now: at the camera's rate, but rarely while nobody watches."""
        if words != UNWATCHED or self._last_card is None or self._last_card[0] != words:
            return True
        return self._clock() - self._last_card[1] >= UNWATCHED_CARD_SECONDS

    def _card_frame(self, words: str) -> Frame:
        now = self._clock()
        self._last_card = words, now
        return self._frame(self._black, now, words)

    def _frame(
        self, image: YuvImage, captured_seconds: float, card: str | None = None, mirrored: bool = False
    ) -> Frame:
        """Number an image; its pts is later than the last one's, whatever the clock of the camera says."""
        if self._started is None:
            self._started = captured_seconds
        pts = round((captured_seconds - self._started) / TIME_BASE) * TIME_BASE
        self._last_pts = max(pts, self._last_pts + LEAST_STEP)
        frame = Frame(self._index, self._last_pts, image, captured_seconds, card=card, mirrored=mirrored)
        self._index += 1
        return frame
