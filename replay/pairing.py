"""What two runs have in common and where they part: their conditions, summaries, plans and first different row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recorder import declarations
from replay.alignment import Floats, difference
from replay.run import MetricInfo, Run, StageData, StreamData

_OF_THE_MACHINE: Final = ("s", "ms", "bytes")
"""Units of time and memory: these are never the same twice and say nothing of the result."""
_AT_ONCE: Final = 1024
"""Rows that are compared at a time."""
_OF_THE_SCHEDULE: Final = frozenset({"num_inference_steps", "sigmas", "timesteps", "scheduler"})
"""Arguments that are what is compared."""
_OF_THE_OUTPUT: Final = frozenset(
    {"generator", "output_type", "return_dict", "callback_on_step_end", "callback_on_step_end_tensor_inputs", "output"}
)
"""Arguments that do not change the latents, and the generator, which is compared by its seed."""


@dataclass(frozen=True)
class RunFacts:
    """A run in one line. `status` is as stored, or `unfinished`; `prompt` and `seed` are those of its first stage."""

    name: str
    status: str
    prompt: Any
    seed: Any
    evaluations: int
    """Model evaluations over all stages: one per step."""
    seconds: float
    """From the first model call to the last row, summed over stages; NaN if there is no row."""
    shocks: tuple[str, ...]
    """What was said of each shock when it happened."""


@dataclass(frozen=True)
class Mismatch:
    """Why run `run` is no fair pair to the reference: what differs, and the two values."""

    run: int
    what: str
    reference: Any
    value: Any
    stage: int | None = None


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
    """The first step for which run `run` planned another noise level; None where a plan has ended."""

    run: int
    stage: int
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


def facts(run: Run) -> RunFacts:
    """What is said of a run beside its numbers."""
    seconds = [
        float(last - stage.time)
        for stage in run.stages
        if (last := max((float(s.times[-1]) for s in stage.streams.values() if s.rows), default=None)) is not None
    ]
    first = run.stages[0].metadata if run.stages else {}
    return RunFacts(
        name=run.name,
        status=str(run.end["status"]) if run.end else "unfinished",
        prompt=first.get("prompt"),
        seed=first.get("seed"),
        evaluations=run.steps,
        seconds=sum(seconds) if seconds else float("nan"),
        shocks=tuple(str(e.get("text", "")) for e in run.events if e.get("kind") == "shock"),
    )


def mismatches(runs: Sequence[Run]) -> tuple[Mismatch, ...]:
    """Why runs are no fair pairs with the first one; empty if each differs from it in the schedule only."""
    return tuple(m for i, run in enumerate(runs[1:], 1) for m in _mismatches(i, run, runs[0]))


def _mismatches(index: int, run: Run, reference: Run) -> list[Mismatch]:
    found: list[Mismatch] = []
    if reference.steps != run.steps:
        found.append(Mismatch(index, "model evaluations", reference.steps, run.steps))
    if len(reference.stages) != len(run.stages):
        found.append(Mismatch(index, "stages", len(reference.stages), len(run.stages)))
    told: set[str] = set()  # what differs in every stage is said once
    for a, b in zip(reference.stages, run.stages, strict=False):
        one, other = _conditions(reference, a), _conditions(run, b)
        for what in (w for w in one if w in other and w not in told):
            # A run without a known seed is no pair to any other, not even to one that lacks it too.
            if one[what] != other[what] or (what == "seed" and one[what] is None):
                told.add(what)
                found.append(Mismatch(index, what, one[what], other[what], a.index))
    return found


def _conditions(run: Run, stage: StageData) -> dict[str, Any]:
    """What must be equal for a fair pair, by name: prompt, seed, model, sizes and every argument but the schedule."""
    known = stage.metadata
    user = run.metadata.get("user")
    named = user.get("model") if isinstance(user, dict) else None
    found = {what: known.get(what) for what in ("prompt", "negative_prompt", "seed", "pipeline")}
    found["model"] = named or known.get("model") or run.metadata.get("model")
    for name, stream in stage.streams.items():
        found[f"{name} size"] = "×".join(str(n) for n in (*stream.shape[:1], *stream.grid))
    arguments = known.get("arguments")
    for name, value in arguments.items() if isinstance(arguments, dict) else ():
        if name not in _OF_THE_SCHEDULE | _OF_THE_OUTPUT:
            found[str(name)] = value
    return found


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
    """For each run but the first, where its planned noise levels leave the first run's; None if they never do.

    Plans are as last announced: a shock that was decided in the run has changed its plan.
    """
    return tuple(_plan_difference(i, run, runs[0]) for i, run in enumerate(runs[1:], 1))


def _plan_difference(index: int, run: Run, reference: Run) -> PlanDifference | None:
    for a, b in zip(reference.stages, run.stages, strict=False):
        for step in range(max(len(a.sigmas), len(b.sigmas))):
            one = a.sigmas[step] if step < len(a.sigmas) else None
            other = b.sigmas[step] if step < len(b.sigmas) else None
            if one != other:
                return PlanDifference(index, a.index, step, one, other)
    return None


def divergences(
    runs: Sequence[Run], metrics: Sequence[str], item: int | None, tolerance: float
) -> tuple[Divergence | None, ...]:
    """For each run but the first, the first row that differs from the first run's; None if no row does so far.

    Rows are paired by stage and step, stage 0 first, in every stream that both have. Recorded runs repeat bit for bit,
    so with tolerance 0 any difference counts; otherwise one above `tolerance` times the larger of the two. Two NaN are
    equal. Times and memory are never compared. A row that only one of the two has counts once the other's stage (or
    run) has ended.
    """
    return tuple(_divergence(i, run, runs[0], metrics, item, tolerance) for i, run in enumerate(runs[1:], 1))


def _divergence(
    index: int, run: Run, reference: Run, metrics: Sequence[str], item: int | None, tolerance: float
) -> Divergence | None:
    for a, b in zip(reference.stages, run.stages, strict=False):
        found = [
            d
            for name in a.streams
            if name in b.streams
            for d in (_first_different(index, a.streams[name], b.streams[name], metrics, item, tolerance),)
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


def _first_different(
    index: int, a: StreamData, b: StreamData, metrics: Sequence[str], item: int | None, tolerance: float
) -> Divergence | None:
    names = [m for m in metrics if all(m in s.metrics and compared(s.metrics[m]) for s in (a, b))]
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
