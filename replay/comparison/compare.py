"""Compares recorded runs: metrics on a common axis with their differences, and where and why the runs part."""

from __future__ import annotations

import math
import string
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from replay.comparison import run_differences
from replay.comparison.alignment import ALIGNMENTS, AXES, Align, AxisInfo, Floats, difference, shared_axis
from replay.comparison.run_differences import Divergence, Mismatch, PlanDifference, RunLine, SummaryRow, scalar_metrics
from replay.model.run import MetricInfo, Run, StageData, StreamData

DEFAULT_METRICS: Final = (
    "sigma",
    "snr_measured_db",
    "velocity_rms",
    "velocity_cosine",
    "low_frequency_wander",
    "x0_change_rms",
)


class CannotCompare(ValueError):
    """The runs do not have what was asked for; the message says what there is."""


class UnknownMetric(CannotCompare):
    """A metric that is not a scalar metric of every run; `available` are those that are."""

    def __init__(self, name: str, available: Sequence[str]) -> None:
        self.available = tuple(available)
        super().__init__(f"{name!r} is not a scalar metric of every run; there are: {', '.join(available) or 'none'}")


@dataclass(frozen=True, eq=False)
class Series:
    """One metric of every run on the common axis: [runs, points], NaN where a run has no value."""

    name: str
    unit: str
    label: str
    description: str
    values: Floats

    @property
    def residuals(self) -> Floats:
        """Every other run minus the reference: [runs − 1, points]; NaN where either has no value."""
        return difference(self.values[1:], self.values[:1])


@dataclass(frozen=True, eq=False)
class Comparison:
    """Compared runs; the first is the reference of the others.

    What belongs to the others (`plans`, `divergences`, rows of `residuals`) has one entry per run after the first,
    None where there is no difference.
    """

    runs: tuple[RunLine, ...]
    align: Align
    stage: int
    stream: str
    item: int | None
    """The batch item, or None for the mean over the batch."""
    tolerance: float
    axis: Floats
    """Place of each point [points]: step, σ, dB or number of evaluations."""
    rows: tuple[NDArray[np.int64], ...]
    """Of each run, the row at each point [points], −1 where none is; at equal noise the row whose level is nearest."""
    series: tuple[Series, ...]
    spent: tuple[SummaryRow, ...]
    """Evaluations, shocks and seconds of the stage."""
    summaries: tuple[SummaryRow, ...]
    mismatches: tuple[Mismatch, ...]
    """Recorded settings in which runs differ; `decides` marks those that make a pair unfair."""
    plans: tuple[PlanDifference | None, ...]
    divergences: tuple[Divergence | None, ...]

    @property
    def axis_info(self) -> AxisInfo:
        return AXES[self.align]

    def as_json(self) -> dict[str, Any]:
        """Everything as JSON-like data: arrays as lists, NaN and infinities as None, runs also by their letter."""
        series = {s.name: {**to_json_value(s), "residuals": to_json_value(s.residuals)} for s in self.series}
        rows = {s.name: {**to_json_value(s), "differences": to_json_value(s.differences)} for s in self.summaries}
        runs = [{"letter": letter(i), **to_json_value(r)} for i, r in enumerate(self.runs)]
        axis = {"align": self.align, "label": self.axis_info.label, "unit": self.axis_info.unit}
        own = {f.name: to_json_value(getattr(self, f.name)) for f in fields(self) if f.name != "rows"}
        return {
            **own,
            "runs": runs,
            "axis": {**axis, "values": to_json_value(self.axis)},
            "series": series,
            "summaries": rows,
            "fair": not any(m.decides for m in self.mismatches),
        }


def letter(index: int) -> str:
    """What a run is called in tables and plots: A is the reference."""
    return string.ascii_uppercase[index]


