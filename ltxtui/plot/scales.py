"""From values to places: round ticks, steps to columns, and long series thinned to what a plot can show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def column(step: int, steps: int, columns: int) -> int:
    """The column of a step on an axis of `steps` numbered steps, as `ltxtui.plot.axis.Ruler` places it."""
    return 0 if steps < 2 else math.floor(step * (columns - 1) / (steps - 1) + 0.5)


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


def log_ticks(low: float, high: float, most: int) -> list[float]:
    """Decimal logarithms of 1, 2 and 5 times powers of ten that enclose low to high; between them whole powers if many.

    Low and high are logarithms themselves.
    """
    round_ones = [n + math.log10(m) for n in range(math.floor(low) - 1, math.ceil(high) + 2) for m in (1, 2, 5)]
    bottom = max(v for v in round_ones if v <= low + 1e-9)
    top = min(v for v in round_ones if v >= high - 1e-9 and v > bottom)
    between = [v for v in round_ones if bottom < v < top]
    if len(between) > most - 2:
        distance = math.ceil((top - bottom) / max(1, most - 1))
        between = [v for v in multiples(bottom, top, distance) if bottom + 0.1 < v < top - 0.1]
    return [bottom, *between, top]


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
    """A polyline of at most two points per visit of a column: the lowest and the highest there.

    Drawing costs per point, and no column can show more than its extent. A column without any finite value has none
    afterwards, so that breaks stay.
    """
    if len(places) <= 2 * columns:
        return places, values
    bins = np.round(places)
    starts = np.flatnonzero(np.diff(bins, prepend=np.nan) != 0)
    last = values[np.append(starts[1:], len(bins)) - 1]
    low, high = np.fmin.reduceat(values, starts), np.fmax.reduceat(values, starts)
    # In the order in which the line goes through the column, as far as its ends show.
    rises = ~(values[starts] > last)
    pairs = np.stack([np.where(rises, low, high), np.where(rises, high, low)], axis=1)
    return np.repeat(bins[starts], 2), pairs.ravel()


def near(places: Floats, values: Floats, width: float) -> tuple[Floats, Floats]:
    """What of a polyline can be seen from 0 to a width: the segments that touch it, broken where others are left out.

    Without numbers on both axes a point is not there.
    """
    known = np.isfinite(places) & np.isfinite(values)
    places, values = np.where(known, places, np.nan), np.where(known, values, np.nan)
    if not known.any() or (np.nanmin(places) >= 0 and np.nanmax(places) <= width):
        return places, values
    with np.errstate(invalid="ignore"):
        kept = (places >= 0) & (places <= width)
        low, high = np.minimum(places[:-1], places[1:]), np.maximum(places[:-1], places[1:])
    touching = (low <= width) & (high >= 0)
    kept[:-1] |= touching
    kept[1:] |= touching
    values = np.where(kept, values, np.nan)
    # One point without a value between what is kept and the next that is, so that they are not joined.
    after = np.concatenate(([False], kept[:-1]))
    return places[kept | after], values[kept | after]


def multiples(low: float, high: float, distance: float) -> list[float]:
    """All multiples of a distance from low to high."""
    first, last = math.ceil(low / distance - 1e-9), math.floor(high / distance + 1e-9)
    return [n * distance for n in range(first, last + 1)]
