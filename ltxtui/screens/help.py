"""The help: every key and what it does, made from the registry."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import wrap
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.geometry import Size
from textual.screen import ModalScreen

from ltxtui import actions
from ltxtui.deck import Deck
from ltxtui.drawing import Style
from ltxtui.panels.view import View
from ltxtui.spans import Row

_KEYS = 17
_LABEL = 36
_WIDE = 100


def keys_text(action: actions.Action, *, ascii_only: bool = False) -> str:
    """All keys of an action."""
    names = [actions.key_name(action.keys, ascii_only=ascii_only)]
    names += [actions.key_name((key,), ascii_only=ascii_only) for key in action.also]
    return " ".join(names)


class HelpView(View):
    """All actions by group; those not on offer at the moment are faint."""

    def rows(self, width: int, height: int) -> list[Row]:
        rows = [self.row(width).add("Keys", "title").add("   Esc closes this", "dim").filled()]
        groups = list(dict.fromkeys(action.group for action in actions.ACTIONS))
        indent = _KEYS + (_LABEL if width >= _WIDE else 0) + 3
        for group in groups:
            rows.append(self.row(width).filled())
            rows.append(self.row(width).add(group, "label").filled())
            for action in (a for a in actions.ACTIONS if a.group == group):
                role = "" if action.available(self.deck) else "dim"
                row = self.row(width).add("  ").add(f"{keys_text(action, ascii_only=self.ascii):<{_KEYS}} ", "key")
                row.add(f"{action.label:<{_LABEL}}" if width >= _WIDE else action.label, role)
                said = wrap(action.description, max(20, width - indent))
                if width >= _WIDE:
                    row.add(said.pop(0), "dim")
                rows.append(row.filled())
                rows += [self.row(width).add(" " * indent).add(line, "dim").filled() for line in said]
        return rows

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self.rows(width, 0))


class HelpScreen(ModalScreen[None]):
    """Over the run screen; the keys that open it close it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        ("escape", "dismiss", ""),
        *((key, "dismiss", "") for key in (*actions.BY_ID["help"].keys, *actions.BY_ID["help"].also)),
        *((key, "leave", "") for key in (*actions.BY_ID["quit"].keys, *actions.BY_ID["quit"].also)),
    ]

    def __init__(self, deck: Deck, drawing: Style, leave: Callable[[], None]) -> None:
        super().__init__()
        self._deck = deck
        self._drawing = drawing
        self._leave = leave

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="help"):
            yield HelpView(self._deck, self._drawing)

    def action_leave(self) -> None:
        self._leave()
