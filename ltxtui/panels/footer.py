"""The footer: the keys that are available now, from the registry that also dispatches them."""

from __future__ import annotations

from typing import Any, Final

from textual import events
from textual.message import Message

from ltxtui import actions
from ltxtui.panels.view import View
from ltxtui.plot.line_plot import Style
from ltxtui.plot.rows import TextRow

_ALWAYS: Final = ("palette", "help", "back", "quit")


class FooterView(View):
    """One row; what does not fit is left to help and palette, whose keys always stay. A click does the action."""

    class Clicked(Message):
        """An action was clicked; `which` of its keys, where it has several."""

        def __init__(self, action: str, which: int) -> None:
            super().__init__()
            self.action = action
            self.which = which

    def __init__(
        self,
        model: Any,
        style: Style,
        *,
        screen: str = "run",
        keymap: actions.Keymap | None = None,
        back: str = "",
        read_only: bool = False,
        id: str | None = None,
    ) -> None:
        """`model` is the screen's; `back` is what `q` does, if not quit; `read_only` leaves out what changes a run."""
        super().__init__(model, style, id=id)
        self._model = model
        self._kind = screen
        self._keymap = keymap
        self._back = back
        self._read_only = read_only
        self._places: list[tuple[int, int, actions.Action[Any]]] = []
        """Of every action that is shown, its first column and the one after its last."""

    def rows(self, width: int, height: int) -> list[TextRow]:
        row = self.row(width)
        shown = (a for a in actions.of_screen(self._kind) if a.footer)
        offered = [a for a in shown if actions.offered(a, self._model, read_only=self._read_only)]
        if not self._keys(actions.BY_ID["back"]):  # the user left quitting to another key
            offered = [a for a in offered if a.id != "back"] + [actions.BY_ID["quit"]]
        always = [a for a in offered if a.id in _ALWAYS]
        if width < 80:  # the palette lists what the help does, so the shorter one stays
            always = [a for a in always if a.id != "palette"]
        self._places = []
        kept = sum(len(self._text(a)) for a in always)
        for action in [*(a for a in offered if a not in always), *always]:
            keys, text = self._keys(action), self._text(action)
            if action in always:
                kept -= len(text)
            if keys and row.fits(text + " " * kept):
                self._places.append((row.used, row.used + len(text.rstrip()), action))
                row.add(keys, "key").add(text[len(keys) :], "label")
        return [row.filled()]

    def on_click(self, event: events.Click) -> None:
        for start, end, action in self._places:
            if start <= event.x < end:
                self.post_message(self.Clicked(action.id, self._which(action, event.x - start)))

    def _which(self, action: actions.Action[Any], at: int) -> int:
        """Which of an action's keys is at a place in its text; the first one behind them."""
        keys = actions.keys_of(action, self._keymap)[0]
        single = len(self._keys(action)) == len(keys)
        return at if single and at < len(keys) else 0

    def _keys(self, action: actions.Action[Any]) -> str:
        return actions.key_name(actions.keys_of(action, self._keymap)[0], ascii_only=self.ascii)

    def _text(self, action: actions.Action[Any]) -> str:
        word = self._back if action.id == "back" and self._back else action.footer or action.label.lower()
        return f"{self._keys(action)} {word}  "
