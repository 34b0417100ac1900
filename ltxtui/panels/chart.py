"""One chart with its title and the values under the cursor."""

from __future__ import annotations

import math

from textual import events
from textual.message import Message

from ltxtui import scales
from ltxtui.deck import Deck
from ltxtui.drawing import GUTTER, Mark, Plot, Style, columns, draw
from ltxtui.panels.charts import Chart, plot
from ltxtui.panels.view import View
from ltxtui.spans import Row
from ltxtui.text import number

_ROOMY = 9
_WIDE = 50
# From the roomiest to the tightest, with the width of the numbers.
_FORMS = (
    ("{sample} {label} {value}  ", 6),
    ("{sample}{label} {value} ", 6),
    ("{sample}{value} ", 6),
    ("{sample}{value} ", 5),
)


class ChartView(View):
    """Draws a chart of the deck; a click on it names a step."""

    class StepPicked(Message):
        """The mouse asks for the cursor to be put on a step."""

        def __init__(self, step: int) -> None:
            super().__init__()
            self.step = step

    def __init__(self, chart: Chart, deck: Deck, style: Style) -> None:
        super().__init__(deck, style, id=chart.id, classes="chart")
        self.chart = chart

    def rows(self, width: int, height: int) -> list[Row]:
        shown = plot(self.chart, self.deck)
        full, width = width, width - 1  # a free column between neighbours
        # A low panel has the values beside its title, a high one below it.
        if height < _ROOMY:
            head = [self._readout(self.row(width).add(self.chart.short or self.chart.title, "title").add(" "), shown)]
        else:
            title = self.row(width).add(self.chart.title, "title").add(f" {self.chart.unit}".rstrip(), "dim").add(" ")
            title.add(("-" if self.ascii else "─") * title.room, "axis")
            head = [title.filled(), self._readout(self.row(width).add("  "), shown)]
        rows = [*head, *draw(shown, width, max(1, height - len(head)), self.drawing)]
        return [row.widened(full) for row in rows]

    def _readout(self, row: Row, shown: Plot) -> Row:
        """The value of every line under the cursor beside its sample, in the longest form that fits."""
        forms = [self._parts(shown, *form) for form in _FORMS]
        parts = next((p for p in forms if row.fits("".join(text for text, _ in p))), forms[-1])
        for text, role in parts:
            row.add(text, role)
        return row.filled()

    def _parts(self, shown: Plot, form: str, digits: int) -> list[tuple[str, str]]:
        parts = []
        for curve in shown.curves:
            sample = curve.mark.sample(self.drawing)
            value = math.nan
            if shown.cursor is not None and shown.cursor < len(curve.values):
                value = float(curve.values[shown.cursor])
            if curve.mark is Mark.GHOST and len(self.chart.lines) > 1:
                # The recorded schedule is among the lines: its plan is named where there is room, not read out.
                text = f"{sample} {curve.label}  " if self.size.width >= _WIDE else ""
            else:
                text = form.format(sample=sample, label=curve.label, value=number(value, digits))
            parts.append((text, curve.mark.role))
        return [(text if n < len(parts) - 1 else text.rstrip(), role) for n, (text, role) in enumerate(parts)]

    def on_click(self, event: events.Click) -> None:
        steps = self.deck.steps
        if steps:
            self.post_message(self.StepPicked(scales.step_at(event.x - GUTTER, steps, columns(self.size.width - 1))))
