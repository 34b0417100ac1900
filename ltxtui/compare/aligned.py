"""Members aligned at a stage: metrics on one axis, and the row of each run at each point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ltxtui.compare.member import Member
from replay.comparison.alignment import AXES, Align
from replay.comparison.compare import Comparison, Series, compare
from replay.comparison.run_differences import scalar_metrics
from replay.model.run import StreamData

PREFERRED: Final = (
    "sigma", "snr_measured_db", "velocity_rms", "low_frequency_wander", "x0_change_rms", "noise_whiteness_low",
    "velocity_cosine", "energy_low_noise", "energy_mid_noise", "energy_high_noise", "noise_whiteness_mid",
    "noise_whiteness_high", "low_frequency_wander_share", "x0_change_rate", "std", "displacement_rms",
)  # fmt: skip
"""The metrics that are shown first; all others that every run has follow in the order of the recording."""


@dataclass(frozen=True, eq=False)
class AlignedRuns:
    """Members on a common axis, the reference first."""

    members: tuple[Member, ...]
    comparison: Comparison

    @property
    def rows(self) -> tuple[NDArray[np.int64], ...]:
        """Of each member, the row at each point [points], −1 where none is."""
        return self.comparison.rows

    @property
    def reference(self) -> Member:
        return self.members[0]

    @property
    def points(self) -> int:
        return len(self.comparison.axis)

    def series(self, metric: str) -> Series | None:
        return next((s for s in self.comparison.series if s.name == metric), None)

    def row(self, member: Member, point: int) -> int | None:
        """The member's row at a point; at equal noise, the row with the nearest level."""
        if member not in self.members or not 0 <= point < self.points:
            return None
        row = int(self.rows[self.members.index(member)][point])
        return row if row >= 0 else None

    def point(self, member: Member, row: int) -> int | None:
        """The first point at which a member has reached a row; its last point if it never does."""
        if member not in self.members:
            return None
        rows = self.rows[self.members.index(member)]
        reached = np.flatnonzero(rows >= row)
        if reached.size:
            return int(reached[0])
        known = np.flatnonzero(rows >= 0)
        return int(known[-1]) if known.size else None


def metrics_of(streams: Sequence[StreamData], align: Align, wanted: Sequence[str] = ()) -> tuple[str, ...]:
    """Scalar metrics that every stream has, wanted and main ones first; without the one that runs are aligned by."""
    common = [name for name in scalar_metrics(streams) if name != AXES[align].metric]
    return tuple(dict.fromkeys([*(name for name in (*wanted, *PREFERRED) if name in common), *common]))


def lined_up(
    members: Sequence[Member], align: Align, stage: int, stream: str, item: int | None, metrics: Sequence[str]
) -> AlignedRuns:
    """Align members that all have the stage and the stream, the reference first.

    Raises:
        CannotCompare: if one lacks a metric, the batch item or the axis.
    """
    runs = [m.run for m in members if m.run is not None]
    comparison = compare(runs, align=align, metrics=metrics, stage=stage, stream=stream, item=item)
    return AlignedRuns(tuple(members), comparison)
