"""One chart with its title, the values under the cursor, and how they differ from those at the reference mark."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Final

from textual import events
from textual.message import Message

from ltxtui.panels.chart_plots import plot, run_plot, table
from ltxtui.panels.chart_specs import CHARTS, Chart
from ltxtui.panels.panel import Panel
from ltxtui.panels.view import View
from ltxtui.plot.canvas import SHADE
from ltxtui.plot.line_plot import GUTTER, Style, columns, draw
from ltxtui.plot.model import Flag, Mark, Plot, value_at
from ltxtui.plot.rows import TextRow
from ltxtui.plot.text import clean, number
from ltxtui.viewmodel.deck import Deck
from ltxtui.viewmodel.selection import length_of

_ROOMY = 9
_WIDE = 50
# From the roomiest to the tightest, with the width of the numbers; Δ is to the reference mark.
_FORMS = (
    ("{sample} {label} {value}  ", " Δ{delta}", 6),
    ("{sample} {label} {value} ", "", 6),
    # Never `━4.261`, which reads as a negative number.
    ("{sample} {value} ", "", 6),
    ("{sample} {value} ", "", 5),
    ("{sample} {value} ", "", 4),
)
_ALERTS: Final = frozenset({"nan", "warning", "finding"})
_ORDER: Final = ("nan", "finding", "shock", "warning", "control", "critical", "note", "stage")
USUAL: Final = " usual"
"""What the shade behind the lines is."""
MARK: Final = "M"
"""The letter of the reference mark on the axis."""


def flags(deck: Deck) -> list[Flag]:
    """The flags of every chart: the reference mark, the ends of a loop, and the markers.

    Where a stage begins needs no mark in a chart of that stage.
    """
    found = []
    if deck.mark_step is not None:
        found.append(Flag(deck.mark_step, MARK, "key"))
    offset = deck.offset(deck.stage_index)
    for end, letter in ((deck.loop or (deck.loop_from, None))[0], "["), ((deck.loop or (None, None))[1], "]"):
        if end is not None and 0 <= end - offset < deck.steps:
            found.append(Flag(end - offset, letter, "key", line=False))
    # Where there is room for one letter only, it is that of the first kind.
    for marker in sorted(deck.markers_shown, key=lambda m: _ORDER.index(m.kind)):
        if marker.kind != "stage":
            found.append(Flag(marker.step, marker.letter, "alert" if marker.kind in _ALERTS else "label"))
    return found


def run_flags(deck: Deck) -> list[Flag]:
    """The flags of all stages on the axis over the whole run, and where each stage begins."""
    starts, passed, start, seen = [], [], 0, 0
    for stage in deck.run.stages:
        starts.append(start)
        passed.append(seen)
        start, seen = start + length_of(stage), seen + stage.steps
    here = deck.stage_index
    found = [replace(flag, step=flag.step + starts[here]) for flag in flags(deck)]
    for marker in sorted(deck.markers, key=lambda m: _ORDER.index(m.kind)):
        visible = passed[marker.stage] + marker.step < deck.playhead
        if visible and (marker.kind == "stage" or marker.stage != here):
            role = "alert" if marker.kind in _ALERTS else "label"
            found.append(Flag(starts[marker.stage] + marker.step, marker.letter, role))
    return found


class ChartView(View):
    """Draws a chart of the deck, or of one stream of it as a lane; a click names a step."""

    class StepPicked(Message):
        """A click asks for the cursor to move to a step."""

        def __init__(self, stage: int, step: int) -> None:
            super().__init__()
            self.stage = stage
            self.step = step

    def __init__(self, chart: Chart, deck: Deck, style: Style, stream: str | None = None) -> None:
        super().__init__(deck, style, id=chart.id, classes="chart")
        self.chart = chart
        self.stream_name = stream
        """The stream to show; None is the deck's."""

    def shown(self) -> Plot:
        """What is drawn."""
        deck, log = self.deck, self.deck.log_y and self.chart.log
        if deck.whole_run and deck.stage is not None:
            drawn = run_plot(self.chart, deck, self.stream_name)
            return replace(drawn, ruler=deck.run_ruler, flags=run_flags(deck), log=log)
        drawn = plot(self.chart, deck, self.stream_name)
        return replace(drawn, ruler=deck.ruler, flags=flags(deck), log=log)

    def rows(self, width: int, height: int) -> list[TextRow]:
        shown = self.shown()
        full, width = width, width - 1  # a free column between neighbours
        # A low panel has the values next to its title, a high one below it.
        if height < _ROOMY:
            title = self._title(self.row(width), self.chart.short or self.chart.title, "")
            head = [self._readout(title, shown)]
        else:
            title = self._title(self.row(width), self.chart.title, self._unit() + (" log" if shown.log else ""))
            if shown.bands and title.fits(USUAL):
                title.add(SHADE[self.drawing], "band").add(f"{USUAL} ", "dim")
            forms = self.chart.aside(self.deck) if self.chart.aside is not None else ()
            title.add(next((f"{form} " for form in forms if title.fits(f"{form} ")), ""), "label")
            title.add(("-" if self.ascii else "─") * title.room, "axis")
            head = [title.filled(), self._readout(self.row(width).add("  "), shown)]
        rows = [*head, *draw(shown, width, max(1, height - len(head)), self.drawing)]
        return [row.widened(full) for row in rows]

    def _unit(self) -> str:
        return self.chart.unit(self.deck, self.stream_name)

    def _title(self, row: TextRow, title: str, unit: str) -> TextRow:
        row.add(title, "title")
        if self.stream_name is not None:
            row.add(f" {clean(self.stream_name, 12)}", "label")
        return row.add(f" {unit.strip()}".rstrip(), "dim").add(" ")

    def _readout(self, row: TextRow, shown: Plot) -> TextRow:
        """The value of every line under the cursor next to its sample, in the longest form that fits."""
        forms = [self._parts(shown, *form) for form in _FORMS]
        parts = next((p for p in forms if row.fits("".join(text for text, _ in p))), forms[-1])
        for text, role in parts:
            row.add(text, role)
        return row.filled()

    def _parts(self, shown: Plot, form: str, compared: str, digits: int) -> list[tuple[str, str]]:
        parts = []
        for curve in shown.curves:
            sample, value = curve.sample(self.drawing), value_at(curve.values, shown.cursor)
            if curve.mark is Mark.GHOST and len(self.chart.lines) > 1:
                # The recorded schedule is among the lines: its plan is named where there is room, not read out.
                text = f"{sample} {curve.label}  " if self.size.width >= _WIDE else ""
            else:
                labelled = form if curve.label else form.replace("{label} ", "")
                text = labelled.format(sample=sample, label=curve.label, value=number(value, digits))
                marked = self.deck.mark_step
                if compared and marked is not None and curve.mark is not Mark.GHOST:
                    marked += self.deck.before(self.deck.stage_index) if self.deck.whole_run else 0
                    delta = number(value - value_at(curve.values, marked), digits)
                    text = text.rstrip() + compared.format(delta=delta) + "  "
            parts.append((text, curve.role))
        return [(text if n < len(parts) - 1 else text.rstrip(), role) for n, (text, role) in enumerate(parts)]

    def on_click(self, event: events.Click) -> None:
        if self.deck.steps and event.y:  # the title is above the plot
            place = self.deck.place_at(event.x - GUTTER, columns(self.size.width - 1))
            self.post_message(self.StepPicked(*place))


def panel_of(chart: Chart) -> Panel:
    """The panel that shows a chart."""
    return Panel(chart.id, chart.title, chart.about, partial(ChartView, chart), partial(table, chart))


PANELS: Final[tuple[Panel, ...]] = tuple(panel_of(chart) for chart in CHARTS)
