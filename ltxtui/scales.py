"""From values to places: round ticks, steps to columns, and long series thinned to what a plot can show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def column(step: int, steps: int, columns: int) -> int:
    """The column of a step on an axis of `steps` steps: the one place that says so, for lines, cursor and mouse."""
    return 0 if steps < 2 else round(step * (columns - 1) / (steps - 1))


def step_at(place: int, steps: int, columns: int) -> int:
    """The step whose column is nearest to a place."""
    if steps < 2 or columns < 2:
        return 0
    return max(0, min(steps - 1, round(place * (steps - 1) / (columns - 1))))


def round_up(value: float) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    return next((m * power for m in (1, 2, 5) if m * power >= value * (1 - 1e-9)), 10 * power)


def ticks(low: float, high: float, most: int) -> list[float]:
    """Round values that enclose low to high; the first and the last are the limits of the axis.

    Round limits stay where they are while a live curve grows, so that the picture does not twitch.
    """
    if not high > low:
        margin = abs(low) * 0.1 or 1.0
        low, high = low - margin, high + margin
    distance = round_up((high - low) / max(1, most - 1))
    first, last = math.floor(low / distance + 1e-9), math.ceil(high / distance - 1e-9)
    return [n * distance for n in range(first, last + 1)]


def limits(series: Iterable[NDArray[np.floating]], include: Iterable[float] = ()) -> tuple[float, float]:
    """Smallest and largest finite value of all series and of what is to be included; 0 to 1 if there is none."""
    found = [v for v in include if math.isfinite(v)]
    for values in series:
        finite = values[np.isfinite(values)]
        if finite.size:
            found += [float(finite.min()), float(finite.max())]
    return (min(found), max(found)) if found else (0.0, 1.0)


def runs(values: NDArray[np.floating]) -> Iterator[slice]:
    """The stretches of finite values: a line is broken where it has none."""
    finite = np.concatenate(([False], np.isfinite(values), [False]))
    edges = np.flatnonzero(finite[1:] != finite[:-1])
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        yield slice(int(start), int(stop))


def thin(places: Floats, values: Floats, columns: int) -> tuple[Floats, Floats]:
    """A polyline of at most two points per column, the lowest and the highest there, in the order they come.

    Drawing costs per point, and no column can show more than its extent.
    """
    if len(places) <= 2 * columns:
        return places, values
    bins = np.clip(np.round(places), 0, columns - 1).astype(np.int64)
    starts = np.flatnonzero(np.diff(bins, prepend=-1))
    order = np.lexsort((values, bins))
    ends = np.append(starts[1:], len(bins)) - 1
    kept = np.unique(np.concatenate((order[starts], order[ends])))
    return places[kept], values[kept]
