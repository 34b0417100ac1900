"""Members lined up at a stage: metrics on one axis, and which row of each run lies at each point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ltxtui.compare.member import Member
from replay.comparison.alignment import AXES, Align, Floats, descent, numbered
from replay.comparison.compare import Comparison, Series, compare
from replay.comparison.run_differences import scalar_metrics
from replay.model.run import Run, StreamData

PREFERRED: Final = (
    "sigma", "snr_measured_db", "velocity_rms", "low_frequency_wander", "x0_change_rms", "noise_whiteness_low",
    "velocity_cosine", "energy_low_noise", "energy_mid_noise", "energy_high_noise", "noise_whiteness_mid",
    "noise_whiteness_high", "low_frequency_wander_share", "x0_change_rate", "std", "displacement_rms",
)  # fmt: skip
"""The metrics that are shown first; all others that every run has follow in the order of the recording."""


@dataclass(frozen=True, eq=False)
class Together:
    """Members lined up, the reference first. `rows` is what row of each lies at each point, −1 where none does."""

    members: tuple[Member, ...]
    comparison: Comparison
    rows: tuple[NDArray[np.int64], ...]

    @property
    def reference(self) -> Member:
        return self.members[0]

    @property
    def points(self) -> int:
        return len(self.comparison.axis)

    def series(self, metric: str) -> Series | None:
        return next((s for s in self.comparison.series if s.name == metric), None)

    def row(self, member: Member, point: int) -> int | None:
        """The member's row at a point: the very one, or at equal noise the one whose level is nearest."""
        if member not in self.members or not 0 <= point < self.points:
            return None
        row = int(self.rows[self.members.index(member)][point])
        return row if row >= 0 else None

    def point(self, member: Member, row: int) -> int | None:
        """The first point at which a member stands on a row or has passed it; its last one if it never gets there."""
        if member not in self.members:
            return None
        rows = self.rows[self.members.index(member)]
        reached = np.flatnonzero(rows >= row)
        if reached.size:
            return int(reached[0])
        known = np.flatnonzero(rows >= 0)
        return int(known[-1]) if known.size else None


def metrics_of(streams: Sequence[StreamData], align: Align, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Scalar metrics that every stream has: wanted and telling ones first; not the one that runs are lined up by."""
    common = [name for name in scalar_metrics(streams) if name != AXES[align].metric]
    return tuple(dict.fromkeys([*(name for name in (*wanted, *PREFERRED) if name in common), *common]))


def lined_up(
    members: Sequence[Member], align: Align, stage: int, stream: str, item: int | None, metrics: Sequence[str]
) -> Together:
    """Line up members that all have the stage and the stream, the reference first.

    Raises:
        CannotCompare: if one lacks a metric, the batch item or the axis.
    """
    runs = [m.run for m in members if m.run is not None]
    comparison = compare(runs, align=align, metrics=metrics, stage=stage, stream=stream, item=item)
    return Together(tuple(members), comparison, tuple(_rows(runs, align, stage, stream, item, comparison.axis)))


def _rows(
    runs: Sequence[Run], align: Align, stage: int, stream: str, item: int | None, axis: Floats
) -> list[NDArray[np.int64]]:
    streams = [run.stages[stage].streams[stream] for run in runs]
    level = AXES[align].metric
    if level is None:
        before = [sum(s.steps for s in run.stages[:stage]) + 1 if align == "evaluations" else 0 for run in runs]
        return numbered([s.rows for s in streams], before)[1]
    sign = 1.0 if align == "sigma" else -1.0
    return [nearest_rows(sign * _level(s, level, item), sign * axis) for s in streams]


def _level(stream: StreamData, metric: str, item: int | None) -> Floats:
    values = stream.values(metric).astype(np.float64)
    if values.ndim == 1:
        return values
    with np.errstate(invalid="ignore"):
        found: Floats = values.mean(axis=1) if item is None else values[:, item]
    return found


def nearest_rows(levels: Floats, wanted: Floats) -> NDArray[np.int64]:
    """For each wanted level the row whose level is nearest, as the run passed it for the last time.

    Args:
        levels: of each row, larger is noisier [rows]; need not be monotone.
        wanted: levels to look for [points].

    Returns:
        Rows [points]; −1 above the highest level and below the last one.
    """
    branch = descent(levels)
    found = np.full(len(wanted), -1, np.int64)
    if not len(branch):
        return found
    place = len(branch) - 1 - np.searchsorted(levels[branch][::-1], wanted, side="left")
    points = np.flatnonzero(place >= 0)
    rows = branch[place[points]]
    after = np.minimum(rows + 1, len(levels) - 1)
    level, above, below = wanted[points], levels[rows], levels[after]
    with np.errstate(invalid="ignore"):
        # The step that was really taken from there; an infinite level is nearer to nothing.
        nearest = np.where(above - level <= level - below, rows, after)
    there = (after > rows) & ~np.isnan(below)
    found[points] = np.where(above == level, rows, np.where(there, nearest, -1))
    return found
