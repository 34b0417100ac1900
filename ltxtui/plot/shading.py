"""Ranges behind the lines of a plot: from a value per step to the cells that are shaded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ltxtui.plot.axis import Ruler
from ltxtui.plot.model import Shade
from ltxtui.plot.raster import Floats

Edges = tuple[Floats, Floats]
"""Low and high ends of a range in every text column [columns], NaN where there is none."""


def by_column(bands: Sequence[Shade], ruler: Ruler, wide: int) -> list[Edges]:
    """The ranges over the text columns: straight between steps; of very many steps, those at the ends of columns."""
    found: list[Edges] = []
    for band in bands:
        steps = min(len(ruler.places), len(band.low))
        if steps > 4 * wide:
            starts = ruler.stretches(wide, 1)
            taken = np.unique(np.concatenate([starts, np.maximum(starts - 1, 0), [steps - 1]]))
            taken = taken[taken < steps]
        else:
            taken = np.arange(steps)
        at, low, high = ruler.at(wide)[taken], band.low[taken], band.high[taken]
        known = np.isfinite(at) & np.isfinite(low) & np.isfinite(high)
        at, low, high = at[known], low[known], high[known]
        if not len(at):
            continue
        if (np.diff(at) < 0).any():
            order = np.argsort(at, kind="stable")
            at, low, high = at[order], low[order], high[order]
        across = np.arange(wide, dtype=np.float64)
        # A column belongs to the steps that are nearest to it: the first and the last step have theirs too.
        ends = np.floor(at[0] + 0.5), np.floor(at[-1] + 0.5)
        beyond = (across < ends[0]) | (across > ends[1])
        lowest, highest = (np.where(beyond, np.nan, np.interp(across, at, edge)) for edge in (low, high))
        found.append((lowest, highest))
    return found


def cells(low: Floats, high: Floats, rows: int) -> NDArray[np.bool_]:
    """The cells [rows, columns] of a range; its ends are parts of the y axis, 0 at the lower and 1 at the upper end.

    A range that is thinner than a row takes the nearest one. Without a lower end it goes down to the axis.
    """
    low = np.where(np.isnan(low), 0.0, low)
    known = np.isfinite(high)
    top, bottom = (rows - 1 - np.round(np.where(known, edge, 0.0) * (rows - 1)) for edge in (high, low))
    here = np.arange(rows)[:, None]
    found: NDArray[np.bool_] = (here >= top) & (here <= bottom) & known
    return found
