"""The base of every screen: keys from the registry, and the actions that need only the app."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar, cast

from textual.binding import BindingType
from textual.screen import Screen
from textual.scrollbar import ScrollBarRender
from textual.widget import Widget

from ltxtui import actions
from ltxtui.panels.footer import FooterView
from ltxtui.panels.view import View
from ltxtui.plot.line_plot import Style

if TYPE_CHECKING:
    from ltxtui.app import Dashboard


_NOTICE_SECONDS: Final = 4.0


@dataclass(frozen=True)
class Entry:
    """One line to choose: what it is, its keys, what it does, and why it cannot be chosen now (empty if it can)."""

    id: str
    label: str
    keys: str
    description: str
    why_not: str = ""


class ActionScreen(Screen[None], inherit_bindings=False):
    """A screen whose keys are the registry's. A subclass has a `kind` and a `model`, and draws itself in `show`.

    `kind` is the name in `Action.screens`; `model` is what the conditions of actions are tested on.
    """

    kind: ClassVar[str] = ""
    AUTO_FOCUS: ClassVar[str | None] = ""
    _refused: tuple[str, float] = ("", 0.0)
    """Why the last key did nothing, and when that was shown."""

    @property
    def model(self) -> Any:
        raise NotImplementedError

    @property
    def dashboard(self) -> Dashboard:
        return cast("Dashboard", self.app)

    @property
    def drawing(self) -> Style:
        return self.dashboard.drawing

    @property
    def on_top(self) -> bool:
        """Whether no screen is above it; Textual's `is_current` is true below one other screen too."""
        return self.app.screen_stack[-1:] == [self]

    def command(self) -> list[str]:
        """The words of the command line that shows this screen again."""
        return ["ltxtui"]

    def show(self) -> None:
        """The model has changed: draw what differs. A covered screen draws when it is shown again."""
        if not (self.is_current and self.made):
            return
        for view in self.query(View):
            if view.display:
                view.changed()

    @property
    def made(self) -> bool:
        """Whether its parts exist: not before it is composed, nor while it is removed.

        Parts are removed one by one. What a thread has worked out may arrive when only some of them are left.
        """
        return self.display and bool(self.query(View))

    def on_screen_resume(self) -> None:
        if not self.made:
            return
        self._take_drawing()
        self.show()

    def action_do(self, id: str, which: int) -> None:
        if not (self.on_top and self.made):
            return  # a key that was typed before another screen came, or this one went
        read_only = self.dashboard.read_only
        if actions.perform(self, self.model, id, which, read_only=read_only):
            self.show()
        else:
            self._refuse(actions.why_not(id, self.model, read_only=read_only))

    def on_footer_view_clicked(self, event: FooterView.Clicked) -> None:
        self.action_do(event.action, event.which)

    def _refuse(self, why: str) -> None:
        """Show why a key has no effect; only once while it is held."""
        now = time.monotonic()
        if self._refused[0] != why or now - self._refused[1] > _NOTICE_SECONDS:
            self._refused = why, now
            self.say(why)

    def _take_drawing(self) -> None:
        for view in self.query(View):
            view.drawing = self.drawing

    # Controls

    def next_drawing(self) -> None:
        styles = list(Style)
        self.dashboard.drawing = styles[(styles.index(self.drawing) + 1) % len(styles)]
        self._take_drawing()

    def next_theme(self) -> None:
        self.dashboard.next_theme()

    def show_palette(self) -> None:
        self.dashboard.show_palette(self)

    def show_help(self) -> None:
        self.dashboard.show_help(self)

    def show_tour(self) -> None:
        self.dashboard.show_tour(self)

    def copy_command(self) -> None:
        from ltxtui.reports.export import shell_line

        line = shell_line(self.command())
        self.app.copy_to_clipboard(line)
        self.say(f"copied: {line}")

    def take_screenshot(self) -> None:
        from ltxtui.reports.export import save_screenshot

        picture = self.app.export_screenshot(title="ltxtui")
        self.dashboard.in_background(lambda: save_screenshot(picture, self.dashboard.settings.export_dir), self.say)

    def redraw(self) -> None:
        self.dashboard.redraw()

    def suspend(self) -> None:
        self.app.action_suspend_process()

    def close(self) -> None:
        if self.dashboard.depth > 1:
            self.back()

    def back(self) -> None:
        self.dashboard.back()

    def leave(self) -> None:
        self.dashboard.leave()

    def say(self, text: str, *, alert: bool = False) -> None:
        """A notice in a corner for a few seconds; never markup."""
        seconds = 2 * _NOTICE_SECONDS if alert else _NOTICE_SECONDS
        self.app.notify(text, severity="error" if alert else "information", markup=False, timeout=seconds)


class _PlainBar(ScrollBarRender):
    """A scroll bar without the block characters that smooth its ends."""

    VERTICAL_BARS: ClassVar[list[str]] = [" "] * 8
    HORIZONTAL_BARS: ClassVar[list[str]] = [" "] * 8


def plain_bar(widget: Widget, drawing: Style) -> None:
    """Let a widget's scroll bar keep to ASCII where the drawing does."""
    if drawing is Style.ASCII:
        widget.vertical_scrollbar.renderer = _PlainBar  # type: ignore[misc]


S = TypeVar("S", bound=ActionScreen)


def keyed(screen: type[S], keymap: actions.Keymap) -> type[S]:
    """The same screen with the user's keys."""
    if not keymap:
        return screen
    made: list[BindingType] = [(key, action, "") for key, action in actions.bindings(screen.kind, keymap)]
    return type(screen.__name__, (screen,), {"BINDINGS": made}, inherit_bindings=False)
