"""A widget that shows rows with roles; every panel is one. It redraws only what changed."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from rich.cells import cell_len
from rich.color import Color
from rich.segment import Segment
from rich.style import Style as RichStyle
from textual.geometry import Region, Size
from textual.strip import Strip
from textual.widget import Widget

from ltxtui.plot.line_plot import Style
from ltxtui.plot.roles import component
from ltxtui.plot.rows import Ink, Span, TextRow
from ltxtui.viewmodel.deck import Deck

_COLOURS: Final = {"truecolor": 1 << 24, "256": 256, "standard": 16, "windows": 16}


class View(Widget):
    """Shows the deck as rows; a subclass says which.

    Roles become colours by component classes of the app, so that themes live in style sheets alone. Not of the views:
    Textual computes every component of every widget again whenever a class changes, which was half of the time from the
    start to the first curves.
    """

    def __init__(self, deck: Deck, style: Style, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.deck = deck
        self.drawing = style
        self._rows: list[TextRow] | None = None
        self._rows_size = Size(0, 0)
        self._plain: RichStyle | None = None
        self._styles: dict[str, RichStyle] = {}

    def rows(self, width: int, height: int) -> list[TextRow]:
        """The rows that are shown in a size."""
        raise NotImplementedError

    @property
    def ascii(self) -> bool:
        return self.drawing is Style.ASCII

    @property
    def colours(self) -> int:
        """Number of colours for data: 0 with NO_COLOR or an unknown terminal."""
        return 0 if self.app.no_color else _COLOURS.get(self.app.console.color_system or "", 0)

    def row(self, width: int) -> TextRow:
        return TextRow(width, ascii_only=self.ascii)

    def changed(self) -> None:
        """Redraw only the rows that differ: over a slow line every byte counts."""
        before, self._rows = self._rows, None
        size = self.size  # Textual computes it at every access
        if before is None or self._rows_size != size or not size:
            self.refresh()
            return
        self._rows = self.rows(*size)
        if len(before) != len(self._rows):
            self.refresh()
            return
        for y, (old, new) in enumerate(zip(before, self._rows, strict=True)):
            if old.spans != new.spans:
                left = _same(old.spans, new.spans)
                right = _same(old.spans[::-1], new.spans[::-1]) if old.used == new.used else 0
                self.refresh(Region(left, y, max(1, size.width - left - right), 1))

    def render_line(self, y: int) -> Strip:
        size = self.size
        if self._rows is None or self._rows_size != size:
            self._rows_size = size
            self._rows = self.rows(*size)
        return (
            self._strip(self._rows[y], size.width) if y < len(self._rows) else Strip.blank(size.width, self.rich_style)
        )

    def _strip(self, row: TextRow, width: int) -> Strip:
        segments = []
        plain = self._plain = self._plain or self.rich_style  # Textual makes it at every access
        for text, role, cursor, ink in row.spans:
            style = self.style_of(role) if role else plain
            if cursor:
                style += self.style_of("cursor").background_style
            if ink is not None:
                style = _inked(style, ink)
            segments.append(Segment(text, style))
        strip = Strip(segments)
        return strip.adjust_cell_length(width, plain)

    def style_of(self, role: str) -> RichStyle:
        """A role's style on this view's background. Raises KeyError for an unknown role."""
        if role == "title" and self.has_focus:
            role = "chosen"
        if role not in self._styles:
            self._styles[role] = self.rich_style + self.app.get_component_styles(component(role)).partial_rich_style
        return self._styles[role]

    def notify_style_update(self) -> None:
        self._plain = None
        self._styles.clear()
        super().notify_style_update()


def _same(old: list[Span], new: list[Span]) -> int:
    """Columns from the left that did not change; in a heat map most do not."""
    cells = 0
    for before, after in zip(old, new, strict=False):
        if before != after:
            break
        cells += cell_len(after.text)
    return cells


@lru_cache(maxsize=8192)
def _inked(style: RichStyle, ink: Ink) -> RichStyle:
    """A style with the colours of an ink; made once, since a style keeps the codes it is drawn with."""
    fore, back = (None if colour is None else Color.from_rgb(*colour) for colour in ink)
    return style + RichStyle(color=fore, bgcolor=back)
