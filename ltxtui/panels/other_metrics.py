"""Charts of the metrics that a run declares and no other panel shows: one chart each, made from the declarations."""

from __future__ import annotations

import re
from functools import partial
from typing import Final

from ltxtui.panels import chart_view
from ltxtui.panels.chart_specs import CHARTS, Chart, Line
from ltxtui.panels.panel import Panel
from ltxtui.panels.steps import QUANTITIES
from ltxtui.panels.system import LANES
from ltxtui.plot.model import Mark
from ltxtui.viewmodel.deck import Deck
from ltxtui.viewmodel.declared import Declaration
from replay.model.run import MetricInfo, Run

PREFIX: Final = "metric-"
"""Begins the id of every panel made here; the metric's name follows."""
SHOWN: Final = frozenset(
    {line.metric for chart in CHARTS for line in chart.lines}
    | {"sigma_down"}  # drawn by the chart of σ
    | {quantity.metric for quantity in QUANTITIES.values()}
    | {lane.key for lane in LANES if lane.metric}
)
"""Metrics that the other panels show."""
_POWERS: Final = ("power",)
"""Units whose values are positive, so that a logarithmic y axis makes sense."""
_ID: Final = re.compile(r"[^A-Za-z0-9_-]")


def others(run: Run) -> dict[str, MetricInfo]:
    """The metrics that no other panel shows, by name, in the order in which the run declares them."""
    found: dict[str, MetricInfo] = {}
    for stage in run.stages:
        for stream in stage.streams.values():
            for name, info in stream.metrics.items():
                if name not in SHOWN and 0 not in info.shape:
                    found.setdefault(name, info)
    return found


def chart_of(info: MetricInfo) -> Chart:
    """One metric as a chart: its values, or mean, highest and lowest of each row where a row holds several."""
    axes = info.dims[2:] if info.dims[1:2] == ("batch",) else info.dims[1:]
    lines = (
        Line(info.name, "mean", Mark.FIRST, "mean", axes),
        Line(info.name, "max", Mark.SECOND, "max", axes),
        Line(info.name, "min", Mark.THIRD, "min", axes),
    )
    id = PREFIX + _ID.sub("_", info.name)
    shown = lines if axes else (Line(info.name, "", Mark.FIRST),)
    return Chart(id, Declaration.of(info).label, "", shown, log=info.unit in _POWERS)


def panels(deck: Deck) -> tuple[Panel, ...]:
    """A panel for every metric of the run that no other panel shows; kept until another stream is declared."""
    run = deck.run
    return deck.keep("other metrics", tuple(len(stage.streams) for stage in run.stages), partial(_panels, run))


def _panels(run: Run) -> tuple[Panel, ...]:
    return tuple(chart_view.panel_of(chart_of(info)) for info in others(run).values())
