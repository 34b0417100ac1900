"""Draws series as text: lines, cursor and what happened, on the axis that all panels share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ltxtui.plot import labels as plot_labels
from ltxtui.plot import line_letters, raster, scales
from ltxtui.plot.axis import Ruler, counted
from ltxtui.plot.downsample import thinned
from ltxtui.plot.labels import GUTTER, RIGHT_GUTTER
from ltxtui.plot.raster import RESOLUTION, Dots, Floats, Style
from ltxtui.plot.rows import Row

__all__ = ["GUTTER", "RIGHT_GUTTER", "Curve", "Flag", "Mark", "Plot", "Style", "columns", "curve_text", "draw"]

_WIDE: Final = 36
_FAINT: Final = ("", "ref")
"""Roles that a line of the cursor may be drawn over."""

Engine = Callable[[Floats, Floats, tuple[int, int], Style, tuple[int, int]], Dots]
"""What turns one polyline into dots: `ltxtui.plot.raster.draw_line` says what it is given."""


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


# Columns of dots that are drawn and those in a period; ASCII tells lines apart by their characters.
_DASHES: Final = {Mark.FIRST: (1, 1), Mark.SECOND: (4, 6), Mark.THIRD: (1, 2), Mark.GHOST: (1, 3)}


@dataclass(frozen=True)
class Curve:
    """One line: a value per step, from step 0 on."""

    label: str
    values: NDArray[np.floating]
    mark: Mark = Mark.FIRST
    symbol: str = ""
    """One ASCII character to draw it with in ASCII, where there are more lines than marks."""
    letter: str = ""
    """One character that is set on the line here and there in every style, so that many lines need no colours."""
    paint: str = ""
    """Its role, where there are more lines than marks have colours."""

    @property
    def role(self) -> str:
        return self.paint or self.mark.role

    def sample(self, style: Style) -> str:
        """One character that stands for the line in a legend."""
        if self.letter:
            return self.letter
        return self.symbol if self.symbol and style is Style.ASCII else self.mark.sample(style)


@dataclass(frozen=True)
class Flag:
    """A step that something is said of by a letter on the axis; with a `line`, through the whole plot."""

    step: int
    letter: str
    role: str = "tick"
    line: bool = True


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
    ruler: Ruler | None = None
    """Where the steps lie; by their numbers if it is not given."""
    flags: Sequence[Flag] = ()
    log: bool = False
    """A logarithmic y axis: values of 0 and less are not drawn."""

    @cached_property
    def on(self) -> Ruler:
        return self.ruler or counted(self.steps)


def columns(width: int) -> int:
    """Columns that are left for lines in a panel of a width."""
    return max(1, width - GUTTER - (RIGHT_GUTTER if width >= _WIDE else 0))


def draw(plot: Plot, width: int, height: int, style: Style, engine: Engine = raster.draw_line) -> list[Row]:
    """A plot with y labels, last values, cursor and axis, in `height` rows of exactly `width` cells.

    The y axis spans what is in the window of the x axis; first and last values are those in the window too.
    """
    wide, rows = columns(width), max(1, height - 1)
    plot = thinned(plot, wide, RESOLUTION[style][0])
    visible, at = plot.on.inside, plot.on.columns(wide)
    heights = [_height(curve.values, plot.log) for curve in plot.curves]
    include, references = (_height(np.asarray(v, np.float64), plot.log) for v in (plot.include, plot.references))
    limits = scales.limits([h[: len(visible)][visible[: len(h)]] for h in heights], include)
    ticks = (scales.log_ticks if plot.log else scales.ticks)(*limits, max(5, min(8, rows // 3)))
    low, high = ticks[0], ticks[-1]

    def row_of(value: float) -> int:
        return rows - 1 - max(0, min(rows - 1, round((value - low) / (high - low) * (rows - 1))))

    canvas = _Canvas(wide, rows, style)
    for value in references[np.isfinite(references)]:
        if low <= value <= high:
            canvas.across(row_of(value), "ref")
    for flag in plot.flags:
        if flag.line and 0 <= flag.step < len(at) and at[flag.step] >= 0:
            canvas.down(int(at[flag.step]), "ref")
    # The first curve matters most, so it is drawn last.
    for n in sorted(range(len(plot.curves)), key=lambda n: (-plot.curves[n].mark.value, -n)):
        x, y = _dots(plot.on.at(wide), (heights[n] - low) / (high - low), (wide, rows), style)
        curve = plot.curves[n]
        dash = (1, 1) if style is Style.ASCII and curve.mark is not Mark.GHOST else _DASHES[curve.mark]
        canvas.line(engine(x, y, (wide, rows), style, dash), curve.sample(style), curve.role)
    lettered = [(c.letter, h) for c, h in zip(plot.curves, heights, strict=True)]
    if any(letter for letter, _ in lettered):
        for n, x_, y_ in line_letters.places(lettered, at, wide, row_of):
            canvas.letter(x_, y_, plot.curves[n].letter, plot.curves[n].role)
    shown = [(c, v) for c, v in ((c, _in_window(c, visible, plot.log)) for c in plot.curves) if len(v)]
    left = plot_labels.left(shown, ticks, list(references), row_of, plot.log)
    right = plot_labels.right(shown, row_of, rows, style, plot.log) if width >= _WIDE else {}
    cursor = int(at[plot.cursor]) if plot.cursor is not None and 0 <= plot.cursor < len(at) else -1
    drawn = []
    for y_, cells in enumerate(canvas.rows()):
        row = Row(width, ascii_only=style is Style.ASCII)
        label, role = left.get(y_, ("", "tick"))
        row.add(f"{label:>{GUTTER - 1}}", role)
        row.add(("+" if label else "|") if style is Style.ASCII else "┤" if label else "│", "axis")
        _add_cells(row, *cells, cursor, "|" if style is Style.ASCII else "│")
        if y_ in right:
            row.add(*right[y_])
        drawn.append(row.filled())
    if plot.empty:
        drawn[rows // 2] = plot_labels.message(plot.empty, width, wide, drawn[rows // 2], style)
    if height > 1:
        drawn.append(plot_labels.axis(plot, wide, width, style))
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
    """Curves as text with axes and a legend, for a terminal that scrolls or a file. Drawn by plotext.

    `labels` are what the axis says of each step, if not its number; `references` are values to draw a line at. `paint`
    gives a piece of text its colour by its role (`s1` is the first curve); without it the text is plain.
    """
    from ltxtui.plot import plotext_backend

    style = Style.ASCII if ascii_only else Style.BRAILLE
    steps = max((len(c.values) for c in curves), default=0)
    plot = Plot(curves, steps, references=references, labels=labels)
    rows = draw(plot, width, max(3, height - 1), style, plotext_backend.draw_line)
    legend = Row(width, ascii_only=ascii_only)
    legend.add(" " * GUTTER)
    for curve in curves:
        legend.add(f"{curve.sample(style)} {curve.label}   ", curve.role)
    if paint is None:
        return "\n".join(row.text.rstrip() for row in [legend, *rows])
    return "\n".join("".join(paint(*span[:2]) for span in row.spans).rstrip() for row in [legend, *rows])


class _Canvas:
    """Cells with a character and a role each; lines that meet in a cell share its dots."""

    def __init__(self, wide: int, rows: int, style: Style) -> None:
        self._style = style
        self._dots = np.zeros((rows, wide), np.uint8)
        self._beneath = np.full((rows, wide), ord(" "), np.uint32)
        self._above = np.zeros((rows, wide), np.uint32)
        self._roles = np.zeros((rows, wide), np.uint8)
        self._names = [""]

    def across(self, y: int, role: str) -> None:
        self._beneath[y], self._roles[y] = ord("-" if self._style is Style.ASCII else "┄"), self._role(role)

    def down(self, x: int, role: str) -> None:
        self._beneath[:, x], self._roles[:, x] = ord(":" if self._style is Style.ASCII else "┊"), self._role(role)

    def line(self, dots: Dots, symbol: str, role: str) -> None:
        on = dots > 0
        self._dots |= dots
        self._roles[on] = self._role(role)
        if self._style is Style.ASCII:
            self._beneath[on] = ord(symbol)

    def letter(self, x: int, y: int, letter: str, role: str) -> None:
        self._above[y, x], self._roles[y, x] = ord(letter), self._role(role)

    def rows(self) -> list[tuple[str, list[tuple[int, str]]]]:
        """Each row's text, and where in it which role begins."""
        codes = raster.characters(self._dots, self._style, self._beneath)
        codes = np.where(self._above > 0, self._above, codes).astype("<u4")
        found = []
        for line, roles in zip(codes, self._roles, strict=True):
            starts = np.flatnonzero(np.diff(roles, prepend=255))
            named = [(x, self._names[role]) for x, role in zip(starts.tolist(), roles[starts].tolist(), strict=True)]
            found.append((line.tobytes().decode("utf-32-le"), named))
        return found

    def _role(self, role: str) -> int:
        if role not in self._names:
            self._names.append(role)
        return self._names.index(role)


