"""The tour: the parts of the screen, shown once, and again on request."""

from __future__ import annotations

from pathlib import PurePath
from textwrap import wrap
from typing import ClassVar, Final

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from ltxtui import actions
from ltxtui.plot.line_plot import Style
from ltxtui.plot.text import to_ascii
from ltxtui.screens.base import ActionScreen, plain_bar
from ltxtui.screens.dialog import QUITS, Dialog

# By screen: a heading and its text; {id} is replaced by the keys of an action.
_STOPS: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "run": (
        ("Top", "The run and its state, whether something is wrong, the step, and the recorder's cost."),
        ("Findings", "What is wrong or unusual, worst first. {finding} go to the step where it begins, {explain} says "
          "why and what to try."),
        ("Middle", "Panels over the steps of the denoising, all under one cursor: {cursor} moves it, a click sets it, "
         "{newest} goes to the newest step and follows the run. First and last visible value are next to each "
         "line, the value under the cursor is in the title."),
        ("Panels", "{preset} show the panels for a question, such as drift or frequency. {focus} selects a panel, "
         "{maximise} gives it the whole screen, {hide} hides it, {move} move it, {add} shows another one. "
         "The mouse on a panel's title shows its description."),
        ("Replay", "{play} plays a recorded run, {frame} go step by step, {seek} by tenths, {speed} change the speed."),
        ("Shock", "A live run that was started with --allow-control takes {shock}, {stop} and {snapshot}."),
        ("Bottom", "The event at the cursor, and the keys available now. {palette} finds every action by name, "
         "{help} lists all keys, {back} goes back, and quits from the first screen; the run continues."),
    ),
    "home": (
        ("Runs", "Live runs are on top and update themselves; recorded runs are below."),
        ("Everywhere", "{palette} finds every action by name, {help} lists all keys, {back} quits."),
    ),
    "compare": (
        ("Findings", "What is wrong with each run, what only one has, settings that differ, and which run is better."),
        ("Curves", "{compare-face} shows all runs in the same panels, aligned, under one cursor."),
        ("Everywhere", "{palette} finds every action by name, {help} lists all keys, {back} goes back."),
    ),
}  # fmt: skip
_HEAD: Final = 12


def stops(screen: str, keymap: actions.Keymap) -> list[tuple[str, str]]:
    """Headings and texts of a screen's tour, with the user's own keys."""
    keys = {a.id: actions.keys_text(a, keymap) or "no key" for a in actions.of_screen(screen)}
    return [(heading, text.format(**keys)) for heading, text in _STOPS[screen]]


class TourScreen(Dialog[None]):
    """Over another screen; any of the usual keys closes it, and it is not shown again unless asked for."""

    CSS_PATH: ClassVar[list[str | PurePath]] = ["confirm.tcss", "tour.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [
        *((key, "dismiss", "") for key in ("escape", "enter", "space", "q", "f2")),
        *QUITS,
    ]

    def __init__(self, over: ActionScreen) -> None:
        super().__init__(over.drawing)
        self._over = over

    def compose(self) -> ComposeResult:
        with VerticalScroll(id="tour", classes="dialog"):
            yield Static(self._text())

    def on_resize(self) -> None:
        self.query_one(Static).update(self._text())

    def _text(self) -> Content:
        width = max(24, min(86, self.app.size.width * 9 // 10 - 6))
        lines: list[tuple[str, str]] = [("Tour of the screen", "bold"), ("   Enter: close, F2: show again\n", "dim")]
        for heading, text in stops(self._over.kind, self._over.dashboard.settings.keys):
            said = wrap(text, width - _HEAD)
            for n, line in enumerate(said):
                lines += [(f"\n{heading if n == 0 else '':<{_HEAD}}", "bold"), (line, "")]
            lines.append(("\n", ""))
        ascii_only = self._over.drawing is Style.ASCII
        shown = [(to_ascii(text) if ascii_only else text, style) for text, style in lines]
        return Content.assemble(*shown)

    def on_mount(self) -> None:
        plain_bar(self.query_one("#tour"), self._over.drawing)
        self._over.dashboard.state.set_tour_seen(True)
