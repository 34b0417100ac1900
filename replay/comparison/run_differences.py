"""What two runs have in common and where they part: their conditions, summaries, plans and first different row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recorder.format import declarations
from replay.comparison.alignment import Floats, difference
from replay.comparison.conditions import changed_guidance, cure, differing_values, other_start, settings
from replay.model.run import MetricInfo, Run, StageData, StreamData

_OF_THE_MACHINE: Final = ("s", "ms", "bytes")
"""Units of time and memory: these are never the same twice and say nothing of the result."""
_AT_ONCE: Final = 1024
"""Rows that are compared at a time."""


@dataclass(frozen=True)
class RunLine:
    """A run in one line. `status` is as stored, or `unfinished`; `prompt` and `seed` are those of its first stage."""

    name: str
    status: str
    standing: str
    """The status with what is missing or wrong."""
    prompt: Any
    seed: Any
    stages: int
    evaluations: int
    """Model evaluations over all stages; guidance passes are not counted apart."""
    seconds: float
    """From the first model call to the last row, summed over stages; NaN if there is no row."""
    shocks: tuple[str, ...]
    """The text of each shock's event."""


@dataclass(frozen=True)
class Mismatch:
    """A recorded setting in which run `run` differs from the reference, and the two values.

    `decides` is true if the two are not a fair pair for it; `cure` then says how that is removed.
    """

    run: int
    what: str
    reference: Any
    value: Any
    stage: int | None = None
    decides: bool = True
    cure: str = ""


@dataclass(frozen=True)
class Divergence:
    """The first row in which run `run` is not the reference; `metric` is None if only one of the two has that row."""

    run: int
    stage: int
    stream: str
    step: int
    metric: str | None
    reference: float
    value: float


@dataclass(frozen=True)
class PlanDifference:
    """The first step for which run `run` planned another noise level; None where a plan has ended.

    `streams` are those whose plans part there.
    """

    run: int
    stage: int
    streams: tuple[str, ...]
    step: int
    reference: float | None
    value: float | None


@dataclass(frozen=True, eq=False)
class SummaryRow:
    """One number about the stage for every run [runs], NaN where a run does not have it (yet)."""

    name: str
    unit: str
    label: str
    values: Floats

    @property
    def differences(self) -> Floats:
        """To the reference, of all other runs [runs − 1]."""
        return difference(self.values[1:], self.values[:1])


def facts(run: Run) -> RunLine:
    """What is known of a run besides its numbers."""
    seconds = [s for stage in run.stages if math.isfinite(s := _seconds(stage))]
    first = run.stages[0].metadata if run.stages else {}
    return RunLine(
        name=run.name,
        status=str(run.end["status"]) if run.end else "unfinished",
        standing=run.standing,
        prompt=first.get("prompt"),
        seed=first.get("seed"),
        stages=len(run.stages),
        evaluations=run.evaluations,
        seconds=sum(seconds) if seconds else float("nan"),
        shocks=tuple(str(e.get("text", "")) for e in run.events if e.get("kind") == "shock"),
    )


def _seconds(stage: StageData) -> float:
    """From the first model call of a stage to its last row; NaN if there is none."""
    last = [float(s.recent_times(1, s.rows)[0]) for s in stage.streams.values() if s.rows]
    return max(last) - stage.time if last else math.nan


def mismatches(runs: Sequence[Run]) -> tuple[Mismatch, ...]:
    """Every recorded setting in which a run differs from the first one.

    A run is a fair pair to the first one if none of its mismatches decides: it then differs in the schedule only.
    """
    return tuple(m for i, run in enumerate(runs[1:], 1) for m in _mismatches(i, run, runs[0]))


