"""Draws series as text. The only module that knows plotext, and its private names."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ltxtui import scales
from ltxtui.spans import Row
from ltxtui.text import number, to_ascii

GUTTER: Final = 7
"""Columns left of every plot, for its y labels and its axis: one width, so that steps line up over all panels."""
RIGHT_GUTTER: Final = 8
"""Columns right of a plot that is wide enough, for the last values."""
_WIDE: Final = 36


class Style(Enum):
    """How lines are drawn."""

    BRAILLE = "braille"
    BLOCK = "block"
    ASCII = "ASCII"


class Mark(Enum):
    """What tells one line from another where colours do not; the number is its rank in a panel."""

    FIRST = 0  # solid, ASCII *
    SECOND = 1  # dashed, ASCII o
    THIRD = 2  # dotted, ASCII +
    GHOST = 3  # sparse dots, faint: what is planned

    @property
    def role(self) -> str:
        return ("s1", "s2", "s3", "ghost")[self.value]

    def sample(self, style: Style) -> str:
        """One character that stands for the line in a legend."""
        return ("*o+." if style is Style.ASCII else "━╍┉·")[self.value]


# plotext's marker, dots per cell across and down.
_RESOLUTION: Final = {Style.BRAILLE: ("braille", 2, 4), Style.BLOCK: ("hd", 2, 2), Style.ASCII: (None, 1, 1)}
# Columns of dots that are drawn and those in a period; ASCII tells lines apart by their characters.
_DASHES: Final = {Mark.FIRST: (1, 1), Mark.SECOND: (4, 6), Mark.THIRD: (1, 2), Mark.GHOST: (1, 3)}
_BLOCKS: Final = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"


@dataclass(frozen=True)
class Curve:
    """One line: a value per step, from step 0 on."""

    label: str
    values: NDArray[np.floating]
    mark: Mark = Mark.FIRST
    symbol: str = ""
    """One ASCII character to draw it with in ASCII, where there are more lines than marks."""

    def sample(self, style: Style) -> str:
        """One character that stands for the line in a legend."""
        return self.symbol if self.symbol and style is Style.ASCII else self.mark.sample(style)


@dataclass(frozen=True)
class Plot:
    """Lines over the steps of a stage, with values that the y axis must show and lines to refer to."""

    curves: Sequence[Curve]
    steps: int
    include: Sequence[float] = ()
    references: Sequence[float] = ()
    empty: str = ""
    """What to say where there is nothing to draw."""
    cursor: int | None = None
    labels: Sequence[str] = ()
    """What the axis says of each step, if not its number."""


def columns(width: int) -> int:
    """Columns that are left for lines in a panel of a width."""
    return max(1, width - GUTTER - (RIGHT_GUTTER if width >= _WIDE else 0))


def draw(plot: Plot, width: int, height: int, style: Style) -> list[Row]:
    """A plot with y labels, last values, cursor and step axis, in `height` rows of exactly `width` cells."""
    wide, rows = columns(width), max(1, height - 1)
    ticks = scales.ticks(*scales.limits([c.values for c in plot.curves], plot.include), max(5, min(8, rows // 3)))
    low, high = ticks[0], ticks[-1]
    cells: list[list[tuple[str, str]]] = [[(" ", "")] * wide for _ in range(rows)]

    def row_of(value: float) -> int:
        return rows - 1 - max(0, min(rows - 1, round((value - low) / (high - low) * (rows - 1))))

    for value in plot.references:
        if low <= value <= high:
            cells[row_of(value)] = [("-" if style is Style.ASCII else "┄", "ref")] * wide
    # The first curve matters most, so it is drawn last.
    for curve in sorted(reversed(plot.curves), key=lambda c: -c.mark.value):
        data = np.ascontiguousarray(curve.values, np.float64).tobytes()
        lines = _lines(data, plot.steps, (wide, rows), (low, high), style, curve.mark, curve.sample(style))
        for y, line in enumerate(lines):
            for x, character in enumerate(line):
                if character != " ":
                    under, role = cells[y][x]
                    merged = character if role in ("", "ref") else _merge(under, character)
                    cells[y][x] = (merged, curve.mark.role)
    at = scales.column(plot.cursor, plot.steps, wide) if plot.cursor is not None and plot.steps else None
    left = _left_labels(plot, ticks, row_of, rows)
    right = _right_labels(plot, row_of, rows, style) if width >= _WIDE else {}
    drawn = []
    for y in range(rows):
        row = Row(width, ascii_only=style is Style.ASCII)
        label, role = left.get(y, ("", "tick"))
        row.add(f"{label:>{GUTTER - 1}}", role)
        row.add(("+" if label else "|") if style is Style.ASCII else "┤" if label else "│", "axis")
        _add_cells(row, cells[y], at, "|" if style is Style.ASCII else "│")
        if y in right:
            row.add(*right[y])
        drawn.append(row.filled())
    if plot.empty:
        drawn[rows // 2] = _message(plot.empty, width, wide, drawn[rows // 2], style)
    if height > 1:
        drawn.append(_step_axis(plot, wide, width, at, style))
    return drawn


def curve_text(
    curves: Sequence[Curve],
    width: int,
    height: int,
    *,
    ascii_only: bool = False,
    labels: Sequence[str] = (),
    references: Sequence[float] = (),
    paint: Callable[[str, str], str] | None = None,
) -> str:
    """Curves as text with axes and a legend, for a terminal that scrolls or a file.

    `labels` are what the axis says of each step, if not its number; `references` are values to draw a line at. `paint`
    gives a piece of text its colour by its role (`s1` is the first curve); without it the text is plain.
    """
    style = Style.ASCII if ascii_only else Style.BRAILLE
    steps = max((len(c.values) for c in curves), default=0)
    rows = draw(Plot(curves, steps, references=references, labels=labels), width, max(3, height - 1), style)
    legend = Row(width, ascii_only=ascii_only)
    legend.add(" " * GUTTER)
    for curve in curves:
        legend.add(f"{curve.sample(style)} {curve.label}   ", curve.mark.role)
    if paint is None:
        return "\n".join(row.text.rstrip() for row in [legend, *rows])
    return "\n".join("".join(paint(*span[:2]) for span in row.spans).rstrip() for row in [legend, *rows])


@lru_cache(maxsize=128)
def _lines(
    data: bytes, steps: int, size: tuple[int, int], span: tuple[float, float], style: Style, mark: Mark, symbol: str
) -> tuple[str, ...]:
    """One curve as rows of characters, top row first; cached, since a moved cursor changes no line."""
    width, height = size
    marker, across, down = _RESOLUTION[style]
    values = np.frombuffer(data, np.float64)
    dots_wide, dots_high = width * across, height * down
    steps_at = np.arange(len(values)) * ((width - 1) / max(1, steps - 1))
    # A cell's dots belong to the column that `scales.column` names, so that the cursor stands on the value.
    places = np.minimum(np.floor((steps_at + 0.5) * across), dots_wide - 1)
    # One row of cells spans several rows of dots; ticks name a row's middle.
    heights = ((values - span[0]) / (span[1] - span[0]) * (height - 1) + 0.5) * down - 0.5
    monitor = _new_monitor(dots_wide, dots_high, size)
    drawn = False
    for part in scales.runs(values):
        x, y = scales.thin(places[part], np.clip(heights[part], 0, dots_high - 1), dots_wide)
        on, period = (1, 1) if style is Style.ASCII and mark is not Mark.GHOST else _DASHES[mark]
        if period > 1:
            x, y = _dashed(x, y, on, period)
        if len(x):
            monitor.draw(x.tolist(), y.tolist(), marker=marker or symbol, lines=period == 1 and len(x) > 1)
            drawn = True
    if not drawn:
        return (" " * width,) * height
    monitor.build_plot()
    return tuple("".join(line) for line in reversed(monitor.matrix.marker))


def _dashed(x: scales.Floats, y: scales.Floats, on: int, period: int) -> tuple[scales.Floats, scales.Floats]:
    """The dots of a polyline in the columns that its dash pattern leaves."""
    if len(x) == 1:
        return x, y
    fine = np.arange(x[0], x[-1] + 0.125, 0.25)
    dots = np.unique(np.stack([np.round(fine), np.round(np.interp(fine, x, y))]), axis=1)
    dots = dots[:, dots[0] % period < on]
    return dots[0], dots[1]


def _new_monitor(dots_wide: int, dots_high: int, size: tuple[int, int]) -> Any:
    """plotext's canvas without its frame and ticks; its public interface knows one global figure only."""
    from plotext._date import date_class
    from plotext._monitor import monitor_class

    monitor = monitor_class()
    monitor.set_size(list(size))
    monitor.set_date(date_class())
    monitor.set_frame(False)
    monitor.set_xfrequency(0)
    monitor.set_yfrequency(0)
    monitor.set_xlim(0, dots_wide - 1)
    monitor.set_ylim(0, dots_high - 1)
    return monitor


