"""Clocks that jump, begin anywhere, wrap around or say nothing: pictures at their times, the sound in step."""

from __future__ import annotations

import struct
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from streamseg.decode import TimeRange, open_source
from streamseg.decode.clock import Clock
from streamseg.frames import Frame, VideoInfo
from streamseg.sink import open_sink
from tests.synthetic import picture

RATE, HZ, AAC = Fraction(25), 48_000, 1024
COUNT = 30
TICK = Fraction(1, 90_000)
WRAP_SECONDS = 2**33 * TICK
HALF_AN_AAC_FRAME = Fraction(AAC, 2 * HZ)


def write(
    path: Path,
    start: Fraction = Fraction(0),
    count: int = COUNT,
    sound_seed: int = 0,
) -> Path:
    """Moving pictures with B-frames and noise as sound, whose clocks begin at `start` seconds."""
    with av.open(str(path), "w", options={"avoid_negative_ts": "disabled"}) as output:
        stream = output.add_stream("libx264", rate=RATE, options={"g": "10", "bf": "2", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        tone = output.add_stream("aac", rate=HZ, layout="mono")
        packets = []
        for index in range(count):
            rgb = av.VideoFrame.from_ndarray(picture(index), "rgb24")
            packets += stream.encode(rgb.reformat(format="yuv420p"))
        packets += stream.encode(None)
        source = np.random.default_rng(sound_seed)
        for begin in range(0, int(count / RATE * HZ), AAC):
            noise = source.uniform(-0.2, 0.2, (1, AAC)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(noise, format="fltp", layout="mono")
            frame.sample_rate, frame.pts = HZ, begin
            packets += tone.encode(frame)
        packets += tone.encode(None)
        for packet in sorted(packets, key=lambda one: one.dts * one.time_base):
            shift = round(start / packet.time_base)
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            output.mux(packet)
    return path


def joined(path: Path, *starts: Fraction) -> Path:
    """Recordings one after the other in one file, each with a clock of its own."""
    parts = [write(path.with_name(f"{n}.ts"), start, sound_seed=n) for n, start in enumerate(starts)]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def read(path: Path) -> list[Frame]:
    with open_source(str(path)) as source:
        frames = list(source)
    assert source.decode_error is None
    return frames


def copied(
    source: Path, out: Path, time_range: TimeRange | None = None
) -> tuple[list[Fraction], dict[bytes, Fraction]]:
    """What a run writes: when pictures are seen, and when each packet of sound is heard."""
    with open_source(str(source), time_range or TimeRange()) as opened, open_sink(str(out), opened.info) as sink:
        for frame in opened:
            sink.write(frame)
    with av.open(str(out)) as file:
        seen = [frame.pts * frame.time_base for frame in file.decode(video=0)]  # type: ignore[operator]
    return seen, sounds(out)


def sounds(path: Path) -> dict[bytes, Fraction]:
    """Times of the packets of sound by what is in them, without the head that each has in a broadcast."""
    with av.open(str(path)) as file:
        packets = [packet for packet in file.demux(audio=0) if packet.size]
        return {bytes(one)[7 if path.suffix == ".ts" else 0 :]: one.pts * one.time_base for one in packets}


def first_picture_seconds(path: Path) -> Fraction:
    with av.open(str(path)) as file:
        frame = next(file.decode(video=0))
        return frame.pts * frame.time_base  # type: ignore[operator]


class TestBroadcasts:
    @pytest.mark.parametrize(
        "start", [Fraction(0), Fraction(7, 5), Fraction(90_001), WRAP_SECONDS - Fraction(1, 2)], ids=float
    )
    def test_whatever_the_clock_shows_first_counts_as_0(self, start: Fraction, tmp_path: Path) -> None:
        path = write(tmp_path / "late.ts", start)
        seen, heard = copied(path, tmp_path / "out.mp4")
        assert min(seen[0], *heard.values()) == 0
        assert {later - earlier for earlier, later in pairwise(seen)} == {1 / RATE}
        assert len(seen) == COUNT
        offset = first_picture_seconds(path) - seen[0]
        for what, when in sounds(path).items():
            assert abs(when - offset - heard[what]) <= TICK

    @pytest.mark.parametrize(
        ("first", "second"),
        [(2, 2), (2, 0), (0, 1), (2, 3602), (3602, 2), (90_000, 1), (1, 90_000)],
        ids=lambda value: str(value),
    )
    def test_recordings_that_were_joined(self, first: int, second: int, tmp_path: Path) -> None:
        path = joined(tmp_path / "joined.ts", Fraction(first), Fraction(second))
        seen, heard = copied(path, tmp_path / "out.mp4")
        assert len(seen) == 2 * COUNT
        assert min(seen[0], *heard.values()) == 0
        assert {later - earlier for earlier, later in pairwise(seen)} == {1 / RATE}
        lost = 0
        for number in (0, 1):
            part = tmp_path / f"{number}.ts"
            offset = first_picture_seconds(part) - seen[number * COUNT]
            for what, when in sounds(part).items():
                lost += what not in heard
                assert abs(when - offset - heard.get(what, when - offset)) <= HALF_AN_AAC_FRAME
        assert lost <= 3  # Sound that outlasted the pictures of its recording.

    def test_a_stretch_after_a_joint(self, tmp_path: Path) -> None:
        path = joined(tmp_path / "joined.ts", Fraction(100), Fraction(1))
        whole, heard = copied(path, tmp_path / "whole.mp4")
        seen, later = copied(path, tmp_path / "part.mp4", TimeRange(Fraction(3, 2), Fraction(2)))
        assert len(seen) == 12 or len(seen) == 13
        expected = [moment - Fraction(3, 2) for moment in whole if Fraction(3, 2) <= moment < 2]
        assert [round(float(moment), 4) for moment in seen] == [round(float(moment), 4) for moment in expected]
        assert later
        for what, when in later.items():
            assert abs(heard[what] - Fraction(3, 2) - when) <= HALF_AN_AAC_FRAME

    def test_a_stretch_begins_where_it_says(self, tmp_path: Path) -> None:
        path = write(tmp_path / "late.ts", Fraction(90_001))
        whole = read(path)
        with open_source(str(path), TimeRange(Fraction(1, 2))) as source:
            found = list(source)
        expected = [frame for frame in whole if frame.pts >= Fraction(1, 2)]
        assert [frame.pts + Fraction(1, 2) for frame in found] == [frame.pts for frame in expected]
        assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(found, expected, strict=True))

    def test_going_on_after_an_interruption(self, tmp_path: Path) -> None:
        path = joined(tmp_path / "joined.ts", Fraction(100), Fraction(1))
        whole = read(path)
        with open_source(str(path)) as source:
            source.skip_to(Fraction(2))
            found = list(source)
        assert [frame.pts for frame in found] == [frame.pts for frame in whole if frame.pts >= 2]

    @pytest.mark.parametrize("jump", [3600, -3600, -1])
    def test_sound_whose_clock_jumps_alone_goes_on(self, jump: int, tmp_path: Path) -> None:
        path = write(tmp_path / "own.ts", Fraction(4000), count=100)
        with av.open(str(path)) as file:
            pictures, tone = file.streams.video[0], file.streams.audio[0]
            packets = [packet for packet in file.demux() if packet.size]
            meant = [(packet.stream_index, packet.pts) for packet in packets]
            for packet in packets:
                if packet.stream is tone and packet.pts * TICK > 4002:
                    packet.pts, packet.dts = (time + jump * 90_000 for time in (packet.pts, packet.dts))
            timed = [(one.stream_index, one.pts) for one in Clock(pictures.index, 1 / RATE).timed(packets)]
        for index in (pictures.index, tone.index):
            assert [pts for at, pts in timed if at == index] == [pts for at, pts in meant if at == index]

    def test_one_packet_that_is_off_moves_no_other(self, tmp_path: Path) -> None:
        path = write(tmp_path / "off.ts", Fraction(4000), count=50)
        with av.open(str(path)) as file:
            pictures, tone = file.streams.video[0], file.streams.audio[0]
            packets = [packet for packet in file.demux() if packet.size]
            meant = [packet.pts for packet in packets if packet.stream is tone]
            one = [packet for packet in packets if packet.stream is tone][20]
            one.pts = one.dts = 2**33 - 1920
            timed = [packet.pts for packet in Clock(pictures.index, 1 / RATE).timed(packets) if packet.stream is tone]
        assert timed == meant[:20] + meant[21:]


class TestOrderOnly:
    def test_frames_stored_out_of_order_in_avi(self, tmp_path: Path) -> None:
        path = write(tmp_path / "b.avi")
        same = write(tmp_path / "b.mp4")
        found, expected = read(path), read(same)
        assert [frame.pts for frame in found] == [n / RATE for n in range(COUNT)]
        assert all(np.array_equal(a.pixels, b.pixels) for a, b in zip(found, expected, strict=True))

    def test_a_lost_frame_leaves_its_place(self, tmp_path: Path) -> None:
        path = write(tmp_path / "b.avi")
        with av.open(str(path)) as file:
            lost = next(bytes(one) for one in file.demux(video=0) if one.pts == 13 and not one.is_keyframe)
        path.write_bytes(path.read_bytes().replace(lost, bytes(len(lost))))
        with open_source(str(path)) as source:
            times = [frame.pts * RATE for frame in source]
        missing = sorted(set(range(COUNT)) - set(times))
        assert missing and times == sorted(set(times))
        assert times[-10:] == list(range(COUNT - 10, COUNT))
        assert source.decode_error and f"{len(missing)} frame" in source.decode_error


class TestDurations:
    def test_a_gif_whose_last_frame_is_held(self, tmp_path: Path) -> None:
        path = tmp_path / "a.gif"
        with av.open(str(path), "w") as output:
            stream = output.add_stream("gif", rate=10)
            stream.width, stream.height, stream.pix_fmt = 128, 96, "gray"
            for index in range(3):
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index)[..., 1].copy(), "gray")))
            output.mux(stream.encode(None))
        data = bytearray(path.read_bytes())
        last = data.rindex(b"\x21\xf9\x04")  # The graphic control extension; GIF89a, 23.
        data[last + 4 : last + 6] = struct.pack("<H", 300)
        path.write_bytes(data)
        assert [frame.duration for frame in read(path)] == [Fraction(1, 10), Fraction(1, 10), 3]

    def test_an_animated_png(self, tmp_path: Path) -> None:
        path = tmp_path / "a.apng"
        with av.open(str(path), "w") as output:
            stream = output.add_stream("apng", rate=10)
            stream.width, stream.height, stream.pix_fmt = 128, 96, "rgb24"
            packets = [one for n in range(3) for one in stream.encode(av.VideoFrame.from_ndarray(picture(n), "rgb24"))]
            for packet in [*packets, *stream.encode(None)]:
                packet.duration = 1
                output.mux(packet)
        data = path.read_bytes()
        last = data.rindex(b"fcTL")  # delay_num and delay_den are 20 bytes into it; PNG, third edition, 11.3.6.2.
        path.write_bytes(data[: last + 24] + struct.pack(">HH", 3, 1) + data[last + 28 :])
        assert read(path)[-1].duration == 3

    @pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
    def test_a_variable_rate(self, suffix: str, tmp_path: Path) -> None:
        path = tmp_path / f"v{suffix}"
        times = [0, 40, 500, 520, 1500]
        with av.open(str(path), "w") as output:
            stream = output.add_stream("libx264", rate=RATE, options={"bf": "0"})
            stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
            packets = []
            for index, pts in enumerate(times):
                frame = av.VideoFrame.from_ndarray(picture(index), "rgb24").reformat(format="yuv420p")
                frame.pts, frame.time_base = pts, Fraction(1, 1000)
                packets += stream.encode(frame)
            packets += stream.encode(None)
            for packet, ends in zip(packets, [*times[1:], 4500], strict=True):
                packet.duration = ends - packet.pts
                output.mux(packet)
        found = read(path)
        assert [frame.pts * 1000 for frame in found] == times
        if suffix == ".mp4":
            assert found[-1].duration == 3

    @pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
    @pytest.mark.parametrize("count", range(1, 16))
    def test_frames_that_are_stored_in_another_order(self, count: int, suffix: str, tmp_path: Path) -> None:
        """MP4 says when the next one is decoded; which is not the next that is seen."""
        path, unit = tmp_path / f"b{suffix}", Fraction(1, 100)
        durations = [each * unit for each in [*([10, 30, 5, 5, 20, 10, 10, 50] * 2)[: count - 1], 40]]
        starts = [sum(durations[:n], Fraction(0)) for n in range(count)]
        with open_sink(str(path), VideoInfo(128, 96, Fraction(10), unit, count), "composite") as sink:
            for n, (start, duration) in enumerate(zip(starts, durations, strict=True)):
                sink.write(Frame(n, start, picture(n), duration=duration))
        found = read(path)
        assert [frame.pts for frame in found] == starts
        assert [frame.duration for frame in found] == durations
        with open_source(str(path)) as source:
            source.skip_to(starts[-1])
            assert [frame.duration for frame in source][-1] == durations[-1]

    def test_the_last_that_is_left_does_not_fill_what_was_cut_off(self, tmp_path: Path) -> None:
        path = tmp_path / "cut.mp4"
        with av.open(str(path), "w", options={"movflags": "faststart"}) as output:
            stream = output.add_stream("libx264", rate=10)
            stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
            for n in range(30):
                output.mux(stream.encode(av.VideoFrame.from_ndarray(picture(n), "rgb24")))
            output.mux(stream.encode(None))
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) * 3 // 4])
        with open_source(str(path)) as source:
            durations = [frame.duration for frame in source]
        assert source.decode_error
        assert durations[-1] == Fraction(1, 10)


