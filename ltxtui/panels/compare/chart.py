"""A chart of runs side by side: one metric of all runs, or their differences, with every value under the cursor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import overload

import numpy as np
from textual import events
from textual.message import Message

from ltxtui.compare.deck import CompareDeck
from ltxtui.compare.statements import unit_text
from ltxtui.panels.compare.header import place_text
from ltxtui.panels.compare.view import CompareView
from ltxtui.plot import scales
from ltxtui.plot.line_plot import GUTTER, Style, columns, draw
from ltxtui.plot.model import Curve, Flag, Plot, Shade, value_at
from ltxtui.plot.rows import TextRow
from ltxtui.plot.text import clean, number

_ROOMY = 9
_FEW = 3


def plot_of(deck: CompareDeck, metric: str) -> Plot:
    """One metric of all runs that are drawn, over the common axis."""
    found = deck.values(metric)
    curves = [
        Curve(member.letter, found[member.index], symbol=member.letter, letter=member.letter, paint=member.role)
        for member in deck.drawn
        if member.index in found
    ]
    points = deck.points
    known = [c.values[np.isfinite(c.values)] for c in curves]
    reference = deck.reference.letter
    if not points:
        empty = "waiting for the first step" if deck.live else "no steps"
    elif not curves:
        empty = f"no run besides the reference {reference} is shown" if deck.residuals else "no run is shown"
    elif not any(k.size for k in known):
        empty = f"no point that {reference} and another run both have" if deck.residuals else "no value in any run"
    elif deck.residuals and not any(k.any() for k in known):
        empty = f"0 at every point: no run differs from {reference}"
    else:
        empty = ""
    zero = (0.0,) if deck.residuals else ()
    cursor = deck.cursor if points else None
    usual = deck.usual_range(metric) if curves else None
    bands = [] if usual is None else [Shade(usual.low, usual.high)]
    return Plot(
        curves, points, zero, zero, empty, cursor, labels=PointLabels(deck), flags=shock_flags(deck), bands=bands
    )


def shock_flags(deck: CompareDeck) -> list[Flag]:
    """Where shown runs were shocked: their letters on the axis, with a line while there are few."""
    together = deck.together
    found = []
    for member in together.members if together else ():
        for event in member.run.events if member.run and member.shown else ():
            step = event.get("step")
            if event.get("kind") == "shock" and event.get("stage") == deck.stage_index and isinstance(step, int):
                point = together.point(member, step) if together else None
                if point is not None:
                    found.append(Flag(point, member.letter, member.role))
    return found if len(found) <= _FEW else [replace(flag, line=False) for flag in found]


class PointLabels(Sequence[str]):
    """The axis labels of points, made on access: a plot shows few of them."""

    def __init__(self, deck: CompareDeck) -> None:
        self._deck = deck

    def __len__(self) -> int:
        return self._deck.points

    @overload
    def __getitem__(self, point: int) -> str: ...

    @overload
    def __getitem__(self, point: slice) -> list[str]: ...

    def __getitem__(self, point: int | slice) -> str | list[str]:
        if isinstance(point, slice):
            return [self[n] for n in range(*point.indices(len(self)))]
        return place_text(self._deck, point)


class CompareChart(CompareView):
    """The metric at this place on the deck's page. A click names a point."""

    class PointPicked(Message):
        """A click asks for the cursor to move to a point."""

        def __init__(self, point: int) -> None:
            super().__init__()
            self.point = point

    def __init__(self, place: int, deck: CompareDeck, style: Style) -> None:
        super().__init__(deck, style, id=f"chart-{place}", classes="compare-chart")
        self.place = place

    @property
    def metric(self) -> str | None:
        shown = self.compare.shown
        return shown[self.place] if self.place < len(shown) else None

    @property
    def about(self) -> str:
        """Formula and meaning of the metric."""
        series = self.compare.together.series(self.metric) if self.compare.together and self.metric else None
        return clean(series.description, 400) if series else ""

    def rows(self, width: int, height: int) -> list[TextRow]:
        deck, metric = self.compare, self.metric
        series = deck.together.series(metric) if deck.together and metric else None
        if metric is None or series is None:
            return [self.row(width).filled() for _ in range(height)]
        full, width = width, width - 1  # a free column between neighbours
        plot = plot_of(deck, metric)
        minus = f" −{deck.reference.letter}" if deck.residuals else ""
        title = clean(series.label, 40) + minus
        if height < _ROOMY:
            head = [self._readout(self.row(width).add(title, "title").add(" "), plot)]
        else:
            head = [self.heading(width, title, unit_text(series.unit)), self._readout(self.row(width).add("  "), plot)]
        rows = [*head, *draw(plot, width, max(1, height - len(head)), self.drawing)]
        return [row.widened(full) for row in rows]

    def _readout(self, row: TextRow, plot: Plot) -> TextRow:
        """The value of every run under the cursor; runs that do not fit are in the list above."""
        texts = [
            [(f"{c.letter} {number(value_at(c.values, plot.cursor), digits)}{gap}", c.role) for c in plot.curves]
            for digits, gap in ((6, "  "), (5, " "))
        ]
        parts = next((p for p in texts if row.fits("".join(text for text, _ in p).rstrip())), texts[-1])
        for n, (text, role) in enumerate(parts):
            rest = "" if n == len(parts) - 1 else "…"
            if not row.fits(text.rstrip() + rest):
                row.add("…", "dim")
                break
            row.add(text if row.fits(text) else text.rstrip(), role)
        return row.filled()

    def on_click(self, event: events.Click) -> None:
        points = self.compare.points
        if points and self.metric is not None:
            self.post_message(self.PointPicked(scales.step_at(event.x - GUTTER, points, columns(self.size.width - 1))))
