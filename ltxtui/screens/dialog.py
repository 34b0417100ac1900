"""The base of every dialog: it answers once, however many keys arrive while it opens and closes."""

from __future__ import annotations

from typing import Any, ClassVar, Final, TypeVar

from textual import events
from textual.await_complete import AwaitComplete
from textual.binding import BindingType
from textual.screen import ModalScreen

from ltxtui import actions
from ltxtui.plot.line_plot import Style
from ltxtui.plot.text import clean, to_ascii

Answer = TypeVar("Answer")

QUITS: Final[list[BindingType]] = [
    (key, "app.leave", "") for key in (*actions.BY_ID["quit"].keys, *actions.BY_ID["quit"].also)
]
"""The keys that quit, for dialogs."""


class Dialog(ModalScreen[Answer]):
    """A screen over another one that gives one answer, by `dismiss`, to the screen that opened it.

    Keys are queued: a second Enter may reach a dialog that has answered and is still being removed, and an answer may
    be asked of one that is not on top. Both are ignored here, so that no answer is carried out twice.
    """

    BINDINGS: ClassVar[list[BindingType]] = []
    _answered = False

    def __init__(self, drawing: Style = Style.BRAILLE) -> None:
        """`drawing` is that of the screen below: where it is ASCII, the dialog is too."""
        super().__init__()
        self.drawing = drawing

    def dismiss(self, result: Answer | None = None) -> AwaitComplete:
        """Give the answer and close. Without effect after the first time, and while another screen is above."""
        if self._answered or self.app.screen_stack[-1:] != [self]:
            return AwaitComplete()
        self._answered = True
        return super().dismiss(result)

    async def on_event(self, event: events.Event) -> Any:
        """Ignore keys and clicks after the answer, and before the widgets are made.

        A dialog that opens while the app ends has no widgets, and is not to look for them.
        """
        if isinstance(event, events.Mount) and not self.children:
            return
        if (self._answered or not self.is_mounted) and isinstance(event, events.InputEvent):
            return
        await super().on_event(event)

    def plain(self, text: object) -> str:
        """Text as one harmless line, in ASCII where the screen is."""
        line = clean(text)
        return to_ascii(line) if self.drawing is Style.ASCII else line
