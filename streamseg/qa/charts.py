"""Timelines of figures as inline SVG, which stretch to the width of the page."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from html import escape

from streamseg.qa.grades import Series, percent

WIDTH, HEIGHT = 1000, 60
"""Units of the drawing, which the page stretches."""

HEADROOM = 1.15
"""Height of the scale over the largest value."""

LEAST_SCALE = {"%": 0.01, "px": 8.0}
"""Least height of the scale, by unit, so that noise does not look like mountains."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A figure over time.

    Attributes:
        title: for people.
        column: of the series.
        unit: `%` for shares, or `px`.
        limit: value from which on a frame is worth a look; None if there is none.
    """

    title: str
    column: str
    unit: str
    limit: float | None = None


def chart_html(chart: Chart, series: Series) -> str:
    """Draw a chart: a line for the values and a dashed one for the limit, with the range in words."""
    values, times = series[chart.column], series["seconds"]
    known = series.known(chart.column)
    largest = max(known, default=0.0)
    scale = max(HEADROOM * max(largest, chart.limit or 0.0), LEAST_SCALE[chart.unit])
    peak = _text(largest, chart.unit)
    mean = _text(series.mean(chart.column), chart.unit)
    limit = ""
    if chart.limit is not None:
        y = HEIGHT * (1 - chart.limit / scale)
        limit = f'<path class="limit" d="M0 {y:.1f}H{WIDTH}"/>'
    words = f"{chart.title}: mean {mean}, at most {peak}"
    if chart.limit is not None:
        words += f", limit {_text(chart.limit, chart.unit)}"
    return (
        f'<div class="chart"><p><b>{escape(chart.title)}</b> <span>mean {mean}, at most {peak}</span></p>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none" role="img" aria-label="{escape(words)}">'
        f'{limit}<path class="line" d="{_path(values, times, scale)}"/></svg></div>'
    )


def _path(values: array[float], times: array[float], scale: float) -> str:
    """Return the path of a line that keeps every peak: of the frames that share a place, the largest value is drawn."""
    first, length = times[0], (times[-1] - times[0]) or 1.0
    places: dict[int, float] = {}
    for value, time in zip(values, times, strict=True):
        place = round(WIDTH * (time - first) / length)
        if not math.isnan(value):
            places[place] = max(places.get(place, 0.0), value)
        else:
            places.setdefault(place, 0.0)
    points = [f"{place} {HEIGHT * (1 - value / scale):.1f}" for place, value in places.items()]
    return "M" + "L".join(points)


def _text(value: float, unit: str) -> str:
    return percent(value) if unit == "%" else f"{value:.1f} {unit}"
