"""Which metrics each chart shows: one declaration per chart, and the step from the deck to a plot."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ltxtui.plot.model import Curve, Mark, Plot
from ltxtui.plot.text import clean
from ltxtui.reports.export import Table
from ltxtui.viewmodel.deck import Deck
from ltxtui.viewmodel.declared import declaration
from ltxtui.viewmodel.selection import length_of
from recorder.format import sigma_math

Over = Literal["", "mean", "max", "min"]
FIRST_FRAME: Final = 2
"""Frames are compared with the one before or with frame 1, and latent frame 0 stands for a single picture, so values
of the frames before this one say nothing of a drift; the drift index leaves them out as well."""


@dataclass(frozen=True)
class Line:
    """One metric of a chart under a short label.

    Of a metric with several values per step, `over` is what is drawn of them: their mean, highest or lowest along
    `axes`; of values per frame, those of the frames from `FIRST_FRAME` on.
    """

    metric: str
    label: str
    mark: Mark
    over: Over = ""
    axes: tuple[str, ...] = ("frame",)

    def about(self, deck: Deck) -> str:
        """What the run says of the metric, for a tooltip."""
        label, unit, description = declaration(deck, self.metric)
        over = ""
        if self.over:
            along = f"the latent frames {FIRST_FRAME}…" if self.axes == ("frame",) else clean(" × ".join(self.axes), 60)
            over = f"; {self.over} over {along}"
        return f"{self.label or label}: {description or 'not described by the run'}{over}{f' [{unit}]' if unit else ''}"


@dataclass(frozen=True)
class Chart:
    """A chart: its lines, what its y axis always shows, and the planned schedule drawn before it happens."""

    id: str
    title: str
    word: str
    """What is behind the title where the metrics have no unit, such as `cosine`."""
    lines: tuple[Line, ...]
    include: tuple[float, ...] = ()
    references: tuple[float, ...] = ()
    short: str = ""
    """A shorter title for a low and narrow panel."""
    planned: str = ""
    """`sigma` or `snr`: which form of the planned schedule is drawn as a ghost."""
    absent: str = ""
    """What it means if a line has no value at any step."""
    log: bool = False
    """Whether a logarithmic y axis makes sense: values that are positive, of the same kind."""
    note: str = ""
    """What its tooltip says besides the metrics' descriptions."""

    def about(self, deck: Deck) -> str:
        """Formula and meaning of every line, as the run gives them."""
        return "\n".join([*(line.about(deck) for line in self.lines), *([self.note] if self.note else [])])

    def unit(self, deck: Deck, stream: str | None = None) -> str:
        """The unit that the run declares for its lines, else the chart's word; empty if the lines differ in it."""
        units = {declaration(deck, line.metric, stream).unit for line in self.lines}
        return (units.pop() or self.word) if len(units) == 1 else ""


