"""The readout table: value, difference to the step before and to the reference mark, of the metrics on the screen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

from ltxtui.panels.chart_plots import values
from ltxtui.panels.chart_specs import CHARTS, Line
from ltxtui.panels.chart_view import ChartView
from ltxtui.panels.panel import Panel
from ltxtui.panels.view import View
from ltxtui.plot.axis import INFO
from ltxtui.plot.line_plot import Style
from ltxtui.plot.model import value_at
from ltxtui.plot.rows import TextRow
from ltxtui.plot.text import clean, duration, number
from ltxtui.reports.export import Table
from ltxtui.viewmodel.deck import Deck
from ltxtui.viewmodel.declared import declaration

MAIN: Final = (
    "sigma", "snr_schedule_db", "snr_measured_db", "velocity_rms", "velocity_cosine", "energy_low_noise",
    "energy_mid_noise", "energy_high_noise", "x0_change_rms", "low_frequency_wander",
)  # fmt: skip
"""The metrics that are read out where no chart is on the screen."""
_HEAD: Final = ("value", "Δ step", "Δ mark")
_CELL: Final = 8
_LABEL: Final = 11
"""Least columns for the names."""


class Reading(NamedTuple):
    """One metric at the cursor; NaN where there is nothing to compare with."""

    stream: str
    line: Line
    name: str
    """The metric's label."""
    value: float
    before: float
    mark: float

    @property
    def label(self) -> str:
        """Its name; where a step has several values, also which of them, or their mean."""
        return f"{self.name} {self.line.over}".strip()


def main_lines() -> list[Line]:
    """The main metrics, as the charts declare them."""
    declared = {line.metric: line for chart in CHARTS for line in chart.lines if not line.over}
    return [declared[name] for name in MAIN if name in declared]


def readings(deck: Deck, lines: Sequence[Line], streams: Sequence[str] = ()) -> list[Reading]:
    """Lines at the cursor, stream after stream, without those that a stream does not have.

    Args:
        deck: whose cursor and mark.
        lines: what to read.
        streams: of which; without any, those of the deck's lanes.
    """
    found = []
    for stream in streams or deck.lane_streams:
        for line in lines:
            series = values(line, deck, stream)
            if series is None:
                continue
            here = value_at(series, deck.cursor)
            before, mark = value_at(series, deck.cursor - 1), value_at(series, deck.mark_step)
            name = declaration(deck, line.metric, stream).label
            found.append(Reading(stream, line, name, here, here - before, here - mark))
    return found


class ReadoutView(View):
    """A table of what the charts on the screen show, one row per metric; what does not fit is left out from below."""

    def __init__(self, deck: Deck, style: Style, *, id: str = "readout") -> None:
        super().__init__(deck, style, id=id, classes="readout")

    def rows(self, width: int, height: int) -> list[TextRow]:
        deck, full = self.deck, width
        width -= 1  # a free column between neighbours
        head = self.row(width).add("Readout ", "title").add(self._place(), "label").filled()
        columns = max(1, min(len(_HEAD), (width - _LABEL) // _CELL))
        # Where only one difference fits, it is that to the mark if there is one.
        chosen = (0, 2) if columns == 2 and deck.mark_step is not None else tuple(range(columns))
        names = self.row(width).add(" " * (width - columns * _CELL))
        for n in chosen:
            names.add(f"{_HEAD[n]:>{_CELL}}", "dim")
        rows = [head, names]
        both, last = len(deck.lane_streams) > 1, ""
        for reading in readings(deck, self._lines()):
            if both and reading.stream != last:
                last = reading.stream
                rows.append(self.row(width).add(clean(last, 20), "label").filled())
            row = self.row(width)
            row.add(f"{reading.label:<{width}}"[: width - columns * _CELL - 1] + " ")
            for value in ((reading.value, reading.before, reading.mark)[n] for n in chosen):
                row.add(f"{number(value):>{_CELL}}", "" if math.isfinite(value) else "dim")
            rows.append(row.filled())
        if len(rows) == 2:
            rows.append(self.row(width).add(deck.nothing, "dim").filled())
        return [row.widened(full) for row in rows[:height]]

    def _place(self) -> str:
        """The position of cursor and mark."""
        deck = self.deck
        if not deck.visible:
            return ""
        parts = [f"step {deck.cursor}"]
        if deck.axis.mode != "step" and deck.cursor < len(deck.ruler.values):
            parts.append(f"{deck.ruler.text(deck.cursor)} {INFO[deck.axis.mode].unit}")
        stage, time = deck.stage, deck.time
        if stage is not None and time is not None:
            parts.append(f"+{duration(time - stage.time)}")
        if deck.mark_step is not None:
            parts.append(f"mark {deck.mark_step}")
        return " · ".join(parts)

    def _lines(self) -> list[Line]:
        """What the charts on the screen show, each metric once, in their order."""
        charts = [view for view in self.screen.query(ChartView) if view.display]
        found = {(line.metric, line.over): line for view in charts for line in view.chart.lines}
        return list(found.values()) or main_lines()


def table(deck: Deck) -> Table:
    """The main metrics at the cursor."""
    rows = [(r.stream, r.line.metric, r.value, r.before, r.mark) for r in readings(deck, main_lines())]
    return Table(("stream", "metric", "value", "delta_to_step_before", "delta_to_mark"), rows)


ABOUT: Final = (
    "Values at the cursor of the metrics that the charts on the screen show, their difference to the step before, and "
    "to the reference mark: value here minus value there."
)

PANELS: Final = (Panel("readout", "Readout", lambda deck: ABOUT, lambda deck, style: ReadoutView(deck, style), table),)
