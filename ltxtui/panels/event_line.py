"""The event line: the latest event at the cursor, the source's note, and what the axes' letters mean if it fits."""

from __future__ import annotations

from ltxtui.panels.view import View
from ltxtui.plot.rows import TextRow
from ltxtui.plot.text import clean
from ltxtui.viewmodel.markers import legend

_ALERTS = frozenset({"nan", "warning", "error", "degraded"})
_SAY_SO = frozenset({"stage_start", "stage_end", "control"})  # their text begins with it


class EventLine(View):
    """One row."""

    def rows(self, width: int, height: int) -> list[TextRow]:
        noted = bool(self.deck.note) and not self.deck.waiting
        row = self.row(width)
        event = self.deck.event
        if noted:  # what the source says now comes before what happened
            row.add("! ", "alert").add(clean(self.deck.note, 500), "alert")
        if event is not None:
            row.add("  " if row.used else "")
            kind = clean(event.get("kind", "event"), 20)
            where = "" if event.get("step") is None else f"step {clean(event['step'], 9)} "
            stream = f"{clean(event['stream'], 9)} " if event.get("stream") else ""
            alert = kind in _ALERTS
            row.add("! " if alert else "", "alert")
            what = "" if kind in _SAY_SO else f"{kind}: "
            row.add(f"{where}{stream}{what}", "alert" if alert else "label")
            row.add(clean(event.get("text", ""), 500), "alert" if alert else "")
        elif not noted:
            row.add("no events yet", "dim")
        return [row.push_right(f"  {legend(self.deck.markers_shown)}", "dim").filled()]
