"""Frames over the steps: identity, coherence, motion or jerk of every latent frame as a heat map."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from ltxtui.panels.panel import Panel
from ltxtui.panels.steps import StepView, vectors
from ltxtui.plot import heatmap
from ltxtui.plot.line_plot import GUTTER, Style
from ltxtui.plot.rows import TextRow
from ltxtui.plot.text import significant
from ltxtui.reports.export import Table
from ltxtui.viewmodel.deck import Deck
from ltxtui.viewmodel.declared import declaration
from ltxtui.viewmodel.drift import drift_forms
from ltxtui.viewmodel.frame_quantities import QUANTITIES, FrameQuantity, frame_numbers, limits
from replay.model.run import StreamData

_ID: Final = "frames"


def stream_with(deck: Deck, metric: str) -> StreamData | None:
    """The selected stream if it has the metric, else the first one that has it."""
    stage = deck.stage
    streams = (deck.stream, *stage.streams.values()) if stage is not None else ()
    return next((s for s in streams if s is not None and metric in s.metrics), None)


def frame_values(deck: Deck, quantity: FrameQuantity) -> NDArray[np.float32] | None:
    """The visible rows of a quantity [steps, frames] of the selected clip; None where the run does not have it."""
    stream = stream_with(deck, quantity.metric)
    return None if stream is None else vectors(deck, quantity.metric, stream.name)


class FramesView(StepView):
    """Frame 0 on top, steps across as in every chart; a column shows the mean of its steps.

    It shows the stream that has frames, whichever is selected.
    """

    def __init__(self, deck: Deck, style: Style, *, id: str = _ID) -> None:
        super().__init__(deck, style, id=id)
        self._known: tuple[object, ...] = ()
        self._values: NDArray[np.float64] = np.empty((0, 0))
        self._ends = 0.0, 1.0
        self._drawn: tuple[object, ...] = ()
        self._columns: NDArray[np.intp] = np.empty(0, np.intp)
        self._levels: NDArray[np.int64] = np.empty((0, 0), np.int64)

    def rows(self, width: int, height: int) -> list[TextRow]:
        deck, quantity = self.deck, QUANTITIES[self.deck.frame_quantity]
        title = f"Frames {quantity.name}"
        stream, values = stream_with(deck, quantity.metric), frame_values(deck, quantity)
        if stream is None or values is None or not len(values):
            return self.nothing(width, height, title, self._absent(quantity))
        if not self._take(stream, quantity, values):
            absent = deck.unless_fetching(f"no value of {quantity.name} at any step")
            return self.nothing(width, height, title, absent)
        low, high = self._ends
        head = self.heading(width, title)
        heatmap.scale(head, significant(low), significant(high), 0 if self.ascii else self.colours)
        head.add(next((f"  {form}" for form in drift_forms(deck) if head.fits(f"  {form}")), ""), "label")
        if head.fits("  y: latent frame"):
            head.add("  y: latent frame", "dim")
        wide, lines = self.plot_width(width), max(1, height - 2)
        levels, cursor = self._map(wide, lines), self.cursor_column(wide)
        numbers = frame_numbers(stream, quantity.metric)
        labels, marked = frame_labels(numbers, lines), self._marked(numbers, lines)
        rows = [head.filled()]
        for line in range(lines):
            label, here = labels.get(line, ""), line in marked
            row = margin(self.row(width), label, here, ascii_only=self.ascii)
            above, below = levels[2 * line], levels[2 * line + 1]
            heatmap.draw(above.tolist(), below.tolist(), 0 if self.ascii else self.colours, row, cursor)
            rows.append(row.filled())
        return [*rows, self.axis_row(width)][: max(1, height)]

    def _absent(self, quantity: FrameQuantity) -> str:
        stream = self.deck.stream
        if stream is None or not self.deck.visible_of(stream.name):
            return self.deck.nothing
        return f"{quantity.name} per frame not recorded"

    def _take(self, stream: StreamData, quantity: FrameQuantity, values: NDArray[np.float32]) -> bool:
        """Convert new rows, and keep the ends of the colour scale; whether any value is finite."""
        known = (id(stream), quantity, self.deck.item, values.shape[1])
        if known != self._known or len(values) < len(self._values):
            self._known, self._values, self._drawn = known, np.empty((0, values.shape[1])), ()
        if len(values) > len(self._values):
            self._values = np.concatenate([self._values, values[len(self._values) :].astype(np.float64)])
            self._drawn = ()
            self._ends = limits(self._values, quantity)
        return bool(np.isfinite(self._values).any())

    def _map(self, wide: int, lines: int) -> NDArray[np.int64]:
        """Levels of the map [two per line, columns], frame 0 first; kept while only the cursor moves."""
        columns = self.deck.columns(wide)
        count = heatmap.palette(0 if self.ascii else self.colours).levels
        drawn = (wide, lines, count, self._ends)
        if drawn != self._drawn or not np.array_equal(columns, self._columns):
            means = heatmap.by_column(self._values, columns, wide)
            self._levels = heatmap.levels(heatmap.fold(means, 2 * lines).T, *self._ends, count)
            self._drawn, self._columns = drawn, columns
        return self._levels

    def _marked(self, numbers: list[int], lines: int) -> set[int]:
        """The lines of the frames that the selected finding is about."""
        chosen = self.deck.findings.chosen
        if chosen is None or chosen.frames is None or chosen.stage not in (None, self.deck.stage_index):
            return set()
        first, last = chosen.frames
        return {
            line
            for n, frame in enumerate(numbers)
            if first <= frame <= last
            for line in lines_of(n, len(numbers), lines)
        }


def margin(row: TextRow, label: str, marked: bool = False, *, ascii_only: bool) -> TextRow:
    """Add what is left of a line of a map: the frame's number, the mark of a finding, and the axis."""
    row.add(f"{label:>{GUTTER - 2}}", "tick")
    row.add((">" if ascii_only else "►") if marked else " ", "warning" if marked else "")
    return row.add(("+" if label else "|") if ascii_only else "┤" if label else "│", "axis")


