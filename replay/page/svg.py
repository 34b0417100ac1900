"""Charts as inline SVG: no script, no style sheet and no other file is needed to see them.

Colours are presentation attributes, which any style sheet overrides by the classes.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.floating[Any]]

WIDTH: Final = 440
LEFT, RIGHT, TOP, BOTTOM = 50, 8, 6, 18
"""Margins of the plot, for the labels of its axes."""
COLOURS: Final = {"a": "#0072b2", "b": "#d55e00", "c": "#009e73", "d": "#cc79a7", "e": "#e69f00", "f": "#56b4e9"}
"""Of lines by their classes; they can be told apart by the colour-blind (Okabe and Ito)."""
MOST_POINTS: Final = 600
"""A longer line is thinned to its lowest and highest values."""


@dataclass(frozen=True)
class SvgLine:
    """A line of a chart; `style` is a class of COLOURS, or `ghost` for what was planned. NaN is a gap."""

    label: str
    values: Values
    style: str = "a"


@dataclass(frozen=True)
class SvgMark:
    """An event at a place of the x axis."""

    x: float
    text: str
    style: str = "event"


@dataclass(frozen=True)
class SvgPlot:
    """Lines over one x axis.

    Attributes:
        x: place of each point [points], rising.
        lines: each with as many values.
        include: values that the y axis always shows.
        references: values at which a line is drawn.
        marks: events.
        image: a picture as a data URI that fills the plot in place of lines, and the lowest and highest y.
    """

    x: Values
    lines: Sequence[SvgLine] = ()
    include: Sequence[float] = ()
    references: Sequence[float] = ()
    marks: Sequence[SvgMark] = ()
    image: tuple[str, float, float] | None = None


def draw(plot: SvgPlot, height: int = 130) -> str:
    """The chart as an `<svg>` element."""
    low, high = _limits(plot)
    x0, x1 = (float(plot.x[0]), float(plot.x[-1])) if len(plot.x) else (0.0, 1.0)
    x1 = x1 if x1 > x0 else x0 + 1
    right, bottom = WIDTH - RIGHT, height - BOTTOM

    def across(x: float) -> float:
        return LEFT + (x - x0) / (x1 - x0) * (right - LEFT)

    def up(y: float) -> float:
        return bottom - (y - low) / (high - low) * (bottom - TOP)

    parts = [f'<svg class="plot" viewBox="0 0 {WIDTH} {height}" role="img" data-x0="{x0:g}" data-x1="{x1:g}">']
    if plot.image is not None:
        parts.append(
            f'<image href="{plot.image[0]}" x="{LEFT}" y="{TOP}" width="{right - LEFT}" height="{bottom - TOP}" '
            'preserveAspectRatio="none" image-rendering="pixelated"/>'
        )
    for tick in ticks(min(low, high), max(low, high), 4):
        if plot.image is not None and tick != round(tick):  # rows of a picture are counted
            continue
        y = up(tick)
        parts.append(_rule(LEFT, y, right, y, "grid"))
        parts.append(_label(LEFT - 4, y + 3.5, number(tick), "end"))
    for tick in ticks(x0, x1, 6):
        parts.append(_label(across(tick), height - 5, number(tick), "middle"))
    parts += [
        _rule(LEFT, up(value), right, up(value), "reference") for value in plot.references if low <= value <= high
    ]
    for mark in plot.marks:
        if x0 <= mark.x <= x1:
            title = f"<title>{html.escape(mark.text)}</title>"
            parts.append(_rule(across(mark.x), TOP, across(mark.x), bottom, mark.style, title))
    for line in plot.lines:
        colour = COLOURS.get(line.style, "#888888")
        dashes = ' stroke-dasharray="3 3"' if line.style == "ghost" else ""
        if points := path(plot.x, line.values, across, up):
            parts.append(f'<path class="line {line.style}" d="{points}" fill="none" stroke="{colour}"{dashes}/>')
    parts.append(f'<line class="cursor" x1="{LEFT}" x2="{LEFT}" y1="{TOP}" y2="{bottom}" visibility="hidden"/></svg>')
    return "".join(parts)


def _rule(x1: float, y1: float, x2: float, y2: float, style: str, inside: str = "") -> str:
    colours = {"grid": "#8888", "reference": "#888", "shock": "#d55e00"}
    dashes = ' stroke-dasharray="2 3"' if style != "grid" else ""
    width = 0.4 if style == "grid" else 1
    return (
        f'<line class="{style}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{colours.get(style, "#888")}" stroke-width="{width}"{dashes}>{inside}</line>'
    )


def _label(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="10" fill="currentColor">{text}</text>'


def path(x: Values, values: Values, across: Any, up: Any) -> str:
    """The points as path data; a single point between gaps is a short dash."""
    found: list[str] = []
    pen = False
    kept = thinned(values)
    for i, n in enumerate(kept):
        if not math.isfinite(values[n]):
            pen = False
            continue
        at = f"{across(float(x[n])):.1f} {up(float(values[n])):.1f}"
        alone = not pen and (i + 1 == len(kept) or not math.isfinite(values[kept[i + 1]]))
        found.append(f"M{at}h1" if alone else f"L{at}" if pen else f"M{at}")
        pen = True
    return "".join(found)


def thinned(values: Values) -> list[int]:
    """Indices of the points that are drawn: all, or the lowest and highest of each of many equal parts."""
    count = len(values)
    if count <= MOST_POINTS:
        return list(range(count))
    found: set[int] = {0, count - 1}
    for part in np.array_split(np.arange(count), MOST_POINTS // 2):
        known = part[np.isfinite(values[part])]
        if len(known) < len(part):
            found.add(int(part[~np.isfinite(values[part])][0]))
        if len(known):
            found |= {int(known[np.argmin(values[known])]), int(known[np.argmax(values[known])])}
    return sorted(found)


def _limits(plot: SvgPlot) -> tuple[float, float]:
    if plot.image is not None:
        return plot.image[1], plot.image[2]
    known = [line.values[np.isfinite(line.values)] for line in plot.lines]
    found = np.concatenate([np.asarray(plot.include, float), *(k.astype(float) for k in known)])
    if not len(found):
        return 0.0, 1.0
    low, high = float(found.min()), float(found.max())
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        room = abs(low) * 0.1 or 1.0
        return low - room, high + room
    room = (high - low) * 0.04
    return low - room, high + room


def ticks(low: float, high: float, most: int) -> Iterator[float]:
    """Round numbers within two limits, about as many as wanted."""
    raw = (high - low) / most
    if not math.isfinite(raw) or raw <= 0:
        return
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1):
        yield n * step + 0.0


def number(value: float, digits: int = 4) -> str:
    """A number as text, with few digits."""
    text = f"{value:.{digits}g}"
    return text.replace("e-0", "e-").replace("e+0", "e").replace("-", "−") if math.isfinite(value) else "–"