def _mismatches(index: int, run: Run, reference: Run) -> list[Mismatch]:
    found: dict[str, Mismatch] = {}  # a difference that every stage has is listed once

    def differs(what: str, one: Any, other: Any, stage: int | None = None, decides: bool = True) -> None:
        found.setdefault(what, Mismatch(index, what, one, other, stage, decides, cure(what) if decides else ""))

    if reference.evaluations != run.evaluations:
        differs("model evaluations", reference.evaluations, run.evaluations)
    if len(reference.stages) != len(run.stages):
        differs("stages", len(reference.stages), len(run.stages))
    for a, b in zip(reference.stages, run.stages, strict=False):
        ones, others = settings(reference, a), settings(run, b)
        for what in (w for w in ones if w in others):
            one, other = ones[what], others[what]
            for part, value, its_value in differing_values(what, one.value, other.value):
                differs(part, value, its_value, a.index, one.decides)
            # A run without a known seed is not a pair to any other, not even to one that lacks it too.
            if what == "seed" and one.value is None and other.value is None:
                differs(what, None, None, a.index, one.decides)
        for name in (n for n in a.streams if n in b.streams):
            if other_start(a.streams[name], b.streams[name]) and "seed" not in found:
                differs("start noise", None, name, a.index)
            if (change := changed_guidance(a.streams[name], b.streams[name])) is not None:
                step, metric, before, after = change
                differs(f"{metric} at step {step} of {name}", before, after, a.index)
    return sorted(found.values(), key=lambda m: not m.decides)


def spent(runs: Sequence[Run], stages: Sequence[StageData]) -> tuple[SummaryRow, ...]:
    """What each run's stage took so far: model evaluations, shocks and seconds."""
    shocks = [
        sum(e.get("kind") == "shock" and e.get("stage") == s.index for e in run.events)
        for run, s in zip(runs, stages, strict=True)
    ]
    return (
        SummaryRow("evaluations", "1", "model evaluations", np.array([float(s.evaluations.sum()) for s in stages])),
        SummaryRow("shocks", "1", "shocks", np.array(shocks, np.float64)),
        SummaryRow("seconds", "s", "time", np.array([_seconds(s) for s in stages])),
    )


def summaries(stages: Sequence[StageData], stream: str, item: int | None) -> tuple[SummaryRow, ...]:
    """What every run's stage came to, in the order of `declarations.SUMMARIES`; means over the batch, or one item."""
    found = [stage.summary.get(stream, {}) for stage in stages]
    names = dict.fromkeys([*declarations.SUMMARIES, *(n for values in found for n in values)])
    rows = []
    for name in names:
        if not any(name in values for values in found):
            continue
        declared = declarations.SUMMARIES.get(name)
        values = np.array([_one(values.get(name, []), item) for values in found])
        rows.append(SummaryRow(name, declared.unit if declared else "1", declared.label if declared else name, values))
    return tuple(rows)


def _one(values: Sequence[float | None], item: int | None) -> float:
    known = np.array([np.nan if v is None else v for v in values], np.float64)
    if item is not None:
        known = known[item : item + 1]
    return float(known.mean()) if len(known) else float("nan")


def plan_differences(runs: Sequence[Run]) -> tuple[PlanDifference | None, ...]:
    """For each run but the first, where its noise levels leave the first run's, in any stream; None if they never do.

    The video's are those planned, as last announced: a shock that was decided in the run has changed its plan. Another
    stream's are those that it was stepped at.
    """
    return tuple(_plan_difference(i, run, runs[0]) for i, run in enumerate(runs[1:], 1))


def _plan_difference(index: int, run: Run, reference: Run) -> PlanDifference | None:
    for a, b in zip(reference.stages, run.stages, strict=False):
        parts = {"video": _plans_part(a.sigmas, b.sigmas)}
        for name in (n for n in a.streams if n in b.streams and n != "video"):
            ones, others = _levels(a, name), _levels(b, name)
            both = min(len(ones), len(others))  # one of the two may not have come so far
            parts[name] = _plans_part(ones[:both], others[:both])
        found = {name: part for name, part in parts.items() if part is not None}
        if found:
            step, one, other = min(found.values(), key=lambda part: part[0])
            streams = tuple(name for name, part in found.items() if part[0] == step)
            return PlanDifference(index, a.index, streams, step, one, other)
    return None


def _levels(stage: StageData, stream: str) -> Sequence[float]:
    """Levels that a stream was stepped at so far."""
    data = stage.streams[stream]
    return [float(v) for v in data.values("sigma")] if "sigma" in data.metrics else []


def _plans_part(one: Sequence[float], other: Sequence[float]) -> tuple[int, float | None, float | None] | None:
    for step in range(max(len(one), len(other))):
        a = one[step] if step < len(one) else None
        b = other[step] if step < len(other) else None
        if a != b:
            return step, a, b
    return None


