"""The same lines drawn by plotext, for plots that are printed once. The only module that knows its private names."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ltxtui.plot import scales
from ltxtui.plot.raster import BLOCKS, BRAILLE, RESOLUTION, Dots, Floats, Style

_MARKERS: Final = {Style.BRAILLE: "braille", Style.BLOCK: "hd", Style.ASCII: "*"}


def draw_line(x: Floats, y: Floats, size: tuple[int, int], style: Style, dash: tuple[int, int]) -> Dots:
    """As `ltxtui.plot.raster.draw_line`, for points on the canvas."""
    across, down = RESOLUTION[style]
    monitor = _new_monitor(size[0] * across, size[1] * down, size)
    drawn = False
    for part in scales.runs(np.where(np.isfinite(x), y, np.nan)):
        dashed = dash[1] > dash[0]
        px, py = _dashed(x[part], y[part], *dash) if dashed else (x[part], y[part])
        if len(px):
            monitor.draw(px.tolist(), py.tolist(), marker=_MARKERS[style], lines=not dashed and len(px) > 1)
            drawn = True
    if not drawn:
        return np.zeros((size[1], size[0]), np.uint8)
    monitor.build_plot()
    rows = ["".join(line) for line in reversed(monitor.matrix.marker)]
    return np.array([[_dots(character, style) for character in row] for row in rows], np.uint8)


def _dots(character: str, style: Style) -> int:
    if style is Style.BRAILLE:
        return max(0, ord(character) - BRAILLE)
    return BLOCKS.index(character) if style is Style.BLOCK else int(character != " ")


def _dashed(x: Floats, y: Floats, on: int, period: int) -> tuple[Floats, Floats]:
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