CHARTS: Final[tuple[Chart, ...]] = (
    Chart(
        "sigma",
        "σ",
        "noise level",
        (Line("sigma", "σ", Mark.FIRST),),
        include=(0.0, 1.0),
        planned="sigma",
        note="The planned levels are drawn faintly ahead; a shock shows how far down it went before it went up again.",
    ),
    Chart(
        "snr",
        "SNR",
        "",
        (Line("snr_measured_db", "measured", Mark.FIRST), Line("snr_schedule_db", "schedule", Mark.SECOND)),
        include=(0.0,),
        references=(0.0,),
        planned="snr",
        note="0 dB, where signal and noise are of equal power, is a line. −∞ at σ = 1 is a gap.",
    ),
    Chart(
        "velocity",
        "Velocity",
        "",
        (Line("velocity_rms", "RMS", Mark.FIRST), Line("velocity_cosine", "cosine", Mark.SECOND)),
    ),
    Chart(
        "energy",
        "Noise energy",
        "",
        (
            Line("energy_low_noise", "low", Mark.FIRST),
            Line("energy_mid_noise", "mid", Mark.SECOND),
            Line("energy_high_noise", "high", Mark.THIRD),
        ),
        include=(0.0,),
        short="Energy",
        log=True,
    ),
    Chart(
        "whiteness",
        "Noise whiteness",
        "",
        (
            Line("noise_whiteness_low", "low", Mark.FIRST),
            Line("noise_whiteness_mid", "mid", Mark.SECOND),
            Line("noise_whiteness_high", "high", Mark.THIRD),
        ),
        include=(1.0,),
        references=(1.0,),
        short="White",
        log=True,
        note="Natural data is not 1 even for a perfect model: compare runs at equal σ, never with 1.",
    ),
    Chart(
        "drift",
        "Drift",
        "cosine",
        (
            Line("frame_identity", "identity mean", Mark.FIRST, "mean"),
            Line("frame_coherence", "coherence mean", Mark.SECOND, "mean"),
            Line("frame_identity", "identity min", Mark.THIRD, "min"),
        ),
        include=(1.0,),
        absent="no frames to compare",
        note="Cosines show a swapped identity; a fade or a flicker shows only in the drift index at the end.",
    ),
    Chart(
        "wander",
        "Wander",
        "",
        (Line("low_frequency_wander", "RMS", Mark.FIRST), Line("low_frequency_wander_share", "share", Mark.SECOND)),
        include=(0.0,),
        log=True,
    ),
    Chart(
        "x0_change",
        "x0 change",
        "",
        (Line("x0_change_rms", "RMS", Mark.FIRST), Line("x0_change_rate", "rate", Mark.SECOND)),
        include=(0.0,),
        log=True,
    ),
    Chart(
        "guidance",
        "Guidance gap",
        "velocity RMS",
        (
            Line("guidance_gap_cfg", "cfg", Mark.FIRST),
            Line("guidance_gap_stg", "stg", Mark.SECOND),
            Line("guidance_gap_modality", "modality", Mark.THIRD),
        ),
        include=(0.0,),
        short="Guidance",
        absent="not run",
        log=True,
    ),
    Chart(
        "injected",
        "Noise injected",
        "",
        (Line("noise_injected", "injected", Mark.FIRST),),
        include=(0.0,),
        short="Injected",
    ),
)


def plan(deck: Deck, form: str) -> NDArray[np.float64] | None:
    """The planned schedule of the selected stage as noise levels or as the SNR in dB that they mean."""
    stage = deck.stage
    if stage is None or not form or not stage.sigmas:
        return None
    sigmas = deck.levels
    if form == "sigma":
        return sigmas
    return sigma_math.snr_db_of(sigmas)


def reached(deck: Deck, stream: str | None = None) -> NDArray[np.float64] | None:
    """How far down the sample went before a shock took it up again: one point per shock, None without any."""
    down, after = deck.series("sigma_down", stream), deck.series("sigma_next", stream)
    if down is None or after is None or not (shocked := down < after).any():
        return None
    return np.where(shocked, down, np.nan).astype(np.float64)


def values(line: Line, deck: Deck, stream: str | None = None) -> NDArray[np.floating[Any]] | None:
    """The visible rows of a line [steps], or None where the run does not have its metric in that form."""
    if not line.over:
        return deck.series(line.metric, stream)
    found = deck.stream_of(stream)
    info = found.metrics.get(line.metric) if found is not None else None
    if found is None or info is None or 0 in info.shape:
        return None
    batched = info.dims[1:2] == ("batch",)
    if info.dims[1 + batched :] != line.axes:
        return None
    rows = found.values(line.metric)[: deck.visible_of(stream)]
    rows = rows[:, min(deck.item, info.shape[0] - 1)] if batched else rows
    rows = rows.reshape(len(rows), math.prod(info.shape[batched:]))
    return reduced(rows[:, FIRST_FRAME:] if line.axes == ("frame",) else rows, line.over)


