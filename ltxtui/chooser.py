"""A list of runs to choose one from."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import BindingType
from textual.widgets import DataTable, Footer, Label

from ltxtui.text import clean
from ltxtui.themes import THEMES, first_theme


class RunChooser(App[int | None]):
    """Rows of (name, what, status, started); gives the index of the chosen row, or None."""

    CSS_PATH = "chooser.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        ("enter", "select", "Open"),
        ("q", "quit", "Quit"),
        ("escape", "quit", "Quit"),
    ]

    def __init__(self, title: str, rows: list[tuple[str, str, str, float]]) -> None:
        super().__init__()
        self._heading = title
        self._rows = rows
        for theme in THEMES:
            self.register_theme(theme)
        self.theme = first_theme()

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return dict(THEMES[0].variables)

    def compose(self) -> ComposeResult:
        yield Label(Text(clean(self._heading)), id="heading")
        yield DataTable(cursor_type="row", zebra_stripes=False)
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        from ltxtui.cli.common import ago

        table = self.query_one(DataTable)
        table.add_columns("run", "when", "status", "")
        for name, what, status, started in self._rows:
            # Text objects: what a run says of itself is data, never markup.
            table.add_row(*(Text(clean(cell)) for cell in (name, ago(started), status, what)))
        table.focus()

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        self.exit(event.cursor_row)


def choose(title: str, rows: list[tuple[str, str, str, float]]) -> int | None:
    """Let the user choose one of the rows; None if nothing was chosen."""
    return RunChooser(title, rows).run()