def _merge(under: str, over: str) -> str:
    """Two lines in one cell: the dots of both where characters are made of dots."""
    if "⠀" <= under <= "⣿" and "⠀" <= over <= "⣿":
        return chr(ord(under) | ord(over))
    if under in _BLOCKS and over in _BLOCKS:
        return _BLOCKS[_BLOCKS.index(under) | _BLOCKS.index(over)]
    return over


def _add_cells(row: Row, cells: list[tuple[str, str]], at: int | None, line: str) -> None:
    """The canvas as spans of one role each; the cursor's column stands alone."""
    start = 0
    for x in range(1, len(cells) + 1):
        if x == len(cells) or cells[x][1] != cells[start][1] or at in (x, x - 1):
            text, role = "".join([c for c, _ in cells[start:x]]), cells[start][1]
            if start == at:
                row.put(line if role in ("", "ref") else text, role or "cursor", cursor=True)
            else:
                row.put(text, role)
            start = x


def _left_labels(
    plot: Plot, ticks: list[float], row_of: Callable[[float], int], rows: int
) -> dict[int, tuple[str, str]]:
    """Labels of the y axis: first values in their line's colour, round values where there is room."""
    labels: dict[int, tuple[str, str]] = {}
    for curve in plot.curves:
        finite = np.flatnonzero(np.isfinite(curve.values))
        if finite.size and curve.mark is not Mark.GHOST:
            first = float(curve.values[finite[0]])
            labels.setdefault(row_of(first), (number(first), curve.mark.role))
    decimals = max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    named = [v for v in plot.references if ticks[0] <= v <= ticks[-1]]
    for value in (ticks[0], ticks[-1], *named, *ticks[1:-1]):
        at = row_of(value)
        if not any(y in labels for y in ((at,) if value in (ticks[0], ticks[-1], *named) else (at - 1, at, at + 1))):
            text = f"{value:.{decimals}f}"
            labels[at] = (text if len(text) < GUTTER else number(value, GUTTER - 1), "tick")
    return labels