def reduced(rows: NDArray[np.floating[Any]], over: Over) -> NDArray[np.floating[Any]]:
    """Mean, highest or lowest of the finite values of each row [steps, values]; NaN where there is none."""
    finite = np.isfinite(rows)
    count = finite.sum(axis=1)
    if over == "min":
        found = np.where(finite, rows, np.inf).min(axis=1, initial=np.inf)
    elif over == "max":
        found = np.where(finite, rows, -np.inf).max(axis=1, initial=-np.inf)
    else:
        found = np.where(finite, rows, 0).sum(axis=1) / np.maximum(count, 1)
    return np.where(count, found, np.nan)


def plot(chart: Chart, deck: Deck, stream: str | None = None) -> Plot:
    """The chart of what is visible on the deck, of the selected stream or of one by its name."""
    visible, shown = deck.visible_of(stream), deck.stream_of(stream)
    curves, missing = [], []
    for line in chart.lines:
        found = values(line, deck, stream)
        if found is None:
            continue
        # A step's first row may have nothing to compare with; that alone says nothing.
        lacks = len(found) > 1 and not np.isfinite(found).any()
        missing.append(lacks)
        curves.append(Curve(f"{line.label} {chart.absent}" if lacks and chart.absent else line.label, found, line.mark))
    if visible and not curves:
        empty = f"not recorded for {shown.name}" if shown is not None else "not recorded"
    elif missing and all(missing):
        empty = chart.absent or "no value at any step"
    elif not visible:
        empty = deck.nothing
    else:
        empty = ""
    if chart.id == "sigma" and (down := reached(deck, stream)) is not None:
        curves.append(Curve("down", down, Mark.SECOND))
    planned = plan(deck, chart.planned)
    if planned is not None:
        curves.append(Curve("planned", planned, Mark.GHOST))
    return Plot(curves, deck.steps, chart.include, chart.references, empty, cursor=deck.cursor if visible else None)


def run_plot(chart: Chart, deck: Deck, stream: str | None = None) -> Plot:
    """The chart over all stages of the run, one behind the other; a line is broken between them."""
    lines: dict[tuple[Mark, str], Curve] = {}
    here, at, passed, total = plot(chart, deck, stream), 0, 0, deck.planned_total
    for stage in deck.run.stages:
        rows = tuple(s.rows for s in stage.streams.values())
        seen = min(stage.steps, max(0, deck.playhead - passed))
        key = (rows, length_of(stage), seen, deck.item, stream or deck.stream_name)
        name = f"{chart.id} {stream} {stage.index}"
        drawn = deck.keep(name, key, partial(_curves, chart, deck, stage.index, stream))
        for curve in drawn:
            name = curve.label.removesuffix(f" {chart.absent}") if chart.absent else curve.label
            kept = lines.setdefault((curve.mark, name), replace(curve, label=name, values=np.full(total, np.nan)))
            kept.values[at : at + len(curve.values)] = curve.values[: total - at]
        at, passed = at + length_of(stage), passed + stage.steps
    cursor = None if here.cursor is None else deck.before(deck.stage_index) + here.cursor
    return replace(here, curves=list(lines.values()), steps=total, cursor=cursor)


def _curves(chart: Chart, deck: Deck, stage: int, stream: str | None) -> Sequence[Curve]:
    return plot(chart, deck.at_stage(stage), stream).curves


def table(chart: Chart, deck: Deck) -> Table:
    """The visible steps of a chart: step, noise level, and one column per line."""
    lines = [(line, found) for line in chart.lines if (found := values(line, deck)) is not None]
    sigma = deck.series("sigma")
    columns = [("sigma", sigma)] if sigma is not None and chart.id != "sigma" else []
    columns += [(f"{line.metric}_{line.over}" if line.over else line.metric, found) for line, found in lines]
    rows = [[step, *(float(found[step]) for _, found in columns)] for step in range(deck.visible)]
    return Table(["step", *(name for name, _ in columns)], rows)
