"""The base of the panels for runs side by side: their deck and their headings."""

from __future__ import annotations

from typing import Any, cast

from ltxtui.compare.deck import CompareDeck
from ltxtui.panels.view import View
from ltxtui.plot.line_plot import Style
from ltxtui.plot.rows import TextRow


class CompareView(View):
    """Shows runs side by side as rows."""

    def __init__(self, deck: CompareDeck, style: Style, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(cast("Any", deck), style, id=id, classes=classes)
        self.compare = deck

    def heading(self, width: int, title: str, more: str = "") -> TextRow:
        """A title followed by a line."""
        row = self.row(width).add(title, "title").add(f" {more}".rstrip(), "dim").add(" ")
        return row.add(("-" if self.ascii else "─") * row.room, "axis")
