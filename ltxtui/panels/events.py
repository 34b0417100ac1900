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
from recorder.format.protocol import Message

_ID: Final = "events"
_ALERTS: Final = frozenset({"nan", "warning", "error", "degraded"})
_ABOVE: Final = 2 / 3
"""Part of the list above the marked event: the events that led to it matter more than later ones."""


class Index:
    """Stage, step and time of every event as arrays, so that a moved cursor does not cost a walk over all of them."""

    def __init__(self) -> None:
        self._of: list[Message] = []
        self._stages = self._steps = self._times = np.empty(0)

    def latest(self, deck: Deck) -> int:
        """The place of the latest event at or before the cursor, −1 if there is none; as `Deck.event` has it."""
        self._fill(deck.run.events)
        here = np.nan if deck.time is None else deck.time
        stages, steps, times = self._stages, self._steps, self._times
        with np.errstate(invalid="ignore"):
            on_stage = stages == deck.stage_index
            elsewhere = ~np.isnan(stages) & ~on_stage
            by_step = on_stage & ~np.isnan(steps)
            # An event with neither step nor time is not known to come later.
            by_time = (times <= here) | np.isnan(times) | np.isnan(here)
            before = np.where(elsewhere, stages < deck.stage_index, np.where(by_step, steps <= deck.cursor, by_time))
        found = np.flatnonzero(before)
        return int(found[-1]) if found.size else -1

    def _fill(self, events: list[Message]) -> None:
        known = len(self._times)
        if known > len(events) or events is not self._of:  # another list: some events were dropped
            known, self._of = 0, events
        if known == len(events):
            return
        new = events[known:]
        self._stages = np.append(self._stages[:known], [_whole(e.get("stage")) for e in new])
        self._steps = np.append(self._steps[:known], [_whole(e.get("step")) for e in new])
        self._times = np.append(self._times[:known], [_time(e) for e in new])


def _whole(value: object) -> float:
    return float(value) if isinstance(value, int) and abs(value) < 1 << 53 else np.nan


def _time(event: Message) -> float:
    value = event.get("time")
    return float(value) if isinstance(value, float | int) and abs(value) < 1 << 53 else np.nan


class EventsView(View):
    """Events after the cursor are faint; a stage is named where the run has several."""

    def __init__(self, deck: Deck, style: Style, *, id: str = _ID) -> None:
        super().__init__(deck, style, id=id, classes="chart")
        self._index = Index()

    def rows(self, width: int, height: int) -> list[TextRow]:
        events, lines = self.deck.run.events, max(1, height - 1)
        here = self._index.latest(self.deck)
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
            rows.append(self._line(event, f"{where[:room]:>{room}}", width, at, here))
        return rows[: max(1, height)]

    def where(self, event: Message) -> str:
        """At which step, in stage:step form where there are several stages; else when, since the run began."""
        stage, step = event.get("stage"), event.get("step")
        if isinstance(stage, int) and len(self.deck.run.stages) > 1:
            return f"{clean(stage, 5)}:{clean(step, 9)}" if isinstance(step, int) else f"{clean(stage, 5)}:–"
        if isinstance(step, int):
            return clean(step, 9)
        start, time = self.deck.run.header.get("time"), _time(event)
        return f"+{duration(time - start)}" if isinstance(start, float | int) and np.isfinite(time) else "–"

    def _line(self, event: Message, where: str, width: int, at: int, here: int) -> TextRow:
        row, kind = self.row(width - 1), clean(event.get("kind", "event"), 20)
        role = "alert" if kind in _ALERTS else "dim" if at > here else "label"
        row.add((">" if self.ascii else "►") if at == here else " ", "here" if at == here else "")
        row.add(f"{where} ", "here" if at == here else "tick")
        row.add(f"{kind}{'!' if kind in _ALERTS else ''} ", "title" if at == here and role != "alert" else role)
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
