"""The header of runs side by side: what is compared, how it is lined up, and where the cursor is."""

from __future__ import annotations

from ltxtui.compare.deck import CompareDeck
from ltxtui.panels.compare.view import CompareView
from ltxtui.plot.rows import TextRow
from ltxtui.plot.text import clean, number, one_of
from replay.comparison.alignment import AXES

_NAMED = {"step": "step", "sigma": "σ", "snr": "SNR", "evaluations": "evaluations"}


def place_text(deck: CompareDeck, point: int) -> str:
    """The axis label of a point."""
    together = deck.together
    if together is None or not 0 <= point < together.points:
        return ""
    value = float(together.comparison.axis[point])
    return f"{value:.0f}" if deck.align in ("step", "evaluations") else number(value, 6)


def selection(deck: CompareDeck) -> str:
    """Stage, stream and clip, where there is a choice."""
    parts = [f"stage {one_of(deck.stage_index, deck.stages)}"]
    if deck.stream:
        parts.append(clean(deck.stream, 20))
    if deck.items > 1:
        parts.append("mean over the batch" if deck.item is None else f"item {one_of(deck.item, deck.items)}")
    return " · ".join(parts)


def standing(deck: CompareDeck) -> tuple[str, str]:
    """`live`, `stalled` or neither, and its role."""
    live = [m for m in deck.members if m.live]
    if live and all(m.stall for m in live):
        return "! STALLED", "alert"
    return ("● LIVE", "live") if live else ("COMPARE", "replay")


class CompareHeader(CompareView):
    """Two rows."""

    def rows(self, width: int, height: int) -> list[TextRow]:
        deck = self.compare
        first = self.row(width)
        first.add(*standing(deck)).add("  ")
        first.add(f"{len(deck.members)} runs by {_NAMED[deck.align]}", "title").add("  ")
        reference = deck.reference.letter
        first.add(f"minus {reference}" if deck.residuals else "values", "title" if deck.residuals else "label")
        if deck.loading:
            first.add(f"  opening {len(deck.loading)} of {len(deck.members)}", "alert")
        first.push_right(selection(deck) + f"  reference {reference}", "label")
        return [first.filled(), self._where(width).filled()]

    def _where(self, width: int) -> TextRow:
        deck, row = self.compare, self.row(width)
        if deck.together is None:
            return row.add(clean(deck.why, 300), "alert" if not deck.loading else "label")
        axis = AXES[deck.align]
        unit = "" if axis.unit == "1" else f" {axis.unit}"
        row.add(f"{axis.label} {place_text(deck, deck.cursor)}{unit}", "title")
        row.add(f" · point {deck.cursor + 1} of {deck.points}", "label")
        if deck.live:
            row.add(" following" if deck.follow else " held", "label")
        if deck.pages > 1 and deck.face == "charts":
            row.add(f" · metrics {deck.page + 1}/{deck.pages}", "label")
        if deck.said:
            row.add("  ").add(clean(deck.said, 300), "alert")
        return row
