"""What panels over the steps share: the columns of the deck's axis, its labels, clicks, and vectors per step."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from textual import events

from ltxtui.panels.chart_view import ChartView, flags
from ltxtui.panels.view import View
from ltxtui.plot import labels
from ltxtui.plot.line_plot import GUTTER, Style, columns
from ltxtui.plot.model import Plot
from ltxtui.plot.rows import TextRow
from ltxtui.viewmodel.deck import Deck
from replay.model.run import StreamData

Floats = NDArray[np.float64]


class SpectrumQuantity(NamedTuple):
    """A spectrum per step: its metric and the name that is shown."""

    metric: str
    name: str
    decibels: bool = False
    """Whether it is in dB as recorded; powers are shown so."""


QUANTITIES: Final[dict[str, SpectrumQuantity]] = {
    "x0": SpectrumQuantity("spectrum_x0", "x0"),
    "noise": SpectrumQuantity("spectrum_noise", "noise"),
    "velocity": SpectrumQuantity("spectrum_velocity", "velocity"),
    "snr": SpectrumQuantity("snr_spectrum_db", "SNR", decibels=True),
}


def next_quantity(deck: Deck, by: int = 1) -> None:
    """Select the next quantity of waterfall and spectrum."""
    names = list(QUANTITIES)
    deck.quantity = names[(names.index(deck.quantity) + by) % len(names)]


def vectors(deck: Deck, metric: str, stream: str | None = None) -> NDArray[np.float32] | None:
    """The visible rows of a metric with one vector per step [steps, n], of the selected batch item.

    None where the run does not have it in that form.
    """
    found = deck.stream_of(stream)
    info = found.metrics.get(metric) if found is not None else None
    if found is None or info is None or len(info.shape) != 2 or 0 in info.shape:
        return None
    return found.values(metric)[: deck.visible_of(stream), min(deck.item, info.shape[0] - 1)]


def decibels(values: NDArray[np.floating], quantity: SpectrumQuantity) -> Floats:
    """A spectrum in dB; no power at all is −inf."""
    if quantity.decibels:
        return values.astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = 10 * np.log10(values.astype(np.float64))
    return found


def frequencies(stream: StreamData, metric: str) -> tuple[Floats, str]:
    """The radial frequency of every bin and its unit; plain numbers if the run does not say."""
    info = stream.metrics[metric]
    known = stream.coordinates.get(info.dims[-1])
    try:
        values = np.asarray(known["values"], np.float64) if known is not None else np.empty(0)
    except (KeyError, TypeError, ValueError):
        values = np.empty(0)
    if values.shape != info.shape[-1:] or not np.isfinite(values).all():
        return np.arange(info.shape[-1], dtype=np.float64), "bin"
    return values, "Nyquist"


class StepView(View):
    """A panel with a step axis: the same columns as every chart of its width, and a click that names a step."""

    def __init__(self, deck: Deck, style: Style, *, id: str) -> None:
        super().__init__(deck, style, id=id, classes="chart")

    @staticmethod
    def plot_width(width: int) -> int:
        """Columns for the steps in a panel of a width, of which one stays free between neighbours."""
        return columns(width - 1)

    def on_click(self, event: events.Click) -> None:
        if self.deck.steps and event.y:  # the title is above the plot
            place = self.deck.place_at(event.x - GUTTER, self.plot_width(self.size.width))
            self.post_message(ChartView.StepPicked(*place))

    def cursor_column(self, width: int) -> int | None:
        """The cursor's column in a plot of a width, None outside the window."""
        places = self.deck.columns(width)
        if not self.deck.visible or self.deck.cursor >= len(places) or places[self.deck.cursor] < 0:
            return None
        return int(places[self.deck.cursor])

    def axis_row(self, width: int) -> TextRow:
        """The axis under the plot, as under every chart."""
        deck, wide = self.deck, self.plot_width(width)
        cursor = deck.cursor if deck.visible else None
        shown = Plot([], deck.steps, cursor=cursor, ruler=deck.ruler, flags=flags(deck))
        return labels.axis(shown, wide, width - 1, self.drawing).widened(width)

    def heading(self, width: int, title: str) -> TextRow:
        """The first row, with room for more."""
        return self.row(width - 1).add(title, "title").add(" ")

    def nothing(self, width: int, height: int, title: str, text: str) -> list[TextRow]:
        """The rows of a panel without data: its title and the reason."""
        rows = [self.heading(width, title).filled()]
        rows += [self.row(width).filled() for _ in range(max(0, (height - 2) // 2))]
        return [*rows, self.row(width).add("  ").add(text, "dim").filled()][:height]

    def absent(self, stream: StreamData | None, what: str) -> str:
        """Why a panel has no data."""
        if stream is None or not self.deck.visible_of(stream.name):
            return self.deck.nothing
        return f"{what} not recorded for {stream.name}"
