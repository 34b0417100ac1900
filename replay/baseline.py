"""Baselines: what is usual for a model at a size, from runs that their owner calls good. Pure functions.

Curves are compared at equal σ. A baseline holds, for each run and metric, the values at `LEVELS`; the band between the
10th and the 90th percentile is what is usual.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recorder.findings.finding import Finding, finite_or_none
from replay.comparison.alignment import at_levels
from replay.model.run import Run
from replay.model.stream import StreamData

Floats = NDArray[np.float64]

LEVELS: Final[Floats] = np.linspace(1.0, 1 / 64, 64)
"""σ at which curves are kept [levels]."""
FEWEST: Final = 5
"""Curves below which nothing counts as unusual."""
MOST_CLIPS: Final = 8
MOST_NOTES: Final = 6
"""Notes on one run: the metrics that leave their bands by the most."""
PERCENTILES: Final = (10.0, 90.0)
_ROWS: Final = 3
"""Rows in a row, or all to the end, that must be outside: one alone is chance."""
_MARGIN: Final = (1.0, 6.0)
"""A value must be outside by `1 + 6 / curves` widths of the band: a fifth of good runs is outside of the band itself,
and few curves make it too narrow."""

Curves = Mapping[str, Floats]
"""By metric: values at `LEVELS` of one clip [levels]; NaN where the run has none."""


class OtherBaseline(ValueError):
    """A baseline of another model or size."""


@dataclass(frozen=True)
class Baseline:
    """Good runs of one model and of one size of a stream: `runs` has the curves of each clip and stage."""

    model: str
    size: str
    runs: Mapping[str, Sequence[Curves]] = field(default_factory=dict)

    @property
    def curves(self) -> list[Curves]:
        return [curves for run in self.runs.values() for curves in run]


@dataclass(frozen=True, eq=False)
class Edges:
    """The edges of a metric's usual range.

    Attributes:
        levels: σ where enough curves have a value, rising [levels].
        low: the 10th percentile there [levels].
        high: the 90th percentile there [levels].
        count: curves that have the metric.
    """

    levels: Floats
    low: Floats
    high: Floats
    count: int

    def at(self, sigmas: Floats) -> Band:
        """The range at levels in any order [levels], between those of the baseline by interpolation."""
        if not len(self.levels):
            nothing = np.full(len(sigmas), np.nan)
            return Band(nothing, nothing, self.count)
        with np.errstate(invalid="ignore"):
            inside = (sigmas >= self.levels[0]) & (sigmas <= self.levels[-1])
        low, high = (np.where(inside, np.interp(sigmas, self.levels, e), np.nan) for e in (self.low, self.high))
        return Band(low, high, self.count)


@dataclass(frozen=True)
class Band:
    """The usual range of a metric at some levels: `low` and `high` [levels], NaN where nothing is known."""

    low: Floats
    high: Floats
    count: int
    """Curves that it comes from."""


def model_of(run: Run) -> str:
    """The model of a run; `unknown` for a custom loop that does not say."""
    for metadata in (run.metadata, *(stage.metadata for stage in run.stages)):
        if (found := metadata.get("model")) and isinstance(found, str):
            return found
    return "unknown"


def size_of(stream: StreamData) -> str:
    """The size of a stream in latents: `video 5×16×24` (frames, rows, columns), `audio 34`."""
    return f"{stream.name} {'×'.join(map(str, stream.grid))}"


def streams_of(run: Run) -> Iterator[tuple[int, StreamData]]:
    """Streams that have rows, with the index of their stage."""
    for stage in run.stages:
        for stream in stage.streams.values():
            if stream.rows:
                yield stage.index, stream


def metrics_of(stream: StreamData) -> list[str]:
    """Metrics with one number per step and clip; schedule and clocks are not among them."""
    return [name for name, info in stream.metrics.items() if tuple(info.dims) == ("step", "batch")]


def curves_of(stream: StreamData) -> list[Curves]:
    """The curves of a stream, one entry per clip."""
    sigma = stream.values("sigma").astype(np.float64)
    found: list[dict[str, Floats]] = []
    for name in metrics_of(stream):
        values = stream.values(name).astype(np.float64)
        for clip in range(min(values.shape[1], MOST_CLIPS)):
            if clip == len(found):
                found.append({})
            found[clip][name] = at_levels(sigma, values[:, clip], LEVELS)
    return list(found)


def band(baseline: Baseline, metric: str, sigmas: Floats, *, model: str | None = None, size: str | None = None) -> Band:
    """The usual range of a metric at the given levels [levels], between those of the baseline by interpolation.

    Args:
        baseline: of the run's model and size.
        metric: its name.
        sigmas: levels, in any order.
        model: of the run; checked if given.
        size: of the run's stream, as `size_of` gives it; checked if given.

    Raises:
        OtherBaseline: if the baseline is of another model or size.
    """
    if model is not None and model != baseline.model:
        raise OtherBaseline(f"the baseline is of the model {baseline.model}, the run of {model}")
    if size is not None and size != baseline.size:
        raise OtherBaseline(f"the baseline is of the size {baseline.size}, the run of {size}")
    return edges(baseline, metric).at(sigmas)


def edges(baseline: Baseline, metric: str) -> Edges:
    """The edges of a metric's usual range at the baseline's levels; without levels where nothing is known."""
    known = [curves[metric] for curves in baseline.curves if metric in curves]
    nothing = np.empty(0)
    if not known:
        return Edges(nothing, nothing, nothing, 0)
    values = np.stack(known)
    enough = np.isfinite(values).sum(axis=0) >= min(FEWEST, len(known))
    if not enough.any():
        return Edges(nothing, nothing, nothing, len(known))
    low, high = np.nanpercentile(values[:, enough], PERCENTILES, axis=0)
    return Edges(LEVELS[enough][::-1], low[::-1], high[::-1], len(known))


def outside(values: Floats, usual: Band) -> tuple[int, float] | None:
    """The first row from which values are outside of a band for `_ROWS` rows, and by how many widths at most."""
    width = usual.high - usual.low
    scale = np.maximum(width, 1e-3 * np.maximum(np.abs(usual.low), np.abs(usual.high)))
    scale = np.where(scale > 0, scale, 1e-12)
    with np.errstate(invalid="ignore"):
        excess = np.maximum(usual.low - values, values - usual.high) / scale
        bad = excess > _MARGIN[0] + _MARGIN[1] / max(1, usual.count)
    long = min(_ROWS, len(bad))
    for first in np.flatnonzero(bad):
        following = bad[first : first + long]
        if following.all() and len(following) == long:
            return int(first), float(np.nanmax(excess[first:]))
    return None


def notes(run: Run, baselines: Mapping[str, Baseline]) -> list[Finding]:
    """What of a run is unusual, as notes with the step it begins at; those that are furthest out, by stage and step.

    Args:
        run: finished or not.
        baselines: by size, of the run's model; streams of other sizes, and baselines of few curves, give nothing.

    Raises:
        OtherBaseline: if a baseline is of another model.
    """
    found: list[tuple[float, Finding]] = []
    for stage, stream in streams_of(run):
        size = size_of(stream)
        if (baseline := baselines.get(size)) is None or len(baseline.curves) < FEWEST:
            continue
        sigmas = stream.values("sigma").astype(np.float64)
        for name in metrics_of(stream):
            usual = band(baseline, name, sigmas, model=model_of(run), size=size)
            values = stream.values(name).astype(np.float64)
            for clip in range(min(values.shape[1], MOST_CLIPS)):
                if (place := outside(values[:, clip], usual)) is not None:
                    clips = None if values.shape[1] == 1 else clip
                    found.append((place[1], _note(name, stage, stream, clips, place[0], values[:, clip], usual)))
    worst = sorted(found, key=lambda each: -each[0])[:MOST_NOTES]
    return sorted((note for _, note in worst), key=lambda f: (f.stage or 0, f.step or 0, f.id))


def _note(
    name: str, stage: int, stream: StreamData, clip: int | None, row: int, values: Floats, usual: Band
) -> Finding:
    low, high, value = float(usual.low[row]), float(usual.high[row]), float(values[row])
    return Finding(
        id="outside-baseline",
        severity="note",
        text=f"{name} is {value:.3g} at step {row}, usual at this σ is {low:.3g} to {high:.3g} ({usual.count} curves)",
        stage=stage,
        stream=stream.name,
        clip=clip,
        step=row,
        evidence={"value": finite_or_none(value), "low": low, "high": high, "curves": float(usual.count)},
        advice="compare it with a run of the baseline: ltxtui compare; if it is fine, add it: ltxtui baseline add",
        short=f"{name} is unusual",
    )
