"""What is written plays to its last picture, and as long as was meant: by us, and by an FFmpeg of another build.

Thinned here; `make sweep` goes through every form, rate and length.
"""

from __future__ import annotations

import itertools
import re
import subprocess
from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal, get_args

import av
import imageio_ffmpeg
import numpy as np
import pytest

from streamseg.frames import Frame, Kind, VideoInfo
from streamseg.image import Pixels
from streamseg.settings import OutputSettings
from streamseg.sink import open_sink
from streamseg.sink.sidecar import matte_path
from tests.synthetic import picture, true_alpha

WIDTH_PX, HEIGHT_PX, LONGEST = 48, 32, 60
TIME_BASE, TICK = Fraction(1, 90_000), Fraction(1, 1000)
SUFFIXES = (".mp4", ".mov", ".mkv", ".webm")
Alpha = Literal["embedded", "stacked", "sidecar"]
Quality = Literal["standard", "high"]
RATES = {str(rate): Fraction(rate) for rate in ("15", "24", "25", "30", "30000/1001", "60")}
UNEVEN_TICKS = (1500, 9000, 3003, 3750, 45_000, 1501, 6000)
"""How long one picture after the other is shown, as phones and screen recorders do it."""


@dataclass(frozen=True)
class Form:
    """A way to write a file."""

    suffix: str
    kind: Kind
    output: OutputSettings

    def __str__(self) -> str:
        return f"{self.kind} {self.output.alpha} {self.output.quality} {self.suffix[1:]}"

    def files(self, path: Path) -> list[Path]:
        """What it makes."""
        return [path, matte_path(path)] if self.output.alpha == "sidecar" else [path]


H264 = Form(".mp4", "composite", OutputSettings())


@dataclass(frozen=True)
class Played:
    """When each picture of a file is shown, in seconds, and when the last one ends."""

    times: list[Fraction]
    end: Fraction


def all_forms() -> list[Form]:
    kinds: list[tuple[Kind, Alpha]] = [("composite", "embedded"), ("matte", "embedded")]
    kinds += [("foreground", alpha) for alpha in get_args(Alpha)]
    return [
        Form(suffix, kind, OutputSettings(alpha=alpha, quality=quality))
        for (kind, alpha), suffix, quality in itertools.product(kinds, SUFFIXES, get_args(Quality))
    ]


def durations(rate: str) -> list[Fraction]:
    if rate in RATES:
        return [1 / RATES[rate]] * LONGEST
    return [UNEVEN_TICKS[n % len(UNEVEN_TICKS)] * TIME_BASE for n in range(LONGEST)]


def pixels(index: int, kind: Kind) -> Pixels:
    rgb, matte = picture(index, WIDTH_PX, HEIGHT_PX), true_alpha(index, WIDTH_PX, HEIGHT_PX)
    return {"composite": rgb, "matte": matte, "foreground": np.dstack((rgb, matte))}[kind]


def meant(rate: str, count: int) -> Played:
    starts = list(itertools.accumulate(durations(rate)[:count], initial=Fraction(0)))
    return Played(starts[:-1], starts[-1])


def write(path: Path, form: Form, rate: str, count: int) -> None:
    info = VideoInfo(WIDTH_PX, HEIGHT_PX, RATES.get(rate, Fraction(15)), TIME_BASE, count)
    with open_sink(str(path), info, form.kind, form.output) as sink:
        for index, (time, duration) in enumerate(zip(meant(rate, count).times, durations(rate), strict=False)):
            sink.write(Frame(index, time, pixels(index, form.kind), duration=duration))


def ours(path: Path) -> Played:
    with av.open(str(path)) as container:
        times = [frame.pts * frame.time_base for frame in container.decode(video=0)]
        return Played(times, Fraction(container.duration, av.time_base))


def theirs(paths: list[Path]) -> list[Played]:
    """By one process for all."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-nostdin"]
    for path in paths:
        command += ["-threads", "1", "-i", str(path)]
    for number in range(len(paths)):
        command += ["-map", f"{number}:v:0"]
    command += ["-copyts", "-fps_mode", "passthrough", "-enc_time_base", "demux", "-f", "framecrc", "-"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    clocks = {int(track): Fraction(unit) for track, unit in re.findall(r"#tb (\d+): (\S+)", done.stdout)}
    times = defaultdict(list)
    for line in done.stdout.splitlines():
        if not line.startswith("#"):
            track, _, pts, *_ = line.split(",")
            times[int(track)].append(int(pts) * clocks[int(track)])
    ends = re.findall(r"Duration: \d+:(\d+):([\d.]+)", done.stderr)
    return [
        Played(times[number], Fraction(seconds) + 60 * int(minutes)) for number, (minutes, seconds) in enumerate(ends)
    ]


def check(rate: str, wanted: list[tuple[Form, int]], folder: Path) -> None:
    """Writes and reads files of those forms and lengths."""
    counts: dict[Path, int] = {}
    for form, count in wanted:
        path = folder / f"{form} of {count}{form.suffix}"
        write(path, form, rate, count)
        counts |= dict.fromkeys(form.files(path), count)
    found = []
    for (path, count), played in zip(counts.items(), theirs(list(counts)), strict=True):
        for reader, result, exact in (("PyAV", ours(path), TICK), ("FFmpeg", played, 10 * TICK)):
            problem = difference(result, meant(rate, count), exact)
            if problem:
                found.append(f"{path.name} at {rate} fps by {reader}: {problem}")
    assert not found, "\n".join(found)


def difference(found: Played, wanted: Played, exact: Fraction) -> str | None:
    """`exact` is how far the reader tells the end."""
    if len(found.times) != len(wanted.times):
        return f"{len(found.times)} pictures"
    late = max(abs(a - b) for a, b in zip(found.times, wanted.times, strict=True))
    if late > TICK / 2:
        return f"a time is off by {float(late):.4f} s"
    if abs(found.end - wanted.end) > exact:
        return f"ends at {float(found.end):.4f} s instead of {float(wanted.end):.4f}"
    return None


EVERY_RATE = [*RATES, "variable"]


@pytest.mark.parametrize("rate", EVERY_RATE)
def test_a_share_of_all(rate: str, tmp_path: Path) -> None:
    """A seventh of the forms at each rate, and H.264 in MP4 at every fourth length."""
    share = EVERY_RATE.index(rate)
    some = itertools.product(all_forms()[share :: len(EVERY_RATE)], (1, 9, 29))
    check(rate, [*some, *((H264, count) for count in range(1 + share % 4, LONGEST + 1, 4))], tmp_path)


@pytest.mark.sweep
@pytest.mark.parametrize("form", all_forms(), ids=str)
@pytest.mark.parametrize("rate", EVERY_RATE)
def test_every_length(form: Form, rate: str, tmp_path: Path) -> None:
    check(rate, [(form, count) for count in range(1, LONGEST + 1)], tmp_path)
