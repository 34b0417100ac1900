"""A stream over all stages of a run on one axis of steps, one stage behind the other, and what happened on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ltxtui.panels.chart_plots import reduced
from ltxtui.panels.chart_specs import FIRST_FRAME, Chart, Line
from ltxtui.plot.text import clean
from recorder.format import sigma_math
from replay.model.run import MetricInfo, Run, StageData, StreamData
from replay.page import svg

_MARKED = ("shock", "critical", "error")


@dataclass(frozen=True)
class WholeStream:
    """One stream of all stages that have it."""

    run: Run
    name: str

    @property
    def parts(self) -> list[tuple[int, StageData, StreamData]]:
        """Where each stage begins on the axis, the stage, and its stream."""
        found, at = [], 0
        for stage in self.run.stages:
            if (stream := stage.streams.get(self.name)) is not None and stream.rows:
                found.append((at, stage, stream))
            at += stage.steps
        return found

    @property
    def x(self) -> svg.Values:
        """Steps of the run [steps]."""
        return np.arange(self.run.steps, dtype=np.float64)

    def info(self, metric: str) -> MetricInfo | None:
        """The declaration of a metric in the last stage that has it."""
        return next((s.metrics[metric] for _, _, s in reversed(self.parts) if metric in s.metrics), None)

    def values(self, line: Line) -> svg.Values | None:
        """A line of a chart [steps], the mean over the batch; None if no stage has it in that form."""
        found, known = np.full(self.run.steps, np.nan), False
        for at, _, stream in self.parts:
            rows = _reduced(stream, line)
            if rows is not None:
                found[at : at + len(rows)] = rows
                known = True
        return found if known else None

    def table(self, metric: str) -> svg.Values | None:
        """A metric with one value per step and place along its last axis [steps, places], of the first batch item."""
        info = self.info(metric)
        if info is None or not info.shape or not info.shape[-1]:
            return None
        found = np.full((self.run.steps, info.shape[-1]), np.nan)
        for at, _, stream in self.parts:
            own = stream.metrics.get(metric)
            if own is not None and own.shape[-1:] == info.shape[-1:] and 0 not in own.shape:
                found[at : at + stream.rows] = stream.values(metric).reshape(stream.rows, -1)[:, : info.shape[-1]]
        return found

    def planned(self, form: str) -> svg.Values:
        """The planned schedule [steps], as noise levels or as the SNR in dB that they mean."""
        found = np.full(self.run.steps, np.nan)
        at = 0
        for stage in self.run.stages:
            levels = np.asarray(stage.sigmas[: stage.steps], np.float64)
            found[at : at + len(levels)] = levels if form == "sigma" else sigma_math.snr_db_of(levels)
            at += stage.steps
        return np.where(np.isfinite(found), found, np.nan)

    def marks(self) -> list[svg.SvgMark]:
        """Where stages begin, and shocks and errors."""
        begins, at = {}, 0
        for stage in self.run.stages:
            begins[stage.index] = at
            at += stage.steps
        found = [svg.SvgMark(x, f"stage {n} begins", "stage") for n, x in begins.items() if x]
        for event in self.run.events:
            step: Any = event.get("step")
            if event.get("kind") in _MARKED and type(step) is int and event.get("stage") in begins and len(found) < 200:
                place = begins[event["stage"]] + step
                found.append(
                    svg.SvgMark(place, f"step {step}: {clean(event.get('text', ''), 160)}", str(event["kind"]))
                )
        return found


def _reduced(stream: StreamData, line: Line) -> svg.Values | None:
    info = stream.metrics.get(line.metric)
    if info is None or 0 in info.shape:
        return None
    batched = info.dims[1:2] == ("batch",)
    axes = info.dims[1 + batched :]
    if (line.over and axes != line.axes) or (not line.over and axes):
        return None
    values = stream.values(line.metric).astype(np.float64)
    if line.over:
        rows = values.reshape(stream.rows, -1, math.prod(info.shape[batched:]))
        rows = rows[:, :, FIRST_FRAME:] if line.axes == ("frame",) else rows
        return reduced(rows.reshape(stream.rows, -1), line.over)
    with np.errstate(invalid="ignore"):
        mean: svg.Values = values.reshape(stream.rows, -1).mean(axis=1)
    return np.where(np.isfinite(mean), mean, np.nan)


def lines_of(chart: Chart, stream: WholeStream) -> Sequence[svg.SvgLine]:
    """The lines of a chart that the stream has, and the planned schedule behind them; none if all are empty."""
    found = [
        svg.SvgLine(line.label or line.metric, values, "abc"[n % 3])
        for n, line in enumerate(chart.lines)
        if (values := stream.values(line)) is not None and np.isfinite(values).any()
    ]
    if found and chart.planned:
        found.append(svg.SvgLine("planned", stream.planned(chart.planned), "ghost"))
    return found