def lines_of(n: int, count: int, lines: int) -> range:
    """The text lines that the n-th of `count` frames is drawn in, two frames a line where there are many."""
    halves = 2 * lines
    first = -(-n * halves // count) if count <= halves else n * halves // count
    last = (-(-(n + 1) * halves // count) if count <= halves else first + 1) - 1
    return range(first // 2, last // 2 + 1)


def frame_labels(numbers: list[int], lines: int) -> dict[int, str]:
    """Frame numbers by line from the top, in the middle of their lines: both ends, others where they fit."""
    middle = {}
    for n in range(len(numbers)):
        there = lines_of(n, len(numbers), lines)
        middle[n] = (there[0] + there[-1]) // 2
    labels: dict[int, str] = {}
    for n in (0, len(numbers) - 1, *range(len(numbers))):
        if all(abs(middle[n] - line) > 1 for line in labels):
            labels[middle[n]] = str(numbers[n])
    return labels


def table(deck: Deck) -> Table:
    """One row per visible step, one column per latent frame."""
    quantity = QUANTITIES[deck.frame_quantity]
    stream, values = stream_with(deck, quantity.metric), frame_values(deck, quantity)
    if stream is None or values is None:
        return Table(["step"], [])
    names = [f"{quantity.metric} of frame {n}" for n in frame_numbers(stream, quantity.metric)]
    return Table(["step", *names], [[n, *row] for n, row in enumerate(values.tolist())])


def about(deck: Deck) -> str:
    """Formula and meaning of all quantities, as the run gives them."""
    lines = [f"{q.name}: {declaration(deck, q.metric, 'video').description}" for q in QUANTITIES.values()]
    return "\n".join(["Every latent frame over the steps; frames that the selected finding names are marked.", *lines])


PANELS: Final = (Panel(_ID, "Frames over steps", about, lambda deck, style: FramesView(deck, style), table),)
