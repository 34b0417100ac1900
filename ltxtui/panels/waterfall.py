"""The waterfall: radial frequency over the steps as a heat map of one quantity's spectrum in dB."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ltxtui.panels.panel import Panel
from ltxtui.panels.steps import QUANTITIES, StepView, decibels, frequencies, vectors
from ltxtui.plot import heatmap
from ltxtui.plot.line_plot import GUTTER, Style
from ltxtui.plot.rows import TextRow
from ltxtui.plot.text import clean
from ltxtui.reports.export import Table
from ltxtui.viewmodel.deck import Deck
from ltxtui.viewmodel.declared import declaration
from replay.model.run import StreamData

_ID: Final = "waterfall"


class WaterfallView(StepView):
    """Low frequencies below, high ones above; a column shows the mean of the dB values of its steps."""

    def __init__(self, deck: Deck, style: Style, *, id: str = _ID) -> None:
        super().__init__(deck, style, id=id)
        self.stream_name: str | None = None
        self._known: tuple[object, ...] = ()
        self._stream: StreamData | None = None
        self._decibels = np.empty((0, 0))
        self._drawn: tuple[object, ...] = ()
        self._columns = np.empty(0, np.intp)
        self._levels = np.empty((0, 0), np.int64)

    def rows(self, width: int, height: int) -> list[TextRow]:
        deck, quantity = self.deck, QUANTITIES[self.deck.quantity]
        title = f"Waterfall {quantity.name}"
        stream = deck.stream_of(self.stream_name)
        if stream is None or not self._take(stream):
            return self.nothing(width, height, title, self.absent(stream, f"{quantity.name} spectrum"))
        low, high = limits(self._decibels)
        at, unit = frequencies(stream, quantity.metric)
        head = self.heading(width, title)
        if self.stream_name is not None:
            head.add(f"{clean(stream.name, 12)} ", "label")
        heatmap.scale(head, f"{low:.0f}", f"{high:.0f} dB", self.colours if not self.ascii else 0)
        if head.fits(f"  y: {unit}"):
            head.add(f"  y: {unit}", "dim")
        wide, lines = self.plot_width(width), max(1, height - 2)
        levels, cursor = self._map(wide, lines, low, high), self.cursor_column(wide)
        labels = bin_labels(at, lines)
        rows = [head.filled()]
        for line in range(lines):
            label = labels.get(line, "")
            row = self.row(width).add(f"{label:>{GUTTER - 1}}", "tick")
            row.add(("+" if label else "|") if self.ascii else "┤" if label else "│", "axis")
            above, below = levels[-1 - 2 * line], levels[-2 - 2 * line]
            heatmap.draw(above.tolist(), below.tolist(), 0 if self.ascii else self.colours, row, cursor)
            rows.append(row.filled())
        return [*rows, self.axis_row(width)][: max(1, height)]

    def _take(self, stream: StreamData) -> bool:
        """Convert new rows of the spectrum to dB; whether there are any rows."""
        quantity = QUANTITIES[self.deck.quantity]
        values = vectors(self.deck, quantity.metric, self.stream_name)
        if values is None or not len(values):
            return False
        known = (quantity, self.deck.item, values.shape[1])
        if self._stream is not stream or known != self._known or len(values) < len(self._decibels):
            self._stream, self._known, self._decibels = stream, known, np.empty((0, values.shape[1]))
        if len(values) > len(self._decibels):
            new = decibels(values[len(self._decibels) :], quantity)
            self._decibels = np.concatenate([self._decibels, new])
            self._drawn = ()
        return True

    def _map(self, wide: int, lines: int, low: float, high: float) -> NDArray[np.int64]:
        """Levels of the map [two per line, columns], the lowest frequency first; kept while only the cursor moves."""
        columns = self.deck.columns(wide)
        count = heatmap.palette(0 if self.ascii else self.colours).levels
        drawn = (self._known, wide, lines, low, high, count, len(self._decibels))
        if drawn != self._drawn or not np.array_equal(columns, self._columns):
            means = heatmap.by_column(self._decibels, columns, wide)
            self._levels = heatmap.levels(heatmap.fold(means, 2 * lines).T, low, high, count)
            self._drawn, self._columns = drawn, columns
        return self._levels


def limits(values: NDArray[np.float64]) -> tuple[float, float]:
    """Ends of the colour scale: round numbers of dB, which stay the same while a live run grows."""
    finite = values[np.isfinite(values)]
    if not finite.size:
        return 0.0, 10.0
    low, high = float(finite.min()), float(finite.max())
    step = 10.0 if high - low > 30 else 5.0
    low, high = math.floor(low / step) * step, math.ceil(high / step) * step
    return low, high if high > low else low + step


def bin_labels(at: NDArray[np.float64], lines: int) -> dict[int, str]:
    """Labels of frequencies by line from the top, in the middle of their lines: both ends, others where they fit."""
    halves = 2 * lines
    bins = np.arange(halves) * len(at) // halves
    middle = {int(n): lines - 1 - int(np.flatnonzero(bins == n).mean()) // 2 for n in np.unique(bins)}
    labels: dict[int, str] = {}
    for n in (min(middle), max(middle), *middle):
        if all(abs(middle[n] - line) > 1 for line in labels):
            value = float(at[n])
            labels[middle[n]] = f"{value:.0f}" if value.is_integer() else f"{value:.2f}"[: GUTTER - 1]
    return labels


def table(deck: Deck) -> Table:
    """One row per visible step, one column per radial frequency, in dB."""
    quantity, stream = QUANTITIES[deck.quantity], deck.stream
    values = vectors(deck, quantity.metric)
    if stream is None or values is None:
        return Table(["step"], [])
    at, unit = frequencies(stream, quantity.metric)
    names = [f"{quantity.metric}_db at {frequency:.4g} {unit}" for frequency in at]
    return Table(["step", *names], [[n, *row] for n, row in enumerate(decibels(values, quantity).tolist())])


def about(deck: Deck) -> str:
    """Formula and meaning of all quantities, as the run gives them."""
    lines = [f"{q.name}: {declaration(deck, q.metric).description}" for q in QUANTITIES.values()]
    return "\n".join(["Radial frequency over the steps in dB; no power at all is the lowest colour.", *lines])


PANELS: Final = (Panel(_ID, "Waterfall", about, lambda deck, style: WaterfallView(deck, style), table),)
