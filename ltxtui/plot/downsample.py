"""A plot of very many steps reduced to four points per column of dots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ltxtui.plot.axis import Ruler
from ltxtui.plot.model import Plot

LONG: Final = 8
"""Number of steps per column of dots at which a plot is thinned."""
_POINTS: Final = 4


def thinned(plot: Plot, wide: int, across: int) -> Plot:
    """The same picture from at most four steps per visit of a column of dots: first, lowest, highest, last value.

    Aggregation by M4 (Jugel et al., VLDB 2014), which draws lines without an error; the first and the last value in the
    window stay exact too. Plots that are short, that name their steps, or that have no ruler are returned unchanged.

    Args:
        plot: of any number of steps.
        wide: columns of text that it will be drawn in.
        across: columns of dots in one of text.
    """
    ruler, steps = plot.ruler, plot.steps
    if ruler is None or plot.labels or steps <= LONG * wide * across:
        return plot
    starts = ruler.stretches(wide, across)
    if _POINTS * len(starts) >= steps:
        return plot
    ends = np.append(starts[1:], steps)

    def four(values: NDArray[Any]) -> NDArray[Any]:
        """First, first, first and last of each stretch: what lies between is put where the stretch begins."""
        found = np.repeat(values[starts], _POINTS)
        found[_POINTS - 1 :: _POINTS] = values[ends - 1]
        return found

    def among(given: Sequence[int], point: int) -> list[int]:
        found: list[int] = (_POINTS * (np.searchsorted(starts, given, "right") - 1) + point).tolist()
        return found

    values, places = four(ruler.values), four(ruler.places)
    cursor = plot.cursor
    if cursor is not None and 0 <= cursor < steps:
        (at,) = among([cursor], 1)
        values[at], places[at] = ruler.values[cursor], ruler.places[cursor]
        cursor = at
    flags = [f for f in plot.flags if 0 <= f.step < steps]
    flagged = among([f.step for f in flags], 2)
    return replace(
        plot,
        curves=[replace(c, values=_aggregated(c.values[:steps], starts, plot.log)) for c in plot.curves],
        steps=len(places),
        cursor=cursor,
        ruler=Ruler(ruler.mode, values, places, ruler.low, ruler.high),
        flags=[replace(f, step=step) for f, step in zip(flags, flagged, strict=True)],
    )


def _aggregated(values: NDArray[np.floating], starts: NDArray[np.intp], log: bool) -> NDArray[np.floating]:
    """Four values of each stretch that a curve reaches into; NaN where a stretch has none."""
    starts = starts[starts < len(values)]
    if not len(starts):
        return values[:0]
    known = np.isfinite(values) & (values > 0) if log else np.isfinite(values)
    if not (whole := bool(known.all())):
        values = np.where(known, values, np.nan)
    ends = np.append(starts[1:], len(values))
    first, last = values[starts], values[ends - 1]
    if not whole and known.any():
        begin, end = int(known.argmax()), len(known) - 1 - int(known[::-1].argmax())
        first[np.searchsorted(starts, begin, "right") - 1] = values[begin]
        last[np.searchsorted(starts, end, "right") - 1] = values[end]
    low, high = np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)
    # In the order in which the line goes through the stretch, as far as its ends show.
    rises = ~(first > last)
    return np.stack([first, np.where(rises, low, high), np.where(rises, high, low), last], axis=1).ravel()
