"""What the panels of runs side by side have in common: their deck, and a colour for each of eight runs."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from ltxtui.compare.deck import CompareDeck
from ltxtui.compare.member import MOST
from ltxtui.drawing import Style
from ltxtui.panels.view import View
from ltxtui.spans import Row

RUN_ROLES = tuple(f"run{n}" for n in range(1, MOST + 1))


class CompareView(View):
    """Shows runs side by side as rows."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"view--{role}" for role in RUN_ROLES}

    def __init__(self, deck: CompareDeck, style: Style, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(cast("Any", deck), style, id=id, classes=classes)
        self.compare = deck

    def heading(self, width: int, title: str, more: str = "") -> Row:
        """A title with a line behind it."""
        row = self.row(width).add(title, "title").add(f" {more}".rstrip(), "dim").add(" ")
        return row.add(("-" if self.ascii else "─") * row.room, "axis")