def _right_labels(plot: Plot, row_of: Callable[[float], int], rows: int, style: Style) -> dict[int, tuple[str, str]]:
    """The last value of every line, beside where it ends or in the nearest free row."""
    labels: dict[int, tuple[str, str]] = {}
    for curve in plot.curves:
        finite = np.flatnonzero(np.isfinite(curve.values))
        if not finite.size or curve.mark is Mark.GHOST:
            continue
        last = float(curve.values[finite[-1]])
        free = sorted((y for y in range(rows) if y not in labels), key=lambda y: abs(y - row_of(last)))
        if free:
            labels[free[0]] = (f" {curve.sample(style)}{number(last)}", curve.mark.role)
    return labels


def _message(text: str, width: int, wide: int, under: Row, style: Style) -> Row:
    row = Row(width, ascii_only=style is Style.ASCII)
    text = to_ascii(text) if style is Style.ASCII else text
    for span in under.spans[:2]:
        row.add(*span[:2])
    row.add(" " * max(1, (wide - len(text)) // 2))
    row.add(text, "dim")
    return row.filled()


def _step_axis(plot: Plot, wide: int, width: int, at: int | None, style: Style) -> Row:
    """The labels of the steps: first and last, round ones between, the cursor's step on top of them."""
    row = Row(width, ascii_only=style is Style.ASCII)
    row.add(" " * GUTTER)
    if plot.steps < 1:
        return row.filled()
    room = width - GUTTER
    taken: list[tuple[int, int, str, str]] = []

    def place(step: int, role: str) -> None:
        text = plot.labels[step] if plot.labels else str(step)
        start = max(0, min(scales.column(step, plot.steps, wide) - len(text) // 2, room - len(text)))
        if all(start > s + len(t) or start + len(text) < s for s, _, t, _ in taken):
            taken.append((start, step, text, role))

    if plot.cursor is not None and at is not None:
        place(plot.cursor, "here")
    distance = max(1, int(scales.round_up(plot.steps * 7 / wide)))
    for step in dict.fromkeys([0, plot.steps - 1, *range(0, plot.steps, distance)]):
        place(step, "tick")
    for start, _, text, role in sorted(taken):
        row.add(" " * (GUTTER + start - row.used))
        row.add(text, role)
    return row.filled()
