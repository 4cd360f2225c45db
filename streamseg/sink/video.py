"""Sink for video files: encoded frames at exact times, with the source's audio, subtitles and metadata."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.container import OutputContainer
from av.packet import Packet

from streamseg.errors import OutputError
from streamseg.frames import Frame, VideoInfo, counted
from streamseg.media.stacked import STACKED_TAG
from streamseg.sink import mp4
from streamseg.sink.base import BaseSink
from streamseg.sink.check import AlphaCheck
from streamseg.sink.encoder import Encoder, FrameEncoder, StackedEncoder, add_stream
from streamseg.sink.formats import Encoding
from streamseg.sink.hevc_alpha import LayeredEncoder
from streamseg.sink.mix import MixedSound
from streamseg.sink.part_file import PartFile
from streamseg.sink.parts import Part
from streamseg.sink.record import MadeFrom, record_of
from streamseg.sink.resume import BEGINNING, HALF_A_TICK, copied_packets, is_playable, left_over, unfinished
from streamseg.sink.times import FrameTimes
from streamseg.sink.tracks import MAX_INTERLEAVE_US, SourceTracks

BUFFER_BYTES = 1 << 20
"""Size of FFmpeg's write buffer, which it also flushes after each complete fragment."""


class VideoSink(BaseSink):
    """One video file, written as NAME.part and renamed by `complete`; a killed run leaves a NAME.part that plays.

    A run that is killed before the first fragment is complete leaves nothing.
    """

    def __init__(
        self,
        path: Path,
        info: VideoInfo,
        encoding: Encoding,
        resume_at: Fraction = BEGINNING,
        made_from: MadeFrom | None = None,
    ) -> None:
        """Open the file and the source's other tracks.

        Args:
            path: the finished file.
            info: size, rate and clock of the frames to write; audio and subtitles come from its `path`, and a
                background's sound beside them.
            encoding: container and codec.
            resume_at: seconds up to which the frames of an interrupted run are copied.
            made_from: what the frames are made from, which is kept beside NAME.part for a run that goes on.

        Raises:
            OutputError: the file cannot be written.
        """
        self._path, (self._part, left) = path, unfinished(path)
        self._file = PartFile(self._part, made_from, None if resume_at else left)
        self._info, self._encoding, self.resume_at = info, encoding, resume_at
        self._last_pts, self._times = -1, FrameTimes()
        self._delay = Fraction(0)  # From the source's pts to those of the file, in seconds.
        self._waiting: Packet[Any] | None = None  # For the next one, in MP4 and MOV.
        self._frames, self._alpha = 0, AlphaCheck(info)
        check_folder(path)
        try:
            self._output = _open_output(self._file, encoding, info)
            self._encoder = _open_encoder(self._output, encoding, info)
            self._mixed = MixedSound(self._output, info, info.background_sound) if info.background_sound else None
            self._tracks = self._open_tracks()
            if encoding.stacked:
                self._output.metadata["comment"] = STACKED_TAG
            if resume_at:
                self._copy_interrupted(left_over(path))
        except (av.FFmpegError, OSError) as error:
            raise OutputError(self._message(error)) from error

    @property
    def summary(self) -> str:
        """Describe in one line what the file holds and what plays it."""
        if not self._frames:
            return "nothing was written"
        mixed = f"{self._mixed.what} mixed" if self._mixed else ""
        kept = self._tracks.kept if self._tracks else ""
        sound = ", ".join(filter(None, (mixed, kept))) or "no sound"
        count, encoding = counted(self._frames, "frame"), self._encoding
        return f"{self._path}: {count}, {encoding.label}, {sound}; plays in {encoding.plays_in}"

    def write(self, frame: Frame) -> None:
        """Encode one frame, and write the other tracks up to its pts.

        A file begins at 0 where its first frame comes before that; its tracks are as late as its frames.

        Raises:
            OutputError: the frame has another size than the file, the disk is full or the encoder failed.
        """
        self._check_size(frame)
        if self.resume_at and frame.pts < self.resume_at - HALF_A_TICK:
            self._check_resumable(frame)
            return
        if frame.pts < 0 and not self._frames:
            self._begin_earlier(-frame.pts)
        time = frame.pts + self._delay
        pts = max(round(time / self._info.time_base), self._last_pts + 1)
        duration = round((frame.duration or 1 / self._info.rate) / self._info.time_base)
        try:
            self._mux_video(self._encoder.encode(frame, pts, duration))
            self._mux_tracks(time)
        except (av.FFmpegError, OSError) as error:
            raise OutputError(self._message(error)) from error
        self._last_pts, self._frames = pts, self._frames + 1
        self._alpha.note(replace(frame, pts=pts * self._info.time_base))

    def take(self, part: Part) -> None:
        """See `JoiningSink`; after the first part, no frame may be written.

        Raises:
            OutputError: the part is not what was written, or the disk is full.
        """
        before = self._frames
        try:
            for packet in copied_packets(part.path, self._encoder.stream):
                self._mux_copied(packet, part)
        except (av.FFmpegError, OSError) as error:
            raise OutputError(self._message(error)) from error
        self._times.end = part.end
        if self._frames != before + part.frames:
            found = f"holds {counted(self._frames - before, 'frame')}, not {part.frames}"
            raise OutputError(f"cannot write {self._path}: its part {part.path} {found}")

    def complete(self) -> None:
        """Flush the encoder, write the rest of the other tracks, verify the file and rename it to its final name.

        Raises:
            OutputError: the disk is full, or the alpha was lost; the part file stays.
        """
        self._complete(is_cut_short=False)

    def cut_short(self) -> None:
        """Complete the file, with the other tracks cut at the last frame."""
        self._complete(is_cut_short=True)

    def _complete(self, is_cut_short: bool) -> None:
        self.finish(is_cut_short)
        self.verify()
        self.place()

    def finish(self, is_cut_short: bool) -> None:
        """Finish the file as NAME.part; without a frame, leave none.

        Args:
            is_cut_short: end the other tracks at the last frame.

        Raises:
            OutputError: the file cannot be written.
        """
        if not self._frames:
            self.discard()
            return
        try:
            self._mux_last()
            self._mux_tracks(self._last_pts * self._info.time_base if is_cut_short else None)
            self._flush_tracks()
            self._output.close()
            self._file.keep()
            self._file.close()
            if self._is_mp4 and is_playable(self._part):
                mp4.state_end(self._part, self._times.end)
        except (av.FFmpegError, OSError) as error:
            self.discard()
            raise OutputError(self._message(error)) from error
        except BaseException:
            self.discard()
            raise
        self._close_tracks()

    def verify(self) -> None:
        """Check that the finished part file plays, and that its alpha is what was written.

        Raises:
            OutputError: it does not play, or its alpha differs.
        """
        if not self._frames:
            return
        try:
            if not is_playable(self._part):
                raise OutputError(f"{self._path} does not play")
            self._alpha.verify(self._part, self._path)
        except OutputError as error:
            raise OutputError(f"{error}; what was written is in {self._part}") from error

    def place(self) -> None:
        """Rename the finished part file to its final name.

        Raises:
            OutputError: the file cannot be renamed.
        """
        if not self._frames:
            return
        try:
            os.replace(self._part, self._path)
            record_of(self._part).unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(self._message(error)) from error

    def discard(self) -> None:
        """Close the file, leaving NAME.part for `--resume` if it plays."""
        # Closing writes the trailer, which fails again on a full disk; the data before it stays.
        with suppress(av.FFmpegError, OSError):
            self._output.close()
        with suppress(OSError):
            self._file.close()
        self._close_tracks()

    def _check_size(self, frame: Frame) -> None:
        """Raise OutputError if a frame has another size than the file; FFmpeg would scale it unasked."""
        height, width = frame.image.shape[:2]
        expected = self._info.width_px, self._info.height_px
        if (width, height) != expected:
            raise OutputError(
                f"cannot write {self._path}: frame {frame.index} is {width}x{height} px and the file "
                f"{expected[0]}x{expected[1]} px; frames of two sizes do not go into one file"
            )

    def _check_resumable(self, frame: Frame) -> None:
        """Raise OutputError if the frames of the file and of the source are not at the same times."""
        if frame.pts < 0:
            raise OutputError(
                f"cannot resume {self._path}: the source begins {float(-frame.pts):g} s before 0, and the file at 0; "
                "leave out resume, to start over"
            )

    def _begin_earlier(self, seconds: Fraction) -> None:
        self._delay = seconds
        for sound in (self._mixed, self._tracks):
            if sound:
                sound.begin_earlier(seconds)

    def _copy_interrupted(self, left: Path) -> None:
        """Begin the file with the frames that an interrupted run completed."""
        for packet in copied_packets(left, self._encoder.stream, self.resume_at):
            self._mux_video([packet])
            self._note_copied(packet)
        left.unlink()

    def _mux_copied(self, packet: Packet[Any], part: Part) -> None:
        """Mux a packet of a part."""
        if abs((packet.pts or 0) * packet.time_base - part.last_pts) <= HALF_A_TICK:
            packet.duration = round((part.end - part.last_pts) / packet.time_base)
        self._times.note_copied(packet)
        self._mux([packet])
        self._note_copied(packet)

    def _note_copied(self, packet: Packet[Any]) -> None:
        time = (packet.pts or 0) * packet.time_base
        self._mux_tracks(time)
        self._last_pts = max(self._last_pts, round(time / self._info.time_base))
        self._frames += 1

    def _mux_video(self, packets: list[Packet[Any]]) -> None:
        for packet in packets:
            self._times.note_packet(packet)
        self._mux(packets)

    def _mux(self, packets: list[Packet[Any]]) -> None:
        """Mux packets; in MP4 and MOV, each one when the next is there.

        A fragment of theirs lasts for the durations of its packets, which are those of frames in another order: the
        next fragment would begin before that, and FFmpeg's muxer (8.1) would move its first frame.
        """
        for packet in packets:
            ready, self._waiting = (self._waiting, packet) if self._is_mp4 else (packet, None)
            if ready and self._waiting and ready.dts is not None and self._waiting.dts is not None:
                ready.duration = self._waiting.dts - ready.dts
            if ready:
                self._output.mux(ready)
        self._file.synchronize()

    def _mux_last(self) -> None:
        """Mux what the encoder and the muxer's queue still hold."""
        self._mux_video(self._encoder.flush())
        if self._waiting:
            self._times.extend_last(self._waiting)
            self._output.mux(self._waiting)
            self._waiting = None

    @property
    def _is_mp4(self) -> bool:
        return self._encoding.muxer in mp4.MUXERS

    def _open_tracks(self) -> SourceTracks | None:
        info = self._info
        without = self._mixed.main_index if self._mixed else None
        if self._mixed:
            self._output.options["max_interleave_delta"] = MAX_INTERLEAVE_US
        return SourceTracks(self._output, info.path, info.start_time, info.end, without) if info.path else None

    def _mux_tracks(self, until: Fraction | None) -> None:
        if self._mixed and until is not None:
            self._output.mux(list(self._mixed.packets(until)))
        if self._tracks:
            for packet in self._tracks.packets(until):
                self._output.mux(packet)

    def _flush_tracks(self) -> None:
        if self._mixed:
            self._output.mux(list(self._mixed.finish(self._times.end)))
        if self._tracks:
            for packet in self._tracks.flush():
                self._output.mux(packet)

    def _close_tracks(self) -> None:
        if self._mixed:
            self._mixed.close()
        if self._tracks:
            self._tracks.close()

    def _message(self, error: Exception) -> str:
        reason = getattr(error, "strerror", None) or str(error)
        saved = f"; {self._part} plays up to there, and --resume goes on" if self._file.is_on_disk else ""
        return f"cannot write {self._path}: {reason}{saved}"


