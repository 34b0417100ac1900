"""A finding explained: where, what to try, the numbers behind it, the rule with its formula, and its bound."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from textwrap import wrap
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from ltxtui.plot.line_plot import Style
from ltxtui.screens.base import plain_bar
from ltxtui.screens.dialog import QUITS, Dialog

_HEAD: Final = 10


class FindingScreen(Dialog[None]):
    """Over the run screen; any of the usual keys closes it."""

    CSS_PATH: ClassVar[list[str | PurePath]] = ["confirm.tcss", "finding.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        *((key, "dismiss", "") for key in ("escape", "enter", "space", "q", "i", "question_mark")),
        *QUITS,
    ]

    def __init__(self, parts: Sequence[tuple[str, str]], drawing: Style) -> None:
        """`parts` are headings and texts."""
        super().__init__(drawing)
        self._parts = parts

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="finding", classes="dialog"):
            yield Static(self._text())

    def on_mount(self) -> None:
        plain_bar(self.query_one("#finding"), self.drawing)

    def on_resize(self) -> None:
        self.query_one(Static).update(self._text())

    def _text(self) -> Content:
        width = max(24, min(86, self.app.size.width * 9 // 10 - 6))
        lines: list[tuple[str, str]] = [("Finding", "bold"), ("   Esc: close\n", "dim")]
        for heading, text in self._parts:
            for n, line in enumerate(wrap(self.plain(text), width - _HEAD)):
                lines += [(f"\n{heading if n == 0 else '':<{_HEAD}}", "bold"), (line, "")]
            lines.append(("\n", ""))
        return Content.assemble(*lines)
