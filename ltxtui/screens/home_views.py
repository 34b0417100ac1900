"""The parts of the home screen; each draws the visible part of the list's model."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from textual import events
from textual.message import Message

from ltxtui.home import draw
from ltxtui.home.columns import column_at
from ltxtui.home.model import HomeModel
from ltxtui.panels.view import View
from ltxtui.plot.line_plot import Style
from ltxtui.plot.rows import TextRow
from ltxtui.plot.text import to_ascii
from recorder.format.numerals import counted

_WHEEL: Final = 3
"""Rows per notch of the mouse wheel."""


class HomeView(View):
    """A view whose model is the list of runs."""

    def __init__(self, model: HomeModel, style: Style, *, id: str) -> None:
        anything: Any = model  # View knows decks; only the subclasses here look at it
        super().__init__(anything, style, id=id)
        self.model = model


class HomeTitle(HomeView):
    """Which folder, and how many runs; `said` gives runs to be read, unreadable ones, and work in progress."""

    def __init__(
        self, model: HomeModel, style: Style, place: Callable[[], str], said: Callable[[], tuple[int, int, str]]
    ) -> None:
        super().__init__(model, style, id="home-title")
        self._place = place
        self._said = said

    def rows(self, width: int, height: int) -> list[TextRow]:
        pending, unreadable, work = self._said()
        counts = {"pending": pending, "unreadable": unreadable}
        return [draw.title(self.model, self._place(), width, **counts, work=work, ascii_only=self.ascii)]


class HomeHeading(HomeView):
    """Titles of the columns; a click sorts."""

    class SortAsked(Message):
        """A title was clicked."""

        def __init__(self, column: str) -> None:
            super().__init__()
            self.column = column

    def rows(self, width: int, height: int) -> list[TextRow]:
        return [draw.heading(self.model, width, ascii_only=self.ascii)]

    def on_click(self, event: events.Click) -> None:
        column = column_at(event.x, self.size.width, self.model.longest_name, self.model.without)
        if column is not None:
            self.post_message(self.SortAsked(column.id))


class HomeTable(HomeView):
    """The runs. A click selects one, a double click opens it; the wheel scrolls."""

    class Picked(Message):
        """A run was clicked: its place in the list, and whether to open it."""

        def __init__(self, index: int, opened: bool) -> None:
            super().__init__()
            self.index = index
            self.opened = opened

    class Scrolled(Message):
        """The wheel was turned by `by` rows."""

        def __init__(self, by: int) -> None:
            super().__init__()
            self.by = by

    def __init__(self, model: HomeModel, style: Style, empty: Callable[[], list[str]]) -> None:
        super().__init__(model, style, id="home-table")
        self._empty = empty

    def rows(self, width: int, height: int) -> list[TextRow]:
        last = draw.unreadable(self.model, width, height, ascii_only=self.ascii)
        height -= len(last)
        rows = draw.runs(self.model, width, height, self.drawing, time.time())
        if not rows:
            rows = [self.row(width).filled(), *(self.row(width).add(f"   {line}").filled() for line in self._empty())]
        return [*[*rows, *(self.row(width).filled() for _ in range(height - len(rows)))][:height], *last]

    def on_click(self, event: events.Click) -> None:
        index = self.model.top + event.y
        if event.y < self.model.page and index < len(self.model.shown):
            self.post_message(self.Picked(index, event.chain >= 2))

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.post_message(self.Scrolled(_WHEEL))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.post_message(self.Scrolled(-_WHEEL))


class HomeDetails(HomeView):
    """The run under the cursor in full."""

    def rows(self, width: int, height: int) -> list[TextRow]:
        rows = draw.details(self.model, width, height, ascii_only=self.ascii)
        return [*rows, *(self.row(width).filled() for _ in range(height - len(rows)))]


def no_runs(model: HomeModel, folder: Path | str, pending: int, plain: bool) -> list[str]:
    """The text shown instead of an empty list, with commands that record a run."""
    if model.query:
        said = [f"None of {counted(len(model.runs), 'run')} matches the filter.", "Esc clears the filter."]
    elif pending:
        said = ["Reading …"]
    else:
        said = [f"No runs in {draw.cell_text(str(folder))} yet.", "", "ltxtui demo      records a run and shows it",
                "ltxtui record    records a run", "New runs appear here automatically."]  # fmt: skip
    return [to_ascii(line) for line in said] if plain else said