def check_folder(path: Path) -> None:
    """Check that a file can be made in the folder of `path`.

    Raises:
        OutputError: the folder is missing, or may not be written to.
    """
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"cannot write {path}: no permission to write into the folder {path.parent}")


def _open_output(part: PartFile, encoding: Encoding, info: VideoInfo) -> OutputContainer:
    # Fragments of a quarter of a second reach the disk at once, so that a killed run loses little.
    options = {"flush_packets": "1"}
    if encoding.muxer in mp4.MUXERS:
        # A fragmented file plays after a killed run; the trailer turns it into an ordinary one. The header waits for
        # the first fragment: only then is the delay of reordered frames known, which shifts all times.
        options |= {"movie_timescale": _movie_timescale(info.time_base), "movflags": "hybrid_fragmented+delay_moov"}
        options["frag_duration"] = "250000"
    else:
        options["cluster_time_limit"] = "250"
    return av.open(part, "w", format=encoding.muxer, options=options, buffer_size=BUFFER_BYTES)


def _open_encoder(output: OutputContainer, encoding: Encoding, info: VideoInfo) -> Encoder:
    if encoding.layered:
        return LayeredEncoder(output, encoding, info)
    stream = add_stream(output, encoding, info, dict(encoding.options))
    return (StackedEncoder if encoding.stacked else FrameEncoder)(stream, encoding.layout)


def _movie_timescale(time_base: Fraction) -> str:
    """Return ticks per second that hold the start of video and audio exactly; FFmpeg's default of 1000 rounds it."""
    both = math.lcm(time_base.denominator, 48_000)
    return str(both if both < 2**31 else time_base.denominator)
