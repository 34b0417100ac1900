"""Frames over the points of the common axis: a quantity of every frame of two runs, and its difference. No Textual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ltxtui.compare.aligned import AlignedRuns
from ltxtui.compare.lineup import Lineup
from ltxtui.compare.member import Member
from ltxtui.viewmodel.frame_quantities import FrameQuantity, ceiling, frame_numbers, limits
from replay.comparison.alignment import AXES, at_levels, difference, scalar_values
from replay.model.run import StreamData

Floats = NDArray[np.float64]

_VECTOR: Final = ("step", "batch", "frame")


@dataclass(frozen=True, eq=False)
class FrameMap:
    """What one heat map shows.

    Attributes:
        members: its run; two where it is the first minus the second.
        values: [points, frames], NaN where a run has none.
        numbers: the latent frame of each value.
        ends: of the colour scale.
        why: why there is nothing to show; empty where there is.
    """

    members: tuple[Member, ...]
    values: Floats
    numbers: Sequence[int]
    ends: tuple[float, float]
    why: str = ""

    @property
    def signed(self) -> bool:
        """Whether it is a difference, with zero in the middle of its scale."""
        return len(self.members) > 1

    @property
    def title(self) -> str:
        return "−".join(m.letter for m in self.members)


def pair(deck: Lineup) -> tuple[Member, Member] | None:
    """The reference, and the run that is compared with it: the selected one, else the first one that is shown."""
    together = deck.together
    if together is None:
        return None
    others = together.members[1:]
    selected = deck.members[deck.selected]
    order = sorted(others, key=lambda m: (m is not selected, not m.shown, m.index))
    return (together.reference, order[0]) if order else None


def frame_maps(together: AlignedRuns, reference: Member, other: Member, quantity: FrameQuantity) -> list[FrameMap]:
    """The maps of the reference, of the other run on the same scale, and of the other minus the reference."""
    comparison = together.comparison
    found = [_values(together, member, quantity) for member in (reference, other)]
    numbers = [_numbers(together, member, quantity) for member in (reference, other)]
    known = [v[np.isfinite(v)] for v in found if v is not None]
    ends = limits(np.concatenate([np.empty(0), *known]), quantity)
    nothing = np.empty((0, 0))
    maps = []
    for member, values, frames in zip((reference, other), found, numbers, strict=True):
        if values is None:
            why = f"{quantity.name} per frame not recorded for {comparison.stream}"
        else:
            why = "" if np.isfinite(values).any() else f"no value of {quantity.name} at any point"
        maps.append(FrameMap((member,), nothing if values is None else values, frames, ends, why))
    return [*maps, _difference(maps[0], maps[1])]


def _difference(reference: FrameMap, other: FrameMap) -> FrameMap:
    """The other map minus the reference's, or why there is none."""
    members, numbers = (*other.members, *reference.members), reference.numbers
    a, b = reference.title, other.title
    counts = len(reference.numbers), len(other.numbers)
    values = np.empty((0, 0))
    if reference.why or other.why:
        why = "needs both runs"
    elif counts[0] != counts[1]:
        why = f"{a} has {counts[0]} latent frames, {b} has {counts[1]}: no difference frame by frame"
    elif list(reference.numbers) != list(other.numbers):
        why = f"{a} and {b} recorded different latent frames"
    else:
        values = difference(other.values, reference.values)
        known = values[np.isfinite(values)]
        why = "" if known.any() else f"0 at every point: {b} does not differ from {a}"
        why = why if known.size else f"no point that {a} and {b} both have"
    known = np.abs(values[np.isfinite(values)])
    end = ceiling(float(known.max())) if known.size else 1.0
    return FrameMap(members, values, numbers, (-end, end), why)


def _stream(together: AlignedRuns, member: Member, metric: str) -> StreamData | None:
    """The compared stream of a run, if it has the metric with one value per frame."""
    if member.run is None:
        return None
    stream = member.run.stages[together.comparison.stage].streams[together.comparison.stream]
    info = stream.metrics.get(metric)
    return stream if info is not None and tuple(info.dims) == _VECTOR and 0 not in info.shape else None


def _numbers(together: AlignedRuns, member: Member, quantity: FrameQuantity) -> list[int]:
    stream = _stream(together, member, quantity.metric)
    return [] if stream is None else frame_numbers(stream, quantity.metric)


def _values(together: AlignedRuns, member: Member, quantity: FrameQuantity) -> Floats | None:
    """A run's values at the points [points, frames], as the charts have those of scalar metrics."""
    stream = _stream(together, member, quantity.metric)
    if stream is None:
        return None
    comparison = together.comparison
    given = stream.values(quantity.metric)
    item = comparison.item
    with np.errstate(invalid="ignore"):
        values = (given.mean(axis=1) if item is None else given[:, item]).astype(np.float64)
    level = AXES[comparison.align].metric
    if level is None:
        rows = together.rows[together.members.index(member)]
        known = np.concatenate([values, np.full((1, values.shape[1]), np.nan)])  # row −1: the run has none there
        return np.asarray(known[np.where(rows < len(values), rows, -1)])
    sign = 1.0 if comparison.align == "sigma" else -1.0
    levels, wanted = sign * scalar_values(stream, level, item), sign * comparison.axis
    return np.stack([at_levels(levels, column, wanted) for column in values.T], axis=1)