def divergences(runs: Sequence[Run], item: int | None = None, tolerance: float = 0.0) -> tuple[Divergence | None, ...]:
    """For each run but the first, the first row that differs from the first run's; None if no row does so far.

    Rows are paired by stage and step, stage 0 first, in every stream that both have, and in every scalar metric that
    both streams have; of metrics that differ in one row the first declared is named. Recorded runs repeat bit for bit,
    so with tolerance 0 any difference counts; otherwise one above `tolerance` times the larger of the two. Two NaN are
    equal. Times and memory are never compared. A row that only one of the two has counts once the other's stage (or
    run) has ended.
    """
    return tuple(_divergence(i, run, runs[0], item, tolerance) for i, run in enumerate(runs[1:], 1))


def _divergence(index: int, run: Run, reference: Run, item: int | None, tolerance: float) -> Divergence | None:
    for a, b in zip(reference.stages, run.stages, strict=False):
        found = [
            d
            for name in a.streams
            if name in b.streams
            for d in (_first_different(index, a.streams[name], b.streams[name], item, tolerance),)
            if d is not None
        ]
        if found:
            return min(found, key=lambda d: d.step)
        shorter, ended = (a, reference.end) if a.steps < b.steps else (b, run.end)
        if a.steps != b.steps and (shorter.ended or ended):
            stream = next(iter(a.streams or b.streams))
            return Divergence(index, a.index, stream, shorter.steps, None, float("nan"), float("nan"))
    first, second = len(reference.stages), len(run.stages)
    if first != second and (reference.end if first < second else run.end):
        more = (run if first < second else reference).stages[min(first, second)]
        stream = next(iter(more.streams), "video")
        return Divergence(index, more.index, stream, 0, None, float("nan"), float("nan"))
    return None


def _first_different(index: int, a: StreamData, b: StreamData, item: int | None, tolerance: float) -> Divergence | None:
    names = [m for m in scalar_metrics([a, b]) if compared(a.metrics[m])]
    first: Divergence | None = None
    for metric in names:
        one, other = a.values(metric), b.values(metric)  # once: a long run reads its columns from a file
        # Most runs part early, and what lies behind the first difference so far need not be looked at.
        end = min(a.rows, b.rows) if first is None else first.step
        for start in range(0, end, _AT_ONCE):
            some, others = (_items(v[start : min(start + _AT_ONCE, end)], item) for v in (one, other))
            width = min(some.shape[1], others.shape[1])
            some, others = some[:, :width], others[:, :width]
            places = np.argwhere(_different(some, others, tolerance))
            if len(places):
                at = (int(places[0, 0]), int(places[0, 1]))
                first = Divergence(index, a.stage, a.name, start + at[0], metric, float(some[at]), float(others[at]))
                break
    return first


def scalar_metrics(streams: Sequence[StreamData]) -> list[str]:
    """Metrics that are one number per step, or one per step and batch item, in every stream."""
    return [n for n in streams[0].metrics if all(n in s.metrics and _is_scalar(s.metrics[n]) for s in streams)]


def _is_scalar(info: MetricInfo) -> bool:
    return info.dims[1:] in ((), ("batch",))


def compared(info: MetricInfo) -> bool:
    """True for a metric that must repeat from run to run: any but times and memory."""
    return info.unit not in _OF_THE_MACHINE


def _items(values: NDArray[np.float32], item: int | None) -> Floats:
    """Rows of a scalar metric as [rows, items]."""
    wide = values.astype(np.float64).reshape(len(values), -1)
    return wide if item is None or wide.shape[1] == 1 else wide[:, item : item + 1]


def _different(a: Floats, b: Floats, tolerance: float) -> NDArray[np.bool_]:
    if not tolerance:
        exact: NDArray[np.bool_] = (a != b) & ~(np.isnan(a) & np.isnan(b))
        return exact
    with np.errstate(invalid="ignore"):
        near = np.abs(a - b) <= tolerance * np.maximum(np.abs(a), np.abs(b))
    same = (a == b) | (np.isnan(a) & np.isnan(b)) | (near & np.isfinite(a) & np.isfinite(b))
    different: NDArray[np.bool_] = ~same
    return different
