"""The spectrum at the cursor: power per radial frequency, with that of the mark or the previous step."""

from __future__ import annotations

from typing import Final

import numpy as np

from ltxtui.panels.panel import Panel
from ltxtui.panels.steps import QUANTITIES, decibels, frequencies, vectors
from ltxtui.panels.view import View
from ltxtui.plot.line_plot import Style, draw
from ltxtui.plot.model import Curve, Mark, Plot
from ltxtui.plot.rows import TextRow
from ltxtui.plot.text import clean, number
from ltxtui.reports.export import Table
from ltxtui.viewmodel.deck import Deck

_ID: Final = "spectrum"


def other_step(deck: Deck) -> tuple[int, str] | None:
    """What the cursor's step is compared with: the mark where there is one, else the step before."""
    mark = deck.mark_step
    if mark is not None and mark != deck.cursor and mark < deck.visible:
        return mark, "mark"
    return (deck.cursor - 1, "step") if deck.cursor > 0 else None


class SpectrumView(View):
    """The quantity of the waterfall in dB, low frequencies left."""

    def __init__(self, deck: Deck, style: Style, *, id: str = _ID) -> None:
        super().__init__(deck, style, id=id, classes="chart")
        self.stream_name: str | None = None

    def rows(self, width: int, height: int) -> list[TextRow]:
        deck, quantity = self.deck, QUANTITIES[self.deck.quantity]
        stream = deck.stream_of(self.stream_name)
        values = vectors(deck, quantity.metric, self.stream_name)
        head = self.row(width - 1).add(f"Spectrum {quantity.name}", "title").add(" ")
        if self.stream_name is not None and stream is not None:
            head.add(f"{clean(stream.name, 12)} ", "label")
        curves: list[Curve] = []
        labels: list[str] = []
        empty = ""
        if stream is None or not deck.visible_of(self.stream_name):
            empty = deck.nothing
        elif values is None:
            empty = f"not recorded for {clean(stream.name, 12)}"
        elif deck.cursor >= len(values):
            empty = f"step {deck.cursor} is not there yet"
        else:
            at, unit = frequencies(stream, quantity.metric)
            labels = [number(float(f), 4) for f in at]
            curves = self._curves(head, quantity.name)
            if not np.isfinite(curves[0].values).any():
                empty = f"no finite value at step {deck.cursor}"
            if head.fits(f"dB · x: {unit}"):
                head.add(f"dB · x: {unit}", "dim")
        plot = Plot(curves, len(labels), empty=empty, labels=labels)
        rows = [head.filled(), *draw(plot, width - 1, max(1, height - 1), self.drawing)]
        return [row.widened(width) for row in rows][: max(1, height)]

    def _curves(self, head: TextRow, name: str) -> list[Curve]:
        """The cursor's spectrum and the one to compare with, named in the heading."""
        deck, quantity = self.deck, QUANTITIES[self.deck.quantity]
        values = vectors(deck, quantity.metric, self.stream_name)
        assert values is not None
        shown = [(deck.cursor, "step", Mark.FIRST)]
        other = other_step(deck)
        if other is not None and other[0] < len(values):
            shown.append((*other, Mark.GHOST))
        for step, word, mark in shown:
            if head.fits(f"{mark.sample(self.drawing)} {word} {step}  "):
                head.add(f"{mark.sample(self.drawing)} {word} {step}  ", mark.role)
        return [Curve(f"{word} {step}", decibels(values[step], quantity), mark) for step, word, mark in shown]


def table(deck: Deck) -> Table:
    """One row per radial frequency: the cursor's step, and the one to compare with."""
    quantity, stream = QUANTITIES[deck.quantity], deck.stream
    values = vectors(deck, quantity.metric)
    if stream is None or values is None or deck.cursor >= len(values):
        return Table(["frequency"], [])
    at, unit = frequencies(stream, quantity.metric)
    steps = [deck.cursor]
    if (other := other_step(deck)) is not None:
        steps.append(other[0])
    found = [decibels(values[step], quantity) for step in steps]
    names = [f"{quantity.metric}_db at step {step}" for step in steps]
    return Table([f"frequency_{unit}", *names], [[float(f), *map(float, v)] for f, *v in zip(at, *found, strict=True)])


ABOUT: Final = (
    "The waterfall's column at the cursor: power per radial frequency in dB, and faintly that of the marked step, "
    "or else of the step before."
)

PANELS: Final = (
    Panel(
        _ID,
        "Spectrum",
        lambda deck: ABOUT,
        lambda deck, style: SpectrumView(deck, style),
        table,
    ),
)
