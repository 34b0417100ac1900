"""A list of runs from which to choose one."""

from __future__ import annotations

import time
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.widgets import DataTable, Footer, Label

from ltxtui.plot.line_plot import Style
from ltxtui.plot.text import ago, clean, to_ascii
from ltxtui.terminal.endings import TerminalApp, show_app
from ltxtui.themes import THEMES, first_drawing, first_theme


class RunChooser(TerminalApp[int | None], inherit_bindings=False):
    """Rows of (name, what, status, started); gives the index of the chosen row, or None."""

    CSS_PATH = "chooser.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        ("enter", "select", "Open"),
        ("q", "leave", "Quit"),
        *((key, "leave", "") for key in ("escape", "ctrl+q", "ctrl+c")),
    ]

    def __init__(self, title: str, rows: list[tuple[str, str, str, float]]) -> None:
        super().__init__()
        self._heading = title
        self._rows = rows
        self._plain = first_drawing() is Style.ASCII
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = first_theme()

    @property
    def plain(self) -> bool:
        return self._plain

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return dict(THEMES[0].variables)

    def compose(self) -> ComposeResult:
        yield Label(self._text(self._heading), id="heading")
        yield DataTable(cursor_type="row", zebra_stripes=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        table = self.query_one(DataTable)
        table.add_columns("run", "ago", "status", "")
        for name, what, status, started in self._rows:
            table.add_row(*(self._text(cell) for cell in (name, ago(max(0.0, time.time() - started)), status, what)))
        table.focus()

    def _text(self, said: str) -> Text:
        """A Text object: text from a run is data, never markup."""
        return Text(to_ascii(clean(said)) if self._plain else clean(said))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        if not self.leaving:
            self.exit(event.cursor_row)

    def action_leave(self) -> None:
        self.leave()


def choose(title: str, rows: list[tuple[str, str, str, float]]) -> tuple[int | None, int]:
    """Let the user choose one of the rows: its index, or None if nothing was chosen, and the exit status for that."""
    chooser = RunChooser(title, rows)
    status = show_app(chooser)
    return chooser.return_value if not status else None, status
