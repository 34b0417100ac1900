"""Small questions over a screen: yes or no, and a line of text."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from ltxtui.plot.line_plot import Style
from ltxtui.screens.dialog import QUITS, Dialog


class Confirm(Dialog[bool]):
    """Asks before something that cannot be undone; Enter alone does not confirm it."""

    CSS_PATH = "confirm.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [
        ("y", "answer(True)", ""),
        ("n", "answer(False)", ""),
        ("escape", "answer(False)", ""),
        ("q", "answer(False)", ""),
        ("enter", "answer(False)", ""),
        *QUITS,
    ]

    def __init__(self, question: str, yes: str, no: str = "cancel", drawing: Style = Style.BRAILLE) -> None:
        super().__init__(drawing)
        self._question = question
        self._yes = yes
        self._no = no

    def compose(self) -> ComposeResult:
        with Vertical(id="question", classes="dialog"):
            yield Static(Content(self.plain(self._question)), classes="asked")
            yield Static(Content(f"y: {self.plain(self._yes)}    n: {self.plain(self._no)}"), classes="answers")

    def action_answer(self, yes: bool) -> None:
        self.dismiss(yes)


class Ask(Dialog[str | None]):
    """Asks for a line of text; None if it was cancelled."""

    CSS_PATH = "confirm.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [("escape", "cancel", ""), *QUITS]

    def __init__(self, question: str, value: str = "", hint: str = "", drawing: Style = Style.BRAILLE) -> None:
        super().__init__(drawing)
        self._question = question
        self._value = value
        self._hint = hint

    def compose(self) -> ComposeResult:
        with Vertical(id="question", classes="dialog"):
            yield Static(Content(self.plain(self._question)), classes="asked")
            yield Input(self._value, placeholder=self.plain(self._hint), id="answer")
            yield Static(Content("Enter: OK    Esc: cancel"), classes="answers")

    def on_mount(self) -> None:
        self.query_one(Input).focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value)

    def action_cancel(self) -> None:
        self.dismiss(None)
