"""The footer: the keys of the moment, from the registry that also dispatches them."""

from __future__ import annotations

from collections.abc import Iterable

from ltxtui import actions
from ltxtui.panels.view import View
from ltxtui.spans import Row


class FooterView(View):
    """One row; what does not fit is left to the help screen, whose key always stays."""

    def rows(self, width: int, height: int) -> list[Row]:
        row = self.row(width)
        offered = [a for a in actions.ACTIONS if a.footer and a.available(self.deck)]
        always = [a for a in offered if a.id in ("help", "quit")]
        kept = sum(len(self._text(a)) for a in always)
        for action in self._ordered(offered, always):
            text = self._text(action)
            if action in always:
                kept -= len(text)
            if row.fits(text + " " * kept):
                row.add(actions.key_name(action.keys, ascii_only=self.ascii), "key")
                row.add(f" {action.footer}  ", "label")
        return [row.filled()]

    def _text(self, action: actions.Action) -> str:
        return f"{actions.key_name(action.keys, ascii_only=self.ascii)} {action.footer}  "

    @staticmethod
    def _ordered(offered: Iterable[actions.Action], always: Iterable[actions.Action]) -> list[actions.Action]:
        last = list(always)
        return [*(a for a in offered if a not in last), *last]
