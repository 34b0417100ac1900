"""The command palette: every action of a screen with its keys, found by typing a part of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, OptionList
from textual.widgets.option_list import Option

from ltxtui import actions
from ltxtui.plot.line_plot import Style
from ltxtui.plot.text import clean, fit, to_ascii
from ltxtui.screens.base import ActionScreen, Entry, plain_bar
from ltxtui.screens.dialog import QUITS, Dialog

_KEYS = 16
_MOST = 200
"""Entries that are listed at a time: a folder may have 50,000 runs, and a list widget lays all of its entries out."""


def score(typed: str, entry: Entry) -> float | None:
    """How well an entry fits what was typed, None if not at all: all words in order of letters, word starts first."""
    total = 0.0
    for word in typed.lower().split():
        best = max(
            (s for s in (_fits(word, entry.label, 3.0), _fits(word, entry.description, 1.0)) if s is not None),
            default=None,
        )
        if best is None:
            return None
        total += best
    return total - 0.5 * bool(entry.why_not)


def _fits(word: str, text: str, weight: float) -> float | None:
    low = text.lower()
    at = low.find(word)
    if at >= 0:
        starts = at == 0 or not low[at - 1].isalnum()
        return weight * (3 if at == 0 else 2.5 if starts else 2)
    if weight < 2 or len(word) < 2:
        return None
    # Letters in order, beginning where a word begins: `pst` finds `Playhead to start`.
    place = -1
    for n, letter in enumerate(word):
        place = low.find(letter, place + 1)
        while n == 0 and place > 0 and low[place - 1].isalnum():
            place = low.find(letter, place + 1)
        if place < 0:
            return None
    return weight * 0.5


def entries(screen: ActionScreen) -> list[Entry]:
    """Every action of a screen, one entry for each of its keys."""
    keymap, read_only = screen.dashboard.settings.keys, screen.dashboard.read_only
    return [
        Entry(f"{a.id} {n}", label, keys, a.description, actions.why_not(a.id, screen.model, read_only=read_only))
        for a in actions.of_screen(screen.kind)
        for n, label, keys in actions.places(a, keymap)
    ]


class Matches(OptionList):
    """The entries that fit."""

    def on_click(self, event: events.Click) -> None:
        """Ignore a click on an entry that the filter has removed since."""
        clicked = event.style.meta.get("option")
        if clicked is not None and clicked >= self.option_count:
            event.prevent_default()


class Chooser(Dialog[str | None]):
    """A list that typing filters; gives the id of the chosen entry, or None."""

    CSS_PATH = "palette.tcss"
    BINDINGS: ClassVar[list[BindingType]] = [("escape", "cancel", ""), *QUITS]

    def __init__(self, found: Sequence[Entry], hint: str, drawing: Style) -> None:
        super().__init__(drawing)
        self._entries = list(found)
        self._longest = max((len(clean(entry.label)) for entry in self._entries), default=0)
        self._hint = hint

    def compose(self) -> ComposeResult:
        with Vertical(id="palette"):
            yield Input(placeholder=self.plain(self._hint), id="typed")
            yield Matches(id="found")

    def on_mount(self) -> None:
        plain_bar(self.query_one(OptionList), self.drawing)
        self._list("")
        self.query_one(Input).focus()

    def on_resize(self) -> None:
        if self.is_mounted:
            self._list(self.query_one(Input).value)

    def on_input_changed(self, event: Input.Changed) -> None:
        self._list(event.value)

    def on_input_submitted(self) -> None:
        found = self.query_one(OptionList)
        if found.highlighted is not None:
            found.action_select()

    def on_key(self, event: events.Key) -> None:
        moves = {"up": "cursor_up", "down": "cursor_down", "pageup": "page_up", "pagedown": "page_down"}
        if event.key in moves:
            getattr(self.query_one(OptionList), f"action_{moves[event.key]}")()
            event.stop()
            event.prevent_default()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        self.dismiss(event.option.id)

    def action_cancel(self) -> None:
        self.dismiss(None)

    def matching(self, typed: str) -> list[Entry]:
        """The entries that fit, the best first; all in order if nothing was typed."""
        scored = [(s, -n, e) for n, e in enumerate(self._entries) if (s := score(typed, e)) is not None]
        return [e for _, _, e in (sorted(scored, key=lambda x: x[:2], reverse=True) if typed.split() else scored)]

    def _list(self, typed: str) -> None:
        width = min(110, self.app.size.width * 9 // 10) - 6
        found = self.query_one(OptionList)
        found.clear_options()
        matching = self.matching(typed)
        found.add_options([self._option(entry, width) for entry in matching[:_MOST]])
        if len(matching) > _MOST:
            found.add_option(Option(f"{len(matching) - _MOST:,} more: type a part of one to find it", disabled=True))
        if found.option_count:
            found.highlighted = next((n for n, o in enumerate(found.options) if not o.disabled), None)

    def _option(self, entry: Entry, width: int) -> Option:
        label = min(self._longest, 48, max(20, width - _KEYS - 2))
        said = f"({entry.why_not})" if entry.why_not else entry.description
        parts = [(f"{fit(entry.keys, _KEYS):<{_KEYS}}", "bold"), (f"{fit(clean(entry.label), label):<{label}}  ", "")]
        room = width - _KEYS - label - 2
        if room > 10:
            parts.append((fit(clean(said), room), "dim"))
        texts = [(to_ascii(text) if self.drawing is Style.ASCII else text, style) for text, style in parts]
        return Option(Content.assemble(*texts), id=entry.id, disabled=bool(entry.why_not))
