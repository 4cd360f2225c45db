"""Writes H.264 mp4 files: exact times, tagged colours, the source's sound copied packet by packet."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Stream
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream

from streamseg.errors import OutputError
from streamseg.frames import Frame, VideoInfo
from streamseg.sink.base import CompletingSink
from streamseg.sink.yuv import ToYuv420, even, pad_to_even

if TYPE_CHECKING:
    from streamseg.pipeline import Statistics


QUALITY = {"crf": "18", "preset": "veryfast"}
"""x264: visually lossless for a second-generation file, at a speed that leaves the cores to the network."""


class VideoSink(CompletingSink):
    """One mp4 file, written as NAME.mp4.part and renamed by `complete`."""

    def __init__(self, path: Path, info: VideoInfo) -> None:
        """Opens the file and the source's sound.

        Raises:
            OutputError: the file cannot be written.
        """
        self._path, self._part = path, path.with_name(path.name + ".part")
        self._info, self._last_pts = info, -1
        self._frames = 0
        if not path.parent.is_dir():
            raise OutputError(f"cannot write {path}: there is no folder {path.parent}")
        if not os.access(path.parent, os.W_OK):
            raise OutputError(f"cannot write {path}: no permission to write into the folder {path.parent}")
        try:
            # Absolute, as FFmpeg takes "12:30.mp4" for a protocol. The file is made when the first frame comes.
            self._output = av.open(
                str(self._part.absolute()), "w", format="mp4", options={"movie_timescale": _clock(info.time_base)}
            )
            self._video = self._add_video()
            self._sound = SoundCopy(self._output, info.path) if info.path else None
        except (av.FFmpegError, OSError) as error:
            raise OutputError(self._message(error)) from error
        self._to_yuv = ToYuv420()

    @property
    def written(self) -> str:
        """One line on what the file holds."""
        if not self._frames:
            return "nothing was written"
        sound = self._sound.kept if self._sound else "no sound"
        return f"{self._path}: {self._frames} frames, H.264, {sound}"

    def write(self, frame: Frame, statistics: Statistics) -> None:
        """Encodes one frame and the sound up to it.

        Raises:
            OutputError: the disk is full or the encoder failed.
        """
        pts = max(round(frame.time / self._info.time_base), self._last_pts + 1)
        picture = self._to_yuv(pad_to_even(frame.pixels))
        picture.pts, picture.time_base = pts, self._info.time_base
        try:
            self._output.mux(self._video.encode(picture))
            self._mux_sound(frame.time)
        except (av.FFmpegError, OSError) as error:
            raise OutputError(self._message(error)) from error
        self._last_pts, self._frames = pts, self._frames + 1

    def complete(self) -> None:
        """Flushes the encoder, writes the rest of the sound and gives the file its name.

        Raises:
            OutputError: the disk is full; nothing is left under the final name.
        """
        self._finish(None)

    def cut_short(self) -> None:
        """As `complete`, but the sound ends with the pictures."""
        self._finish(self._last_pts * self._info.time_base)

    def _finish(self, sound_until: Fraction | None) -> None:
        if not self._frames:
            self.discard()
            return
        try:
            self._output.mux(self._video.encode(None))
            self._mux_sound(sound_until)
            self._output.close()
            os.replace(self._part, self._path)
        except (av.FFmpegError, OSError) as error:
            self.discard()
            raise OutputError(self._message(error)) from error
        except BaseException:
            self.discard()
            raise
        self._close_sound()

    def discard(self) -> None:
        """Removes the unfinished file."""
        # Closing writes the trailer, which fails again on a full disk; the file goes either way.
        with suppress(av.FFmpegError, OSError):
            self._output.close()
        self._close_sound()
        with suppress(OSError):
            self._part.unlink(missing_ok=True)

    def _add_video(self) -> VideoStream:
        stream = self._output.add_stream("libx264", rate=self._info.rate, options=dict(QUALITY))
        context = stream.codec_context
        # The encoder otherwise counts in frames, which rounds variable rates.
        context.time_base = stream.time_base = self._info.time_base
        stream.width, stream.height = (even(self._info.width_px), even(self._info.height_px))
        stream.pix_fmt = "yuv420p"
        context.colorspace, context.color_range = int(Colorspace.ITU709), int(ColorRange.MPEG)
        context.color_primaries, context.color_trc = int(ColorPrimaries.BT709), int(ColorTrc.BT709)
        return stream

    def _mux_sound(self, until: Fraction | None) -> None:
        if self._sound:
            for packet in self._sound.packets(until):
                self._output.mux(packet)

    def _close_sound(self) -> None:
        if self._sound:
            self._sound.close()

    def _message(self, error: Exception) -> str:
        reason = getattr(error, "strerror", None) or str(error)
        return f"cannot write {self._path}: {reason}"


def _clock(time_base: Fraction) -> str:
    """Ticks a second for the moment at which picture and sound start; FFmpeg's 1000 would move it."""
    both = math.lcm(time_base.denominator, 48_000)
    return str(both if both < 2**31 else time_base.denominator)


class SoundCopy:
    """The source's audio tracks, packet by packet and bit by bit."""

    def __init__(self, output: av.container.OutputContainer, path: Path) -> None:
        self._source = av.open(str(path.absolute()))
        self._tracks: dict[int, AudioStream] = {}
        self._refused: list[str] = []
        for track in self._source.streams.audio:
            if track.codec_context.name in output.supported_codecs:
                self._tracks[track.index] = output.add_stream_from_template(track)
            else:
                self._refused.append(track.codec_context.name)
        inputs = [stream for stream in self._source.streams.audio if stream.index in self._tracks]
        self._packets = self._source.demux(inputs) if inputs else iter(())
        self._waiting: Packet[Stream] | None = None

    @property
    def kept(self) -> str:
        """What became of the sound, for the user."""
        kept = f"{len(self._tracks)} audio track{'s' * (len(self._tracks) != 1)} copied"
        return kept + (f", left out as mp4 cannot hold it: {', '.join(self._refused)}" if self._refused else "")

    def packets(self, until: Fraction | None) -> Iterator[Packet[Stream]]:
        """The packets that begin at or before `until` seconds, or all that are left, for the output's streams."""
        while (packet := self._waiting or self._next()) is not None:
            self._waiting = packet
            if until is not None and packet.dts is not None and packet.dts * packet.time_base > until:
                return
            self._waiting = None
            packet.stream = self._tracks[packet.stream.index]
            yield packet

    def close(self) -> None:
        """Closes the source."""
        self._source.close()

    def _next(self) -> Packet[Stream] | None:
        """The next packet with something in it, or None at the end or at damage."""
        with suppress(av.FFmpegError):
            for packet in self._packets:
                if packet.size and packet.dts is not None:
                    return packet
        return None
