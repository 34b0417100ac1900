"""The list of events: when, where and what, the latest one at the cursor marked, scrolling with it."""

from __future__ import annotations

from typing import Final

import numpy as np

from ltxtui.panels.panel import Panel
from ltxtui.panels.view import View
from ltxtui.plot.line_plot import Style
from ltxtui.plot.rows import TextRow
from ltxtui.plot.text import clean, duration
from ltxtui.reports.export import Table
from ltxtui.viewmodel.deck import Deck
from ltxtui.viewmodel.event_index import event_time
from recorder.format.protocol import Message

_ID: Final = "events"
_ALERTS: Final = frozenset({"nan", "warning", "error", "degraded"})
_ABOVE: Final = 2 / 3
"""Part of the list above the marked event: the events that led to it matter more than later ones."""


class EventsView(View):
    """Events after the cursor are faint; a stage is named where the run has several."""

    def __init__(self, deck: Deck, style: Style, *, id: str = _ID) -> None:
        super().__init__(deck, style, id=id, classes="chart")

    def rows(self, width: int, height: int) -> list[TextRow]:
        events, lines = self.deck.run.events, max(1, height - 1)
        here, before = self.deck.event_place, self.deck.events_before
        first = max(0, min(max(0, here) - int(lines * _ABOVE), len(events) - lines))
        head = self.row(width - 1).add("Events", "title").add(" ")
        if not events:
            head.filled()
            return [head, self.row(width).add("  none yet" if self.deck.live else "  none", "dim").filled()][:height]
        head.add(f"{here + 1} of {len(events)}", "dim")
        gone = f" ({self.deck.run.dropped.get('events', 0):,} more not kept)"
        if "events" in self.deck.run.dropped and head.fits(gone):
            head.add(gone, "dim")
        rows = [head.filled()]
        shown = events[first : first + lines]
        wheres = [self.where(event) for event in shown]
        room = min(max(map(len, wheres), default=0), max(6, width // 3))
        for at, (event, where) in enumerate(zip(shown, wheres, strict=True), first):
            rows.append(self._line(event, f"{where[:room]:>{room}}", width, at == here, bool(before[at])))
        return rows[: max(1, height)]

    def where(self, event: Message) -> str:
        """At which step, in stage:step form where there are several stages; else when, since the run began."""
        stage, step = event.get("stage"), event.get("step")
        if isinstance(stage, int) and len(self.deck.run.stages) > 1:
            return f"{clean(stage, 5)}:{clean(step, 9)}" if isinstance(step, int) else f"{clean(stage, 5)}:–"
        if isinstance(step, int):
            return clean(step, 9)
        start, time = self.deck.run.header.get("time"), event_time(event)
        return f"+{duration(time - start)}" if isinstance(start, float | int) and np.isfinite(time) else "–"

    def _line(self, event: Message, where: str, width: int, here: bool, before: bool) -> TextRow:
        row, kind = self.row(width - 1), clean(event.get("kind", "event"), 20)
        role = "alert" if kind in _ALERTS else "label" if before else "dim"
        row.add((">" if self.ascii else "►") if here else " ", "here" if here else "")
        row.add(f"{where} ", "here" if here else "tick")
        row.add(f"{kind}{'!' if kind in _ALERTS else ''} ", "title" if here and role != "alert" else role)
        if event.get("stream"):
            row.add(f"{clean(event['stream'], 12)} ", "dim")
        row.add(clean(event.get("text", ""), 500), role)
        return row.widened(width)


def table(deck: Deck) -> Table:
    """All events: time, stage, step, stream, kind, text."""
    names = ["time", "stage", "step", "stream", "kind", "text"]
    rows = []
    for event in deck.run.events:
        values = [event.get(name) for name in names]
        rows.append([v if v is None or isinstance(v, float | int) else clean(v) for v in values])
    return Table(names, rows)


ABOUT: Final = (
    "Everything that the recorder marked: begin and end of stages, shocks, the critical phase, NaN, commands and "
    "warnings. Those after the cursor are faint."
)

PANELS: Final = (
    Panel(
        _ID,
        "Events",
        lambda deck: ABOUT,
        lambda deck, style: EventsView(deck, style),
        table,
    ),
)
