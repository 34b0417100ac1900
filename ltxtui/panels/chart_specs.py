"""Which metrics each chart shows: one declaration per chart, and the step from the deck to a plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from ltxtui.panels.panel import Panel, Table
from ltxtui.panels.view import View
from ltxtui.plot.line_plot import Curve, Mark, Plot, Style
from ltxtui.viewmodel.deck import Deck
from ltxtui.viewmodel.selection import length_of
from recorder.format.declarations import METRICS

Over = Literal["", "mean", "min"]
FIRST_FRAME: Final = 2
"""Frames are compared with the one before or with frame 1, and latent frame 0 stands for a single picture, so values
of the frames before this one say nothing of a drift; the drift index leaves them out as well."""


@dataclass(frozen=True)
class Line:
    """One metric of a chart under a short label; one per frame is taken over the frames from `FIRST_FRAME` on."""

    metric: str
    label: str
    mark: Mark
    over: Over = ""

    @property
    def about(self) -> str:
        """What it is, for a tooltip."""
        metric = METRICS[self.metric]
        unit = "" if metric.unit == "1" else f" [{metric.unit}]"
        frames = f"; {self.over} over the latent frames {FIRST_FRAME}…" if self.over else ""
        return f"{self.label}: {metric.description}{frames}{unit}"


@dataclass(frozen=True)
class Chart:
    """A chart: its lines, what its y axis always shows, and the planned schedule drawn before it happens."""

    id: str
    title: str
    unit: str
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
    """What its tooltip says beside the metrics' descriptions."""

    @property
    def about(self) -> str:
        """Formula and meaning of every line."""
        return "\n".join([*(line.about for line in self.lines), *([self.note] if self.note else [])])


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
        "dB",
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
        "power",
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
        note="Cosines tell an identity that is swapped; a fade or a flicker shows in the drift index at the end only.",
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
        "power",
        (Line("noise_injected", "injected", Mark.FIRST),),
        include=(0.0,),
        short="Injected",
    ),
)

WHITENESS: Final = next(chart for chart in CHARTS if chart.id == "whiteness")


def plan(deck: Deck, form: str) -> NDArray[np.float64] | None:
    """The planned schedule of the selected stage as noise levels or as the SNR in dB that they mean."""
    stage = deck.stage
    if stage is None or not form or not stage.sigmas:
        return None
    sigmas = deck.levels
    if form == "sigma":
        return sigmas
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(20 * np.log10((1 - sigmas) / sigmas))


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
    if found is None or info is None or info.dims[1:] != ("batch", "frame") or 0 in info.shape:
        return None
    rows = found.values(line.metric)[: deck.visible_of(stream), min(deck.item, info.shape[0] - 1), FIRST_FRAME:]
    return over_frames(rows, line.over)


def over_frames(rows: NDArray[np.floating[Any]], over: Over) -> NDArray[np.floating[Any]]:
    """Mean or least of the finite values of each row [steps, frames]; NaN where there is none."""
    finite = np.isfinite(rows)
    count = finite.sum(axis=1)
    if over == "min":
        found = np.where(finite, rows, np.inf).min(axis=1, initial=np.inf)
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


def _make(chart: Chart, deck: Deck, style: Style) -> View:
    from ltxtui.panels.chart_view import ChartView  # which imports the declarations above

    return ChartView(chart, deck, style)


PANELS: Final[tuple[Panel, ...]] = tuple(
    Panel(chart.id, chart.title, chart.about, partial(_make, chart), partial(table, chart)) for chart in CHARTS
)
