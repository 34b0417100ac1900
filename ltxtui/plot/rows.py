"""Rows of text with roles: what panels draw before any colour is known."""

from __future__ import annotations

from typing import NamedTuple

from rich.cells import cell_len

from ltxtui.plot.text import fit, to_ascii

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""


class Ink(NamedTuple):
    """Colours that are data, such as a pixel's, and so come from no style sheet; None leaves the role's."""

    fore: Colour | None = None
    back: Colour | None = None


class Span(NamedTuple):
    """A piece of text, what it means (a style sheet gives it a colour), and whether the cursor stands on it."""

    text: str
    role: str = ""
    cursor: bool = False
    ink: Ink | None = None


class TextRow:
    """One row of a fixed width, filled from the left; what does not fit is cut with an ellipsis."""

    def __init__(self, width: int, *, ascii_only: bool = False) -> None:
        self.width = width
        self.used = 0
        self.spans: list[Span] = []
        self._ascii = ascii_only

    @property
    def room(self) -> int:
        return max(0, self.width - self.used)

    @property
    def text(self) -> str:
        return "".join(span.text for span in self.spans)

    def add(self, text: str, role: str = "") -> TextRow:
        shown = fit(to_ascii(text) if self._ascii else text, self.room)
        if shown:
            self.spans.append(Span(shown, role))
            self.used += cell_len(shown)
        return self

    def put(self, text: str, role: str = "", *, cursor: bool = False, ink: Ink | None = None) -> None:
        """Characters of a drawing, known to be one cell each and to fit."""
        self.spans.append(Span(text, role, cursor, ink))
        self.used += len(text)

    def fits(self, text: str) -> bool:
        return cell_len(to_ascii(text) if self._ascii else text) <= self.room

    def push_right(self, text: str, role: str = "") -> TextRow:
        """Text at the right end, if it fits with a space before it."""
        text = to_ascii(text) if self._ascii else text
        if cell_len(text) < self.room:
            self.add(" " * (self.room - cell_len(text)))
            self.add(text, role)
        return self

    def filled(self, character: str = " ", role: str = "") -> TextRow:
        """The same row, filled up to its width."""
        return self.add(character * self.room, role)

    def widened(self, width: int) -> TextRow:
        """The same row with more room, filled up."""
        self.width = width
        return self.filled()