def compare(
    runs: Sequence[Run],
    *,
    align: Align = "step",
    metrics: Sequence[str] | None = None,
    stage: int | None = None,
    stream: str | None = None,
    item: int | None = None,
    tolerance: float = 0.0,
) -> Comparison:
    """Compare two runs or more with the first of them, finished or as far as they are.

    `step` pairs rows by their number in the stage. `evaluations` pairs them by how many model evaluations the run had
    spent, those of earlier stages included; guidance passes are not counted apart. `sigma` and `snr` compare at equal
    noise: the axis is the reference's own levels on its final descending branch, and the other runs are looked up there
    as they passed the level for the last time (`alignment.at_levels`). A level that a restart visits twice is compared
    as it is left for good.

    Args:
        runs: two to 26; the first is the reference.
        align: `step`, `sigma`, `snr` or `evaluations`.
        metrics: names of scalar metrics; without it those of DEFAULT_METRICS that all runs have.
        stage: index of the stage, the same in all runs; without it the first stage in which one differs, else 0.
            Divergence and plans are looked for in all stages.
        stream: `video` or `audio`; without it the first one that all runs have.
        item: one batch item; without it the mean over the batch. Divergence is then looked for in every item.
        tolerance: relative difference up to which rows count as the same; 0 is bit for bit.

    Raises:
        UnknownMetric: if a metric is not a scalar metric of every run.
        CannotCompare: if there are too few runs or too many, or one lacks the stage, stream, batch item or axis.
    """
    if not 2 <= len(runs) <= len(string.ascii_uppercase):
        raise CannotCompare(f"2 to {len(string.ascii_uppercase)} runs can be compared, not {len(runs)}")
    if align not in ALIGNMENTS:
        raise CannotCompare(f"runs can be aligned by {', '.join(ALIGNMENTS)}, not by {align!r}")
    divergences = run_differences.divergences(runs, item, tolerance)
    if stage is None:
        stage = first_different_stage(divergences, runs)
    stages = [_stage(i, run, stage) for i, run in enumerate(runs)]
    streams = _streams(stages, stream)
    name = streams[0].name
    for i, s in enumerate(streams):
        if item is not None and not 0 <= item < s.shape[0]:
            raise CannotCompare(f"run {letter(i)} has no batch item {item}: there are {s.shape[0]}, counted from 0")
    infos = _metrics(streams, metrics, align)
    axis = shared_axis(runs, align, stage, name, item)
    return Comparison(
        runs=tuple(map(run_differences.facts, runs)),
        align=align,
        stage=stage,
        stream=name,
        item=item,
        tolerance=tolerance,
        axis=axis.points,
        rows=axis.rows,
        series=tuple(Series(m.name, m.unit, m.label, m.description, axis.values(m.name)) for m in infos),
        spent=run_differences.spent(runs, stages),
        summaries=run_differences.summaries(stages, name, item),
        mismatches=run_differences.mismatches(runs),
        plans=run_differences.plan_differences(runs),
        divergences=divergences,
    )


def first_different_stage(divergences: Sequence[Divergence | None], runs: Sequence[Run]) -> int:
    """The first stage in which a run leaves the reference, of those that all runs have; 0 if none does."""
    common = min(len(run.stages) for run in runs)
    return min((d.stage for d in divergences if d is not None and d.stage < common), default=0)


def _stage(index: int, run: Run, stage: int) -> StageData:
    if not 0 <= stage < len(run.stages):
        there = f"its stages are 0 to {len(run.stages) - 1}" if run.stages else "none has begun"
        raise CannotCompare(f"run {letter(index)} has no stage {stage}: {there}")
    return run.stages[stage]


def _streams(stages: Sequence[StageData], stream: str | None) -> list[StreamData]:
    common = [name for name in stages[0].streams if all(name in s.streams for s in stages)]
    common.sort(key=lambda name: name != "video")
    if stream is None and not common:
        raise CannotCompare(f"no stream of stage {stages[0].index} is in every run")
    chosen = common[0] if stream is None else stream
    for i, s in enumerate(stages):
        if chosen not in s.streams:
            there = ", ".join(s.streams) or "none yet"
            raise CannotCompare(f"run {letter(i)} has no stream {chosen!r} in stage {s.index}; there are: {there}")
    return [s.streams[chosen] for s in stages]


def _metrics(streams: Sequence[StreamData], asked: Sequence[str] | None, align: Align) -> list[MetricInfo]:
    available = scalar_metrics(streams)
    level = AXES[align].metric
    if level is not None and level not in available:
        raise CannotCompare(f"not every run has the metric {level!r}, so they cannot be aligned by {align}")
    if asked is None:  # what the runs are aligned by is the same by itself
        asked = [name for name in DEFAULT_METRICS if name in available and name != level]
    for name in asked:
        if name not in available:
            raise UnknownMetric(name, available)
    return [streams[0].metrics[name] for name in dict.fromkeys(asked)]


def to_json_value(value: Any) -> Any:
    """JSON-like data of anything that a comparison holds: arrays as lists, NaN and infinities as None."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json_value(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, np.ndarray):
        return to_json_value(value.tolist())
    if isinstance(value, dict):
        return {str(k): to_json_value(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_json_value(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
