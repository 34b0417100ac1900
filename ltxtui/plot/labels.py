"""The labels around a plot: values left and right of it, the axis below it, a message where it is empty."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ltxtui.plot import scales
from ltxtui.plot.axis import INFO
from ltxtui.plot.model import Curve, Plot
from ltxtui.plot.raster import Style
from ltxtui.plot.rows import TextRow
from ltxtui.plot.text import number, significant, to_ascii

GUTTER: Final = 7
"""Columns left of every plot, for its y labels and its axis: one width, so that steps line up over all panels."""
RIGHT_GUTTER: Final = 8
"""Columns right of a plot that is wide enough, for the last values."""

Label = tuple[str, str]
"""A text and its role."""
Shown = Sequence[tuple[Curve, NDArray[np.floating]]]
"""Curves that have a value in the window, with their finite values there."""


def left(shown: Shown, ticks: list[float], references: list[float], row_of: Callable[[float], int], log: bool
         ) -> dict[int, Label]:  # fmt: skip
    """Labels of the y axis by row: first values in their line's colour, round values where there is room.

    Ticks and references are places on the axis, logarithms where it is logarithmic; `row_of` takes such places.
    """
    labels: dict[int, Label] = {}
    for curve, values in shown:
        first = float(values[0])
        labels.setdefault(row_of(math.log10(first) if log else first), (number(first), curve.role))
    decimals = 0 if log else max(0, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9))
    named = [v for v in references if ticks[0] <= v <= ticks[-1]]
    for value in (ticks[0], ticks[-1], *named, *ticks[1:-1]):
        at = row_of(value)
        if not any(y in labels for y in ((at,) if value in (ticks[0], ticks[-1], *named) else (at - 1, at, at + 1))):
            text = _tick(10**value) if log else f"{value:.{decimals}f}"
            labels[at] = (text if len(text) < GUTTER else number(10**value if log else value, GUTTER - 1), "tick")
    return labels


def right(shown: Shown, row_of: Callable[[float], int], rows: int, style: Style, log: bool) -> dict[int, Label]:
    """The last value of every line, next to where it ends or in the nearest free row."""
    labels: dict[int, Label] = {}
    for curve, values in shown:
        last = float(values[-1])
        at = row_of(math.log10(last) if log else last)
        free = sorted((y for y in range(rows) if y not in labels), key=lambda y: abs(y - at))
        if free:
            labels[free[0]] = (f"{curve.sample(style)} {number(last)}", curve.role)
    return labels


def message(text: str, width: int, wide: int, under: TextRow, style: Style) -> TextRow:
    """A row with a message, and the y label that the row had."""
    row = TextRow(width, ascii_only=style is Style.ASCII)
    text = to_ascii(text) if style is Style.ASCII else text
    for span in under.spans[:2]:
        row.add(*span[:2])
    row.add(" " * max(1, (wide - len(text)) // 2))
    row.add(text, "dim")
    return row.filled()


def axis(plot: Plot, wide: int, width: int, style: Style) -> TextRow:
    """The row below a plot: the cursor's place, letters of what happened, both ends, round values, and the unit."""
    row = TextRow(width, ascii_only=style is Style.ASCII)
    row.add(" " * GUTTER)
    ruler = plot.on
    if not len(ruler.places):
        return row.filled()
    room = width - GUTTER
    columns = ruler.columns(wide)
    taken: list[tuple[int, str, str]] = []

    def place(column: int, text: str, role: str, apart: int = 1) -> None:
        text = to_ascii(text) if style is Style.ASCII else text
        start = max(0, min(column - len(text) // 2, room - len(text)))
        if all(start >= s + len(t) + apart or start + len(text) + apart <= s for s, t, _ in taken):
            taken.append((start, text, role))

    if plot.cursor is not None and 0 <= plot.cursor < len(columns) and columns[plot.cursor] >= 0:
        text = plot.labels[plot.cursor] if plot.labels else ruler.text(plot.cursor)
        place(int(columns[plot.cursor]), text, "here")
    for flag in plot.flags:
        if 0 <= flag.step < len(columns) and columns[flag.step] >= 0:
            place(int(columns[flag.step]), flag.letter, flag.role, apart=0)
    if plot.ruler is not None and room > wide + len(INFO[ruler.mode].unit):
        place(room, INFO[ruler.mode].unit, "dim")
    for column, text in _named(plot, columns, wide) if plot.labels else ruler.ticks(wide):
        place(column, text, "tick")
    for start, text, role in sorted(taken):
        row.add(" " * (GUTTER + start - row.used))
        row.add(text, role)
    return row.filled()


def _named(plot: Plot, columns: NDArray[np.intp], wide: int) -> list[tuple[int, str]]:
    """Steps under names of their own: both ends, and others at equal distances."""
    steps = min(len(columns), len(plot.labels))
    distance = max(1, int(scales.round_up(steps * 7 / wide)))
    named = dict.fromkeys([0, steps - 1, *range(0, steps, distance)])
    return [(int(columns[step]), plot.labels[step]) for step in named if columns[step] >= 0]


def _tick(value: float) -> str:
    return significant(value) if value < 1e5 else number(value, 5)
