"""Puts the rows of several runs on one axis: by step, by noise level, by SNR, or by model evaluations."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

Align = Literal["step", "sigma", "snr", "evaluations"]
ALIGNMENTS: Final[tuple[Align, ...]] = get_args(Align)

Floats = NDArray[np.float64]


class AxisInfo(NamedTuple):
    """What an axis is called, its unit, and the metric that gives a row's place on it (none: its number does)."""

    label: str
    unit: str
    metric: str | None = None


AXES: Final[dict[Align, AxisInfo]] = {
    "step": AxisInfo("step", "1"),
    "sigma": AxisInfo("σ", "1", "sigma"),
    "snr": AxisInfo("SNR schedule", "dB", "snr_schedule_db"),
    "evaluations": AxisInfo("model evaluations", "1"),
}


def numbered(rows: list[int], before: list[int]) -> tuple[Floats, list[NDArray[np.int64]]]:
    """An axis of numbers, for runs that have so many rows each, after so many others that count too.

    Returns:
        The axis [points], and for each run the row at each point [points], −1 where it has none.
    """
    counted = [(b, b + n) for b, n in zip(before, rows, strict=True) if n]
    if not counted:
        return np.empty(0), [np.empty(0, np.int64) for _ in rows]
    first, end = min(b for b, _ in counted), max(e for _, e in counted)
    places = np.arange(first, end)
    found = []
    for b, n in zip(before, rows, strict=True):
        row = places - b
        found.append(np.where((row >= 0) & (row < n), row, -1))
    return places.astype(np.float64), found


def descent(levels: Floats) -> NDArray[np.int64]:
    """The rows of the final descending branch: those whose level no later row reaches again.

    A schedule that goes up again, as after a restart, visits levels twice. What is kept of each level is the last
    visit, the one from which the descent went on to the end. Levels [rows]; the branch is strictly falling. Rows whose
    level is not a number are left out.
    """
    known = np.where(np.isnan(levels), -np.inf, levels)
    later = np.append(np.maximum.accumulate(known[::-1])[::-1][1:], -np.inf)
    return np.flatnonzero(known > later)


def at_levels(levels: Floats, values: Floats, wanted: Floats) -> Floats:
    """What a run's values are at given levels, as it passed them for the last time.

    A row at exactly that level is taken as it is. Between rows the value is interpolated linearly over the level, and
    only along one step that was really taken: from a row of the final descending branch (`descent`) to the row after
    it. Where a restart cut the branch, a level above its spike was last passed on the step before the descent was
    left, so that step is what is interpolated, never a mixture of before and after.

    Args:
        levels: of each row, larger is noisier [rows]; need not be monotone.
        values: of each row [rows].
        wanted: levels to look at [points].

    Returns:
        Values [points]; NaN above the highest level, below the last row's, and where an end of the step is not finite.
    """
    found = np.full(len(wanted), np.nan)
    branch = descent(levels)
    if not len(branch):
        return found
    # The branch falls: the last of its rows that is not below a level is where that level was passed; −1 if none is.
    place = len(branch) - 1 - np.searchsorted(levels[branch][::-1], wanted, side="left")
    points = np.flatnonzero(place >= 0)
    rows = branch[place[points]]
    after = np.minimum(rows + 1, len(levels) - 1)  # the last row's own values: only exact levels are found there
    one, other, level = levels[rows], levels[after], wanted[points]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        between = values[rows] + (level - one) / (other - one) * (values[after] - values[rows])
    finite = np.isfinite(one) & np.isfinite(other) & np.isfinite(values[rows]) & np.isfinite(values[after])
    between = np.where(finite & (after > rows), between, np.nan)
    found[points] = np.where(one == level, values[rows], between)
    return found


def difference(values: Floats, reference: Floats) -> Floats:
    """values − reference, 0 where they are equal, also where both are the same infinity; NaN where one is unknown."""
    with np.errstate(invalid="ignore"):
        found: Floats = np.where(values == reference, 0.0, values - reference)
    return found