MOVIE_HZ, PICTURE_TICKS, DELAY_TICKS = 1000, 512, 1024
"""Units of edit lists in what `write` writes: the film's clock; a picture, and what B-frames delay it, on its own."""


def with_edits(path: Path, *edits: list[tuple[int, int]]) -> Path:
    """A copy whose tracks show stretches: of so many of the film's ticks, from so many of their own.

    A time_range from -1 shows nothing. ISO/IEC 14496-12:2022, 8.6.6.
    """
    data, at = bytearray(path.read_bytes()), -1
    for entries in edits:
        at = data.index(b"elst", at + 1) - 4
        size = struct.unpack_from(">I", data, at)[0]
        rows = b"".join(struct.pack(">IiI", length, begin, 1 << 16) for length, begin in entries)
        box = struct.pack(">I4sII", 16 + len(rows), b"elst", 0, len(entries)) + rows
        for outer in (b"edts", b"trak", b"moov"):
            head = data.rindex(outer, 0, at) - 4
            struct.pack_into(">I", data, head, struct.unpack_from(">I", data, head)[0] + len(box) - size)
        data[at : at + size] = box
        at += 4
    copy = path.with_name("edited.mp4")
    copy.write_bytes(data)
    return copy


class TestEditLists:
    @pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
    def test_a_beginning_that_was_cut_off(self, suffix: str, tmp_path: Path) -> None:
        whole = write(tmp_path / "whole.mp4")
        begin = (DELAY_TICKS + 13 * PICTURE_TICKS, AAC + int(HZ * 13 / RATE))
        path = with_edits(whole, *([(600, ticks)] for ticks in begin))
        found = read(path)
        assert [frame.pts for frame in found] == [n / RATE for n in range(15)]
        assert np.array_equal(found[0].pixels, read(whole)[13].pixels)
        seen, heard = copied(path, tmp_path / f"out{suffix}")
        assert seen[0] < Fraction(AAC, HZ)
        offset = seen[0] - 13 / RATE
        for what, when in sounds(whole).items():
            if what in heard:
                assert abs(heard[what] - when - offset) < Fraction(2, 1000)
        assert len(heard) == pytest.approx(0.6 * HZ / AAC, abs=2)

    def test_frames_that_begin_later_than_the_sound(self, tmp_path: Path) -> None:
        path = with_edits(write(tmp_path / "whole.mp4"), [(500, -1), (1200, DELAY_TICKS)])
        assert [frame.pts for frame in read(path)] == [Fraction(1, 2) + n / RATE for n in range(COUNT)]

    def test_parts_in_another_order(self, tmp_path: Path) -> None:
        whole = write(tmp_path / "whole.mp4")
        half = MOVIE_HZ * COUNT / RATE / 2
        path = with_edits(
            whole,
            [(int(half), DELAY_TICKS + COUNT // 2 * PICTURE_TICKS), (int(half), DELAY_TICKS)],
            [(int(half), AAC + int(HZ * COUNT / RATE / 2)), (int(half), AAC)],
        )
        found, expected = read(path), read(whole)
        assert [frame.pts for frame in found] == [n / RATE for n in range(COUNT)]
        for frame, same in zip(found, expected[COUNT // 2 :] + expected[: COUNT // 2], strict=True):
            assert np.array_equal(frame.pixels, same.pixels)
        _, heard = copied(path, tmp_path / "out.mkv")
        assert len(heard) == pytest.approx(COUNT / RATE * HZ / AAC, abs=3)


def test_a_damaged_time_costs_no_other_frame_its_place(tmp_path: Path) -> None:
    """One bit of a picture's time says that it is seen in millions of years."""
    path = tmp_path / "clip.ivf"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libvpx", rate=RATE, options={"deadline": "realtime"})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for index in range(5):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture(index), "rgb24").reformat(format="yuv420p")))
        output.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    first = 32 + 12 + int.from_bytes(data[32:36], "little")  # IVF: a header, then size and time before every picture.
    data[first + 4 + 7] = 1
    path.write_bytes(data)

    frames = read(path)

    assert [frame.pts for frame in frames] == [index / RATE for index in range(5)]
