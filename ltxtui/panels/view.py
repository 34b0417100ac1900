"""A widget that shows rows with roles; every panel is one. It redraws only when it is told that something changed."""

from __future__ import annotations

from typing import ClassVar

from rich.segment import Segment
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from ltxtui.deck import Deck
from ltxtui.drawing import Style
from ltxtui.spans import Row

ROLES = (
    "title", "label", "dim", "key", "live", "replay", "alert", "axis", "tick", "ref", "ghost", "s1", "s2", "s3",
    "cursor", "here",
)  # fmt: skip


class View(Widget):
    """Shows the deck as rows; a subclass says which.

    Roles become colours by component classes, so that themes live in style sheets alone.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"view--{role}" for role in ROLES}

    def __init__(self, deck: Deck, style: Style, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.deck = deck
        self.drawing = style
        self._rows: list[Row] | None = None
        self._rows_size = Size(0, 0)

    def rows(self, width: int, height: int) -> list[Row]:
        """What is shown, in a size."""
        raise NotImplementedError

    @property
    def ascii(self) -> bool:
        return self.drawing is Style.ASCII

    def row(self, width: int) -> Row:
        return Row(width, ascii_only=self.ascii)

    def changed(self) -> None:
        """Draw anew, but only the rows that differ: over a slow line every byte counts."""
        before, self._rows = self._rows, None
        if before is None or self._rows_size != self.size or not self.size:
            self.refresh()
            return
        self._rows = self.rows(*self.size)
        if len(before) != len(self._rows):
            self.refresh()
            return
        for y, (old, new) in enumerate(zip(before, self._rows, strict=True)):
            if old.spans != new.spans:
                self.refresh(Region(0, y, self.size.width, 1))

    def render_line(self, y: int) -> Strip:
        if self._rows is None or self._rows_size != self.size:
            self._rows_size = self.size
            self._rows = self.rows(*self.size)
        return self._strip(self._rows[y]) if y < len(self._rows) else Strip.blank(self.size.width, self.rich_style)

    def _strip(self, row: Row) -> Strip:
        segments = []
        for text, role, cursor in row.spans:
            style = self.get_component_rich_style(f"view--{role}") if role else self.rich_style
            if cursor:
                style += self.get_component_rich_style("view--cursor").background_style
            segments.append(Segment(text, style))
        strip = Strip(segments)
        return strip.adjust_cell_length(self.size.width, self.rich_style)
