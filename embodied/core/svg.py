"""Line charts and bars for the report: inline SVG for the data, HTML for the words.

The data layer stretches with the page (`preserveAspectRatio="none"`, strokes that do not scale); ticks and
legends are HTML text, so that a chart is as readable on a phone as on a wide screen. No script: a
transparent strip over each point carries the values as its tooltip, and every chart has its figures as a
table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from embodied.core.markup import escape

MAX_POINTS = 240
_WIDTH, _HEIGHT = 1000.0, 400.0  # of the SVG's own coordinates


@dataclass(frozen=True)
class Series:
    """One line: `x`, `y`, an optional band `low`..`high`, all of one length; `color` is a CSS suffix."""

    name: str
    x: np.ndarray
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    color: str = "1"


def tidy(series: Series) -> Series | None:
    """The finite points of a series, averaged in buckets where there are many; None when none is left."""
    x, y = np.asarray(series.x, float).ravel(), np.asarray(series.y, float).ravel()
    n = min(len(x), len(y))
    low = y[:n] if series.low is None else np.asarray(series.low, float).ravel()[:n]
    high = y[:n] if series.high is None else np.asarray(series.high, float).ravel()[:n]
    n = min(n, len(low), len(high))
    rows = np.stack([x[:n], y[:n], low[:n], high[:n]])
    rows = rows[:, (np.abs(rows) < 1e100).all(axis=0)]  # neither NaN nor anything that a scale overflows on
    if not rows.shape[1]:
        return None
    rows = rows[:, np.argsort(rows[0], kind="stable")]
    if rows.shape[1] > MAX_POINTS:
        edges = np.linspace(0, rows.shape[1], MAX_POINTS + 1).astype(int)
        rows = np.stack([rows[:, a:b].mean(axis=1) for a, b in pairwise(edges)], axis=1)
    has_band = series.low is not None and series.high is not None
    return Series(
        series.name,
        rows[0],
        rows[1],
        rows[2] if has_band else None,
        rows[3] if has_band else None,
        series.color,
    )


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers within `[low, high]`, at most about `most` of them."""
    span = high - low
    if not span > 0 or not math.isfinite(span):
        return [low]
    raw = span / max(1, most - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [0.0 if i == 0 else i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def number(value: float, *, percent: bool = False) -> str:
    """A figure as people write it: 87 %, 1.2M, 250k, 0.034, with a true minus sign."""
    if percent:
        return f"{value * 100:.0f}%" if abs(value * 100 - round(value * 100)) < 0.05 else f"{value * 100:.1f}%"
    size = abs(value)
    if size < 1e-12:
        return "0"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            scale = 1e3 if unit == "k" else limit
            return f"{value / scale:.3g}{unit}".replace("-", "\u2212")
    text = f"{value:.4g}" if size >= 1000 else f"{value:.3g}"
    return text.replace("-", "\u2212")


def line_chart(
    series: Sequence[Series],
    *,
    label: str,
    x_label: str = "environment steps",
    percent: bool = False,
    y_range: tuple[float, float] | None = None,
    small: bool = False,
) -> str:
    """A chart of one or more series as a `<figure>`; an empty string when there is nothing finite to draw.

    Args:
        series: the lines, drawn in order.
        label: what the y axis shows; also the chart's accessible name.
        x_label: what the x axis shows.
        percent: y is a rate in 0..1.
        y_range: fixed y axis; by default it fits the data.
        small: a small multiple: fewer ticks, no legend, no table.
    """
    lines = [s for s in map(tidy, series) if s is not None]
    if not lines:
        return ""
    x0, x1 = min(s.x[0] for s in lines), max(s.x[-1] for s in lines)
    y0, y1 = y_range or _fit(lines)
    scale = _Scale(float(x0), float(x1), float(y0), float(y1))
    y_ticks = ticks(scale.y0, scale.y1, 4 if small else 5)
    x_ticks = ticks(scale.x0, scale.x1, 4 if small else 6)
    grid = "".join(f'<line class="grid" x1="0" x2="1000" y1="{scale.y(t)}" y2="{scale.y(t)}"/>' for t in y_ticks)
    if scale.y0 < 0 < scale.y1:
        grid += f'<line class="zero" x1="0" x2="1000" y1="{scale.y(0)}" y2="{scale.y(0)}"/>'
    marks = "".join(_band(s, scale) for s in lines) + "".join(_line(s, scale) for s in lines)
    svg = (
        f'<svg viewBox="0 0 1000 400" preserveAspectRatio="none" role="img" aria-label="{escape(label)}">'
        f"{grid}{marks}{_strips(lines, scale, percent)}</svg>"
    )
    y_words = "".join(
        f'<span style="top:{scale.y(t) / _HEIGHT * 100:.2f}%">{number(t, percent=percent)}</span>' for t in y_ticks
    )
    x_words = "".join(f'<span style="left:{scale.x(t) / _WIDTH * 100:.2f}%">{number(t)}</span>' for t in x_ticks)
    under = "" if small else f"<p class=x-label>{escape(x_label)}</p>{_table(lines, x_label, percent)}"
    return (
        f'<figure class="chart{" small" if small else ""}"><figcaption>{escape(label)}'
        f"{_legend(lines, percent) if not small else _last(lines[0], percent)}</figcaption>"
        f'<div class="plot"><div class="y">{y_words}</div><div class="area">{svg}</div>'
        f'<div class="x">{x_words}</div></div>'
        f"{under}</figure>"
    )


class _Scale:
    """From data to the SVG's coordinates; a flat range is widened."""

    def __init__(self, x0: float, x1: float, y0: float, y1: float) -> None:
        self.x0, self.x1 = (x0, x1) if x1 > x0 else (x0 - 0.5, x0 + 0.5)
        self.y0, self.y1 = (y0, y1) if y1 > y0 else (y0 - 0.5 * (abs(y0) or 1), y0 + 0.5 * (abs(y0) or 1))

    def x(self, value: float) -> float:
        return round((value - self.x0) / (self.x1 - self.x0) * _WIDTH, 2)

    def y(self, value: float) -> float:
        inside = min(max(value, self.y0), self.y1)
        return round((1 - (inside - self.y0) / (self.y1 - self.y0)) * _HEIGHT, 2)


def _fit(lines: Sequence[Series]) -> tuple[float, float]:
    values = np.concatenate([v for s in lines for v in (s.y, s.low, s.high) if v is not None])
    low, high = float(values.min()), float(values.max())
    room = 0.06 * (high - low)
    return low - room, high + room


def _line(s: Series, scale: _Scale) -> str:
    if len(s.x) == 1:  # a line of one point would be invisible
        x, y = scale.x(s.x[0]), scale.y(s.y[0])
        return f'<line class="line c{s.color}" x1="{max(0, x - 12)}" x2="{x + 12}" y1="{y}" y2="{y}"/>'
    points = " ".join(f"{scale.x(x)},{scale.y(y)}" for x, y in zip(s.x, s.y, strict=True))
    return f'<polyline class="line c{s.color}" points="{points}"/>'


def _band(s: Series, scale: _Scale) -> str:
    if s.low is None or s.high is None:
        return ""
    top = [f"{scale.x(x)},{scale.y(y)}" for x, y in zip(s.x, s.high, strict=True)]
    bottom = [f"{scale.x(x)},{scale.y(y)}" for x, y in zip(s.x[::-1], s.low[::-1], strict=True)]
    return f'<polygon class="band f{s.color}" points="{" ".join(top + bottom)}"/>'


def _strips(lines: Sequence[Series], scale: _Scale, percent: bool) -> str:
    """One invisible rectangle per x of the longest series, with all values there as its tooltip."""
    xs = max((s.x for s in lines), key=len)
    middle = (xs[1:] + xs[:-1]) / 2
    edges = np.concatenate([[scale.x0], middle, [scale.x1]])
    out = []
    for x, left, right in zip(xs, edges[:-1], edges[1:], strict=True):
        words = [f"{number(float(x))} steps"]
        for s in lines:
            i = int(np.argmin(np.abs(s.x - x)))
            words.append(f"{s.name}: {_with_band(s, i, percent)}")
        a, b = scale.x(float(left)), scale.x(float(right))
        out.append(
            f'<rect class="strip" x="{a}" y="0" width="{max(0.0, round(b - a, 2))}" height="400">'
            f"<title>{escape(chr(10).join(words))}</title></rect>"
        )
    return "".join(out)


def _with_band(s: Series, i: int, percent: bool) -> str:
    value = number(float(s.y[i]), percent=percent)
    if s.low is None or s.high is None:
        return value
    return f"{value} [{number(float(s.low[i]), percent=percent)}, {number(float(s.high[i]), percent=percent)}]"


def _legend(lines: Sequence[Series], percent: bool) -> str:
    items = "".join(
        f'<li><i class="key b{s.color}"></i>{escape(s.name)} <b>{number(float(s.y[-1]), percent=percent)}</b></li>'
        for s in lines
    )
    return f'<ul class="legend">{items}</ul>'


def _last(s: Series, percent: bool) -> str:
    first, last = number(float(s.y[0]), percent=percent), number(float(s.y[-1]), percent=percent)
    return f'<span class="last">{first} \u2192 <b>{last}</b></span>'


def _table(lines: Sequence[Series], x_label: str, percent: bool) -> str:
    """The figures of a chart, at most a dozen rows."""
    xs = max((s.x for s in lines), key=len)
    picks = np.unique(np.linspace(0, len(xs) - 1, min(12, len(xs))).round().astype(int))
    head = "".join(f"<th>{escape(s.name)}</th>" for s in lines)
    rows = []
    for x in xs[picks]:
        cells = "".join(f"<td>{_with_band(s, int(np.argmin(np.abs(s.x - x))), percent)}</td>" for s in lines)
        rows.append(f"<tr><th>{number(float(x))}</th>{cells}</tr>")
    return (
        "<details><summary>figures</summary><div"
        f" class=scroll><table><thead><tr><th>{escape(x_label)}</th>{head}</tr>"
        f"</thead><tbody>{''.join(rows)}</tbody></table></div></details>"
    )