def _height(values: NDArray[np.floating], log: bool) -> Floats:
    """Values as places on the y axis: themselves, or their decimal logarithms, NaN where they have none."""
    places = np.array(values, np.float64)
    if log:
        with np.errstate(divide="ignore", invalid="ignore"):
            places = np.log10(places)
        places[~np.isfinite(places)] = np.nan
    return places


def _in_window(curve: Curve, visible: NDArray[np.bool_], log: bool) -> NDArray[np.floating]:
    """The finite values of a curve that the axis can show, in the order of the steps; none of what is only planned."""
    values = np.asarray(curve.values[: len(visible)])
    known = np.isfinite(values) & visible[: len(values)] & (curve.mark is not Mark.GHOST)
    return np.asarray(values[known & (values > 0) if log else known])


def _dots(at: Floats, heights: Floats, size: tuple[int, int], style: Style) -> tuple[Floats, Floats]:
    """A series as a polyline of few dots. A cell's dots belong to the column that `Ruler.columns` names, so that the
    cursor stands on the value; one row of cells spans several rows of dots, and ticks name a row's middle."""
    across, down = RESOLUTION[style]
    wide = size[0] * across
    count = min(len(at), len(heights))
    x = np.floor((at[:count] + 0.5) * across)
    y = (heights[:count] * (size[1] - 1) + 0.5) * down - 0.5
    return scales.thin(*scales.near(x, y, wide - 1), wide)


def _add_cells(row: Row, text: str, roles: list[tuple[int, str]], cursor: int, line: str) -> None:
    """The canvas as spans of one role each; the cursor's column stands alone."""
    ends = [x for x, _ in roles[1:]] + [len(text)]
    for (start, role), end in zip(roles, ends, strict=True):
        if start <= cursor < end:
            if start < cursor:
                row.put(text[start:cursor], role)
            row.put(line if role in _FAINT else text[cursor], role or "cursor", cursor=True)
            start = cursor + 1
        if start < end:
            row.put(text[start:end], role)
