"""Draws series as text: lines, cursor and flags, on the axis that all panels share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ltxtui.plot import labels as plot_labels
from ltxtui.plot import line_letters, raster, scales, shading
from ltxtui.plot.canvas import Canvas, add_cells
from ltxtui.plot.downsample import thinned
from ltxtui.plot.labels import GUTTER, RIGHT_GUTTER
from ltxtui.plot.model import Curve, Mark, Plot
from ltxtui.plot.raster import RESOLUTION, Dots, Floats, Style
from ltxtui.plot.rows import TextRow
from ltxtui.plot.shading import Edges

__all__ = ["GUTTER", "RIGHT_GUTTER", "Style", "columns", "curve_text", "draw"]

_WIDE: Final = 36

Engine = Callable[[Floats, Floats, tuple[int, int], Style, tuple[int, int]], Dots]
"""Turns one polyline into dots, with the arguments of `ltxtui.plot.raster.draw_line`."""

_DASHES: Final = {Mark.FIRST: (1, 1), Mark.SECOND: (4, 6), Mark.THIRD: (1, 2), Mark.GHOST: (1, 3)}
"""Columns of dots that are drawn and those in a period; in ASCII lines differ by their characters."""


@dataclass(frozen=True)
class _Scale:
    """The y axis: its round values, where values lie on it, and which row of text shows them."""

    ticks: list[float]
    heights: list[Floats]
    """Of every curve: its values, or their logarithms, NaN where it has none [steps]."""
    references: list[float]
    rows: int

    def part(self, heights: Floats) -> Floats:
        """Heights as parts of the axis, 0 at its lower and 1 at its upper end."""
        return (heights - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])

    def row_of(self, height: float) -> int:
        """The row of text, counted from the top, that shows a height; the nearest one if it lies outside."""
        part = (height - self.ticks[0]) / (self.ticks[-1] - self.ticks[0])
        return self.rows - 1 - max(0, min(self.rows - 1, round(part * (self.rows - 1))))


def columns(width: int) -> int:
    """Columns that are left for lines in a panel of a width."""
    return max(1, width - GUTTER - (RIGHT_GUTTER if width >= _WIDE else 0))


def draw(plot: Plot, width: int, height: int, style: Style, engine: Engine = raster.draw_line) -> list[TextRow]:
    """A plot with y labels, last values, cursor and axis, in `height` rows of exactly `width` cells.

    The y axis spans what is in the window of the x axis; first and last values are those in the window too.
    """
    wide, rows = columns(width), max(1, height - 1)
    bands = [
        (_height(low, plot.log), _height(high, plot.log)) for low, high in shading.by_column(plot.bands, plot.on, wide)
    ]
    plot = thinned(plot, wide, RESOLUTION[style][0])
    scale = _scale(plot, rows, bands)
    canvas = Canvas(wide, rows, style)
    for low, high in bands:
        canvas.shade(shading.cells(scale.part(low), scale.part(high), rows), "band")
    _draw_flags(canvas, plot, scale, wide)
    _draw_lines(canvas, plot, scale, (wide, rows), style, engine)
    _draw_letters(canvas, plot, scale, wide)
    drawn = _compose(canvas, plot, scale, width, style)
    if plot.empty:
        drawn[rows // 2] = plot_labels.message(plot.empty, width, wide, drawn[rows // 2], style)
    if height > 1:
        drawn.append(plot_labels.axis(plot, wide, width, style))
    return drawn


def _scale(plot: Plot, rows: int, bands: Sequence[Edges] = ()) -> _Scale:
    """Round limits around what is in the window of the x axis, and what must be shown besides."""
    visible = plot.on.inside
    heights = [_height(curve.values, plot.log) for curve in plot.curves]
    include, references = (_height(np.asarray(v, np.float64), plot.log) for v in (plot.include, plot.references))
    shown = [h[: len(visible)][visible[: len(h)]] for h in heights]
    limits = scales.limits([*shown, *(edge for band in bands for edge in band)], include)
    ticks = (scales.log_ticks if plot.log else scales.ticks)(*limits, max(5, min(8, rows // 3)))
    return _Scale(ticks, heights, list(references), rows)


def _draw_flags(canvas: Canvas, plot: Plot, scale: _Scale, wide: int) -> None:
    """Horizontal reference lines, and the vertical lines of flags."""
    at = plot.on.columns(wide)
    for value in scale.references:
        if np.isfinite(value) and scale.ticks[0] <= value <= scale.ticks[-1]:
            canvas.across(scale.row_of(value), "ref")
    for flag in plot.flags:
        if flag.line and 0 <= flag.step < len(at) and at[flag.step] >= 0:
            canvas.down(int(at[flag.step]), "ref")


def _draw_lines(canvas: Canvas, plot: Plot, scale: _Scale, size: tuple[int, int], style: Style, engine: Engine) -> None:
    """Every curve; the first one matters most, so it is drawn last."""
    for n in sorted(range(len(plot.curves)), key=lambda n: (-plot.curves[n].mark.value, -n)):
        curve = plot.curves[n]
        x, y = _dots(plot.on.at(size[0]), scale.part(scale.heights[n]), size, style)
        dash = (1, 1) if style is Style.ASCII and curve.mark is not Mark.GHOST else _DASHES[curve.mark]
        canvas.line(engine(x, y, size, style, dash), curve.sample(style), curve.role)


def _draw_letters(canvas: Canvas, plot: Plot, scale: _Scale, wide: int) -> None:
    """The letters of curves that have one, set on their lines."""
    lettered = [(curve.letter, heights) for curve, heights in zip(plot.curves, scale.heights, strict=True)]
    if any(letter for letter, _ in lettered):
        for n, x, y in line_letters.places(lettered, plot.on.columns(wide), wide, scale.row_of):
            canvas.letter(x, y, plot.curves[n].letter, plot.curves[n].role)


def _compose(canvas: Canvas, plot: Plot, scale: _Scale, width: int, style: Style) -> list[TextRow]:
    """The canvas with the y labels left of it, the last values right of it, and the cursor."""
    visible, at = plot.on.inside, plot.on.columns(columns(width))
    ascii_only = style is Style.ASCII
    shown = [(c, v) for c, v in ((c, _in_window(c, visible, plot.log)) for c in plot.curves) if len(v)]
    left = plot_labels.left(shown, scale.ticks, scale.references, scale.row_of, plot.log)
    right = plot_labels.right(shown, scale.row_of, scale.rows, style, plot.log) if width >= _WIDE else {}
    cursor = int(at[plot.cursor]) if plot.cursor is not None and 0 <= plot.cursor < len(at) else -1
    drawn = []
    for y, cells in enumerate(canvas.rows()):
        row = TextRow(width, ascii_only=ascii_only)
        label, role = left.get(y, ("", "tick"))
        row.add(f"{label:>{GUTTER - 1}}", role)
        row.add(("+" if label else "|") if ascii_only else "┤" if label else "│", "axis")
        add_cells(row, *cells, cursor, "|" if ascii_only else "│")
        if y in right:
            row.add(*right[y])
        drawn.append(row.filled())
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

    `labels` name the steps on the axis, if not their numbers; `references` are values to draw a line at. `paint`
    gives a piece of text its colour by its role (`s1` is the first curve); without it the text is plain.
    """
    from ltxtui.plot import plotext_backend

    style = Style.ASCII if ascii_only else Style.BRAILLE
    steps = max((len(c.values) for c in curves), default=0)
    plot = Plot(curves, steps, references=references, labels=labels)
    rows = draw(plot, width, max(3, height - 1), style, plotext_backend.draw_line)
    legend = TextRow(width, ascii_only=ascii_only)
    legend.add(" " * GUTTER)
    for curve in curves:
        legend.add(f"{curve.sample(style)} {curve.label}   ", curve.role)
    if paint is None:
        return "\n".join(row.text.rstrip() for row in [legend, *rows])
    return "\n".join("".join(paint(*span[:2]) for span in row.spans).rstrip() for row in [legend, *rows])


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
    cursor is on the value; one row of cells spans several rows of dots, and ticks name a row's middle."""
    across, down = RESOLUTION[style]
    wide = size[0] * across
    count = min(len(at), len(heights))
    x = np.floor((at[:count] + 0.5) * across)
    with np.errstate(invalid="ignore"):  # an infinite value has no place in a plot of one row
        y = (heights[:count] * (size[1] - 1) + 0.5) * down - 0.5
    return scales.thin(*scales.near(x, y, wide - 1), wide)
