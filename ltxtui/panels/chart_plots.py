"""From the deck to the plot of a chart: its curves, the usual ranges behind them, and its data as a table."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ltxtui.panels.chart_specs import FIRST_FRAME, Chart, Line, Over
from ltxtui.plot.model import Curve, Mark, Plot, Shade
from ltxtui.reports.export import Table
from ltxtui.viewmodel.deck import Deck
from ltxtui.viewmodel.selection import length_of
from recorder.format import sigma_math


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
        # The first row of a stage may have no earlier row to compare with, which does not justify the message.
        lacks = len(found) > 1 and not np.isfinite(found).any()
        missing.append(lacks)
        curves.append(Curve(f"{line.label} {chart.absent}" if lacks and chart.absent else line.label, found, line.mark))
    if visible and not curves:
        empty = f"not recorded for {shown.name}" if shown is not None else "not recorded"
    elif missing and all(missing):
        empty = deck.unless_fetching(chart.absent or "no value at any step")
    elif not visible:
        empty = deck.nothing
    else:
        empty = ""
    if chart.id == "sigma" and (down := reached(deck, stream)) is not None:
        curves.append(Curve("down", down, Mark.SECOND))
    planned = plan(deck, chart.planned)
    if planned is not None:
        curves.append(Curve("planned", planned, Mark.GHOST))
    cursor = deck.cursor if visible else None
    bands = usual(chart, deck, stream)
    return Plot(curves, deck.steps, chart.include, chart.references, empty, cursor=cursor, bands=bands)


def usual(chart: Chart, deck: Deck, stream: str | None = None) -> list[Shade]:
    """The usual ranges of a chart's lines, of metrics with one number per step and clip."""
    names = [line.metric for line in chart.lines if not line.over]
    found = [deck.usual_range(name, stream) for name in names]
    return [Shade(each.low, each.high) for each in found if each is not None]


def run_plot(chart: Chart, deck: Deck, stream: str | None = None) -> Plot:
    """The chart over all stages of the run, one behind the other; a line is broken between them."""
    lines: dict[tuple[Mark, str], Curve] = {}
    bands: list[Shade] = []
    here, at, passed, total = plot(chart, deck, stream), 0, 0, deck.planned_total
    for stage in deck.run.stages:
        rows = tuple(s.rows for s in stage.streams.values())
        seen = min(stage.steps, max(0, deck.playhead - passed))
        key = (rows, length_of(stage), seen, deck.item, stream or deck.stream_name, deck.usual.version)
        name = f"{chart.id} {stream} {stage.index}"
        drawn = deck.keep(name, key, partial(_at_stage, chart, deck, stage.index, stream))
        for curve in drawn.curves:
            name = curve.label.removesuffix(f" {chart.absent}") if chart.absent else curve.label
            kept = lines.setdefault((curve.mark, name), replace(curve, label=name, values=np.full(total, np.nan)))
            kept.values[at : at + len(curve.values)] = curve.values[: total - at]
        for band in drawn.bands:
            low, high = np.full(total, np.nan), np.full(total, np.nan)
            low[at : at + len(band.low)], high[at : at + len(band.high)] = (
                band.low[: total - at],
                band.high[: total - at],
            )
            bands.append(Shade(low, high))
        at, passed = at + length_of(stage), passed + stage.steps
    cursor = None if here.cursor is None else deck.before(deck.stage_index) + here.cursor
    return replace(here, curves=list(lines.values()), steps=total, cursor=cursor, bands=bands)


def _at_stage(chart: Chart, deck: Deck, stage: int, stream: str | None) -> Plot:
    return plot(chart, deck.at_stage(stage), stream)


def table(chart: Chart, deck: Deck) -> Table:
    """The visible steps of a chart: step, noise level, and one column per line."""
    lines = [(line, found) for line in chart.lines if (found := values(line, deck)) is not None]
    sigma = deck.series("sigma")
    columns = [("sigma", sigma)] if sigma is not None and chart.id != "sigma" else []
    columns += [(f"{line.metric}_{line.over}" if line.over else line.metric, found) for line, found in lines]
    rows = [[step, *(float(found[step]) for _, found in columns)] for step in range(deck.visible)]
    return Table(["step", *(name for name, _ in columns)], rows)
