"""The help: every key of a screen and what it does, made from the registry."""

from __future__ import annotations

from textwrap import wrap
from typing import Any, ClassVar, Final

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.geometry import Size

from ltxtui import actions
from ltxtui.actions import keys_text
from ltxtui.panels.view import View
from ltxtui.plot.line_plot import Style
from ltxtui.plot.rows import TextRow
from ltxtui.screens.base import ActionScreen, plain_bar
from ltxtui.screens.dialog import QUITS, Dialog

MOUSE: Final = {
    "home": "Mouse: the wheel scrolls; a click selects a run, a double click opens it; a click on a column's title "
    "sorts; a click on a key in the footer presses it.",
    "run": "Mouse: the wheel moves the cursor, with Ctrl it zooms; a click in a plot puts it there; a click on a "
    "panel selects it, a double click on its title maximises it; a click on a key in the footer presses it.",
    "compare": "Mouse: the wheel moves the cursor, over the runs it selects one, over the table it scrolls by a page; "
    "a click in a plot puts the cursor there; a click on a key in the footer presses it.",
}
"""What the mouse does on each screen."""
_KEYS = 17
_WIDE = 100


class HelpView(View):
    """All actions of a screen by group; unavailable ones are faint."""

    def __init__(
        self,
        model: Any,
        style: Style,
        *,
        screen: str = "run",
        keymap: actions.Keymap | None = None,
        read_only: bool = False,
    ) -> None:
        super().__init__(model, style)
        self._read_only = read_only
        self._model = model
        self._kind = screen
        self._keymap = keymap

    def rows(self, width: int, height: int) -> list[TextRow]:
        rows = [self.row(width).add("Keys", "title").add("   Esc: close", "dim").filled()]
        rows += [self.row(width).add(line, "dim").filled() for line in wrap(MOUSE[self._kind], max(20, width))]
        shown = actions.of_screen(self._kind)
        longest = max(len(action.label) for action in shown) + 1
        indent = _KEYS + (longest if width >= _WIDE else 0) + 3
        for group in dict.fromkeys(action.group for action in shown):
            rows.append(self.row(width).filled())
            rows.append(self.row(width).add(group, "label").filled())
            for action in (a for a in shown if a.group == group):
                role = "" if actions.offered(action, self._model, read_only=self._read_only) else "dim"
                keys = keys_text(action, self._keymap, ascii_only=self.ascii)
                row = self.row(width).add("  ").add(f"{keys:<{_KEYS}} ", "key")
                said = wrap(action.description, max(20, width - indent))
                named = [f"{action.label:<{longest}}"] if width >= _WIDE else wrap(action.label, max(1, width - indent))
                row.add(named[0], role)
                if width >= _WIDE:
                    row.add(said.pop(0), "dim")
                rows.append(row.filled())
                rows += [self.row(width).add(" " * indent).add(line, role).filled() for line in named[1:]]
                rows += [self.row(width).add(" " * indent).add(line, "dim").filled() for line in said]
        return rows

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self.rows(width, 0))


class HelpScreen(Dialog[None]):
    """Over another screen; the keys that open it close it."""

    CSS_PATH = "help.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "dismiss", ""),
        ("q", "dismiss", ""),
        *((key, "dismiss", "") for key in (*actions.BY_ID["help"].keys, *actions.BY_ID["help"].also)),
        *QUITS,
    ]

    def __init__(self, over: ActionScreen) -> None:
        super().__init__(over.drawing)
        self._over = over

    def compose(self) -> ComposeResult:
        over, dashboard = self._over, self._over.dashboard
        with VerticalScroll(id="help"):
            yield HelpView(
                over.model,
                over.drawing,
                screen=over.kind,
                keymap=dashboard.settings.keys,
                read_only=dashboard.read_only,
            )

    def on_mount(self) -> None:
        plain_bar(self.query_one("#help"), self._over.drawing)
