"""The report: a page that opens offline, JSON with the figures of every frame, and lines for the terminal."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import cv2
import numpy as np

from streamseg.composite.blend import blend
from streamseg.errors import OutputError
from streamseg.frames import counted
from streamseg.image import Pixels
from streamseg.media.atomic import atomic_write
from streamseg.qa.charts import Chart, chart_html
from streamseg.qa.grades import Grade, percent
from streamseg.qa.judge import Report, Verdict
from streamseg.qa.moments import LIMITS, SHOWN, Moment

PAGE_SUFFIXES = (".html", ".htm")

PLAIN = (0, 177, 64)
"""Colour that moments are shown over: unlike skin, hair and most clothes, so that what is left of a room stands out."""

WEBP_QUALITY = 78

SIGNS: dict[Grade, str] = {"good": "✓", "fair": "!", "poor": "✕"}
"""Signs beside the colours of the grades."""

MOMENT_TEXT = {
    "drop-out": "{} of the area is missing",
    "flicker": "{} of the subject changed without moving",
    "island": "{} of the subject's area stands apart from it",
    "hole": "{} of the subject's area opened amid it",
    "haze": "mean alpha of {} away from the subject",
}
"""What the figure of a moment says, by kind."""

LINES_OF_MOMENTS = 12
"""Moments that the terminal lists."""


def page_path(out: Path | None, video: str) -> Path:
    """Return the page's path: the one given, or `VIDEO.qa.html` in the current folder.

    Raises:
        OutputError: it is no HTML file, or its folder is missing; said before the video is judged.
    """
    path = out or Path(f"{Path(video).name}.qa.html")
    if path.suffix.lower() not in PAGE_SUFFIXES:
        raise OutputError(
            f"cannot write {path}: the report is a page and JSON beside it; give a name that ends in .html"
        )
    if not path.parent.is_dir():
        raise OutputError(f"cannot write {path}: there is no folder {path.parent}")
    return path


def write_report(report: Report, page: Path) -> None:
    """Write the page, and beside it the same name with `.json`.

    Raises:
        OutputError: a file cannot be written.
    """
    atomic_write(page, page_html(report).encode())
    atomic_write(page.with_suffix(".json"), json.dumps(as_json(report), indent=1, allow_nan=False).encode())


def summary_lines(report: Report) -> list[str]:
    """Return lines for the terminal: the grade, the grades, and the moments."""
    lines = [f"{report.name}: {report.grade}; {_facts(report)}"]
    for verdict in report.verdicts:
        criterion = verdict.criterion
        lines.append(f"  {criterion.name:10} {verdict.grade:5} {criterion.text(verdict.value)}{_count_text(verdict)}")
    lines += [f"  at {_clock(moment.seconds)} {_moment_text(moment)}" for moment in report.moments[:LINES_OF_MOMENTS]]
    if len(report.moments) > LINES_OF_MOMENTS:
        lines.append(f"  and {len(report.moments) - LINES_OF_MOMENTS} more on the page")
    return lines


def as_json(report: Report) -> dict[str, Any]:
    """Return all figures; None where a frame has none."""
    info, series = report.info, report.series
    return {
        "video": report.name,
        "matte": report.origin,
        "size_px": [info.width_px, info.height_px],
        "frames": len(series),
        "seconds": round(series.seconds, 3),
        "warning": report.warning,
        "grade": report.grade,
        "grades": {
            verdict.criterion.name: {
                "grade": verdict.grade,
                "value": _rounded(verdict.value),
                "unit": verdict.criterion.unit.replace("% of", "share of"),
                "good": verdict.criterion.good,
                "fair": verdict.criterion.fair,
                "moments": verdict.count,
            }
            for verdict in report.verdicts
        },
        "moments": [
            {
                "kind": moment.kind,
                "frame": moment.index,
                "seconds": _rounded(moment.seconds),
                "start_seconds": _rounded(moment.start_seconds),
                "end_seconds": _rounded(moment.end_seconds),
                "value": _rounded(moment.value),
            }
            for moment in report.moments
        ],
        "figures": {
            name: [_rounded(value) for value in series[name]]
            for name in ("seconds", "area", "flicker", "islands", "holes", "softness_px", "haze")
        },
    }


def page_html(report: Report) -> str:
    """Return the page: no scripts, and nothing that is loaded from elsewhere."""
    template = Template(files("streamseg.qa").joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        name=escape(report.name),
        facts=escape(_facts(report)),
        grade=report.grade,
        sign=SIGNS[report.grade],
        sentence=escape(_sentence(report)),
        warning=f'<p class="warning" role="note">{escape(report.warning)}</p>' if report.warning else "",
        cards="".join(map(_card, report.verdicts)),
        charts="".join(chart_html(chart, report.series) for chart in _charts()),
        marks="".join(map(_marker(report), range(len(report.moments)))),
        duration=_clock(float(report.series["seconds"][-1])),
        start=_clock(float(report.series["seconds"][0])),
        moments="".join(_article(number, moment, report) for number, moment in enumerate(report.moments))
        or '<p class="quiet">None: no frame passes a limit.</p>',
        shown=SHOWN,
        criteria="".join(map(_criterion_row, report.verdicts)),
    )


def _facts(report: Report) -> str:
    info, series = report.info, report.series
    size = f"{info.width_px}x{info.height_px} px"
    return f"{size}, {counted(len(series), 'frame')}, {series.seconds:.2f} s; {report.origin}"


def _sentence(report: Report) -> str:
    """Say in one sentence what is not good."""
    others = [f"{verdict.criterion.name} {verdict.grade}" for verdict in report.verdicts if verdict.grade != "good"]
    total = sum(verdict.count for verdict in report.verdicts)
    moments = f"{counted(total, 'moment')} worth a look" if total else "no moment worth a look"
    return f"{', '.join(others) or 'all grades are good'}; {moments}"


def _count_text(verdict: Verdict) -> str:
    return f", {counted(verdict.count, 'moment')}" if verdict.count else ""


def _moment_text(moment: Moment) -> str:
    return f"{moment.kind}: {_figure_text(moment)}"


def _figure_text(moment: Moment) -> str:
    return MOMENT_TEXT[moment.kind].format(percent(moment.value))


def _card(verdict: Verdict) -> str:
    criterion = verdict.criterion
    number, unit = criterion.text(verdict.value).split(" ", 1)
    count = counted(verdict.count, "moment") if verdict.count else ""
    return (
        f'<li class="card {verdict.grade}"><h3>{criterion.name}</h3>{_badge(verdict.grade)}'
        f'<p class="value"><b>{number}</b> {escape(unit)}</p><p class="quiet">{count}</p></li>'
    )


def _badge(grade: Grade) -> str:
    return f'<span class="badge {grade}"><span aria-hidden="true">{SIGNS[grade]}</span> {grade}</span>'


def _charts() -> list[Chart]:
    """Return the timelines, with the limit of a single frame where there is one."""
    return [
        Chart("Area of the matte", "area", "%"),
        Chart("Flicker", "flicker", "%", LIMITS["flicker"]),
        Chart("Islands", "islands", "%", LIMITS["island"]),
        Chart("Holes", "holes", "%", LIMITS["hole"]),
        Chart("Softness of the edge", "softness_px", "px"),
        Chart("Haze", "haze", "%", LIMITS["haze"]),
    ]


def _marker(report: Report) -> Callable[[int], str]:
    """Return the function that makes the link of a moment, by number, at its place on the time line."""
    times = report.series["seconds"]
    first, length = times[0], (times[-1] - times[0]) or 1.0

    def mark(number: int) -> str:
        moment = report.moments[number]
        place = 100 * min(1, max(0, (moment.seconds - first) / length))
        label = f"{_clock(moment.seconds)}, {moment.kind}"
        return (
            f'<a class="mark {moment.kind}" style="left:{place:.2f}%" href="#moment-{number}" '
            f'aria-label="{label}" title="{label}"></a>'
        )

    return mark


def _article(number: int, moment: Moment, report: Report) -> str:
    span = f"{_clock(moment.start_seconds)} to {_clock(moment.end_seconds)}"
    when = span if moment.end_seconds > moment.start_seconds else "one frame"
    over = blend(moment.image.rgb, np.full_like(moment.image.rgb, PLAIN), moment.image.matte)
    at = f"at {_clock(moment.seconds)}"
    pictures = (("frame", moment.image.rgb), ("matte", moment.image.matte), ("composite", over))
    return (
        f'<article class="moment" id="moment-{number}" tabindex="-1"><header><h3>'
        f'<span class="dot {moment.kind}" aria-hidden="true"></span>{_clock(moment.seconds)} <span>{moment.kind}</span>'
        f"</h3><p>{_figure_text(moment)}; {when}, frame {moment.index}</p></header>"
        f'<div class="pictures">{"".join(_picture(name, pixels, at) for name, pixels in pictures)}</div></article>'
    )


def _picture(name: str, pixels: Pixels, at: str) -> str:
    height, width = pixels.shape[:2]
    return (
        f'<figure class="{name}"><img src="{_data_address(pixels)}" width="{width}" height="{height}" loading="lazy" '
        f'alt="{name} {at}"><figcaption>{name}</figcaption></figure>'
    )


def _data_address(pixels: Pixels) -> str:
    """Return RGB `(H, W, 3)` or grey `(H, W)` as a WebP image in a data address."""
    stored = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR) if pixels.ndim == 3 else pixels
    done, encoded = cv2.imencode(".webp", stored, [cv2.IMWRITE_WEBP_QUALITY, WEBP_QUALITY])
    assert done
    return f"data:image/webp;base64,{base64.b64encode(encoded.tobytes()).decode()}"


def _criterion_row(verdict: Verdict) -> str:
    criterion = verdict.criterion
    limits = f"good to {criterion.text(criterion.good)}, fair to {criterion.text(criterion.fair)}"
    return (
        f"<dt>{criterion.name}</dt><dd>{escape(criterion.meaning)} <b>{escape(limits)}.</b> "
        f"{escape(criterion.reason)}</dd>"
    )


def _clock(seconds: float) -> str:
    """Format a time: `1.04 s`, from one minute on `2:07.5`."""
    if seconds < 60:
        return f"{seconds:.2f} s"
    return f"{int(seconds // 60)}:{seconds % 60:04.1f}"


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 5)
