"""Puts the rows of several runs on one axis: by step, by noise level, by SNR, or by model evaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from replay.model.run import Run, StreamData

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


@dataclass(frozen=True, eq=False)
class SharedAxis:
    """Streams of several runs on one axis.

    Attributes:
        points: place of each point [points]: step, σ, dB or number of evaluations.
        rows: of each run, the row at each point [points], −1 where there is none. At equal noise it is the row
            whose level is nearest.
    """

    points: Floats
    rows: tuple[NDArray[np.int64], ...]
    _streams: tuple[StreamData, ...]
    _item: int | None
    _levels: tuple[Floats, ...]
    """Of each run, its levels as they fall [rows]; empty on an axis of numbers."""
    _wanted: Floats
    """Levels of the points, as they fall."""

    def values(self, metric: str) -> Floats:
        """A scalar metric of all runs [runs, points]; NaN where a run has no value.

        At equal noise, values between two rows are interpolated; see `at_levels`.
        """
        values = [scalar_values(s, metric, self._item) for s in self._streams]
        if not self._levels:
            known = (np.append(v, np.nan) for v in values)  # row −1: the run has none there
            return np.stack([v[r] for v, r in zip(known, self.rows, strict=True)])
        return np.stack([at_levels(at, v, self._wanted) for at, v in zip(self._levels, values, strict=True)])


def shared_axis(runs: Sequence[Run], align: Align, stage: int, stream: str, item: int | None) -> SharedAxis:
    """Put one stage and stream of several runs on the axis `align`; the first run is the reference.

    On an axis of noise the points are the reference's own levels on its final descending branch (`descent`). On the
    axis of evaluations, a row is at the number of evaluations that the run has spent, those of earlier stages included.

    Args:
        runs: each has the stage, the stream and the metric of the axis.
        align: the axis.
        stage: index of the stage.
        stream: name of the stream.
        item: one batch item; None for the mean over the batch.
    """
    streams = tuple(run.stages[stage].streams[stream] for run in runs)
    level = AXES[align].metric
    if level is None:
        places = [_numbers(run, align, stage, s.rows) for run, s in zip(runs, streams, strict=True)]
        points, rows = on_numbers(places)
        return SharedAxis(points, tuple(rows), streams, item, (), np.empty(0))
    # As levels that fall while a run denoises: noise itself, or signal to noise with its sign reversed.
    sign = 1.0 if align == "sigma" else -1.0
    levels = tuple(sign * scalar_values(s, level, item) for s in streams)
    wanted = levels[0][descent(levels[0])]
    points = sign * wanted + 0.0  # no −0 dB
    return SharedAxis(points, tuple(nearest_rows(at, wanted) for at in levels), streams, item, levels, wanted)


def _numbers(run: Run, align: Align, stage: int, rows: int) -> NDArray[np.int64]:
    """Step of each row, or evaluations that the run has spent when it is done [rows]."""
    if align == "step":
        return np.arange(rows)
    before = sum(int(s.evaluations.sum()) for s in run.stages[:stage])
    return before + np.cumsum(run.stages[stage].evaluations[:rows])


def scalar_values(stream: StreamData, metric: str, item: int | None) -> Floats:
    """A scalar metric over the steps [rows]: of one batch item, or the mean over the batch if `item` is None."""
    values = stream.values(metric).astype(np.float64)
    if values.ndim == 1:
        return values
    with np.errstate(invalid="ignore"):
        found: Floats = values.mean(axis=1) if item is None else values[:, item]
    return found


def on_numbers(places: Sequence[NDArray[np.int64]]) -> tuple[Floats, list[NDArray[np.int64]]]:
    """An axis of every number at which a run has a row.

    Args:
        places: number of each row, rising, for each run [rows].

    Returns:
        The axis [points], and for each run the row at each point [points], −1 where it has none.
    """
    points = np.unique(np.concatenate(places)) if places else np.empty(0, np.int64)
    found = []
    for numbers in places:
        row = np.full(len(points), -1, np.int64)
        row[np.searchsorted(points, numbers)] = np.arange(len(numbers))
        found.append(row)
    return points.astype(np.float64), found


def descent(levels: Floats) -> NDArray[np.int64]:
    """The rows of the final descending branch: those whose level no later row reaches again.

    A schedule that goes up again, as after a restart, visits levels twice. What is kept of each level is the last
    visit, the one from which the descent ran to the end. Levels [rows]; the branch is strictly falling. Rows whose
    level is not a number are left out.
    """
    known = np.where(np.isnan(levels), -np.inf, levels)
    later = np.append(np.maximum.accumulate(known[::-1])[::-1][1:], -np.inf)
    return np.flatnonzero(known > later)


def at_levels(levels: Floats, values: Floats, wanted: Floats) -> Floats:
    """What a run's values are at given levels, as it passed them for the last time.

    A row at exactly that level is used unchanged. Between rows the value is interpolated linearly over the level, and
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
    points, rows, after = _passing(levels, wanted)
    one, other, level = levels[rows], levels[after], wanted[points]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        between = values[rows] + (level - one) / (other - one) * (values[after] - values[rows])
    finite = np.isfinite(one) & np.isfinite(other) & np.isfinite(values[rows]) & np.isfinite(values[after])
    between = np.where(finite & (after > rows), between, np.nan)
    found[points] = np.where(one == level, values[rows], between)
    return found


def nearest_rows(levels: Floats, wanted: Floats) -> NDArray[np.int64]:
    """For each wanted level the row whose level is nearest, as the run passed it for the last time.

    Args:
        levels: of each row, larger is noisier [rows]; need not be monotone.
        wanted: levels to look for [points].

    Returns:
        Rows [points]; −1 above the highest level and below the last one.
    """
    found = np.full(len(wanted), -1, np.int64)
    points, rows, after = _passing(levels, wanted)
    level, above, below = wanted[points], levels[rows], levels[after]
    with np.errstate(invalid="ignore"):
        # The step that was really taken from there; an infinite level is never nearer.
        nearest = np.where(above - level <= level - below, rows, after)
    there = (after > rows) & ~np.isnan(below)
    found[points] = np.where(above == level, rows, np.where(there, nearest, -1))
    return found


def _passing(levels: Floats, wanted: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Where a run passed each level for the last time: points that have such a row, these rows, and the rows after.

    The row after the last one is that row itself, so that only exact levels are found there.
    """
    branch = descent(levels)
    if not len(branch):
        nothing = np.empty(0, np.int64)
        return nothing, nothing, nothing
    # The branch falls: the last of its rows that is not below a level is where that level was passed; −1 if none is.
    place = len(branch) - 1 - np.searchsorted(levels[branch][::-1], wanted, side="left")
    points = np.flatnonzero(place >= 0)
    rows = branch[place[points]]
    return points, rows, np.minimum(rows + 1, len(levels) - 1)


def difference(values: Floats, reference: Floats) -> Floats:
    """values − reference, 0 where they are equal, also where both are the same infinity; NaN where one is unknown."""
    with np.errstate(invalid="ignore"):
        found: Floats = np.where(values == reference, 0.0, values - reference)
    return found
