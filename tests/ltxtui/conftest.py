"""An environment in which every picture is the same, and pilots that continue as soon as nothing is left to do."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from pathlib import Path

import pytest
from textual._compositor import Compositor
from textual._context import active_app, visible_screen_stack
from textual.css.model import RuleSet
from textual.css.stylesheet import Stylesheet
from textual.screen import Screen
from textual.widget import Widget

from ltxtui.panels.view import View
from tests.ltxtui.driving import Drawings

_ROUNDS = 10_000


async def rested(min_sleep: float = 0.0, max_sleep: float = 1.0) -> None:
    """Return when the event loop has nothing more to do, timers and threads not counted, and the screen is drawn.

    Textual sleeps for 20 ms and more, three times for every key, until the whole process uses little CPU: that is slow,
    and on a busy machine it is a guess. What comes from threads or later is waited for with `driving.until`.
    """
    loop = asyncio.get_running_loop()
    app = active_app.get()
    for _ in range(3):  # what waits for the screen to be drawn has its turn after it
        for _ in range(_ROUNDS):
            # A change of size waits 8 ms for the next one before the screen hears of it.
            await asyncio.sleep(0 if app._resize_event is None else 0.002)
            if not loop._ready and app._resize_event is None:  # type: ignore[attr-defined]  # no public way to ask
                break
        for screen in app.screen_stack:  # a dialog lets the one below be seen
            screen._on_timer_update()


painted = Compositor.render_update


def unseen(
    self: Compositor, full: bool = False, screen_stack: list[Screen[object]] | None = None, simplify: bool = False
) -> object:
    """In place of painting for a terminal that nobody looks at: views still make their rows, so that what cannot be
    drawn fails. Who looks at the screen has it painted."""
    dirty = bool(self._dirty_regions)
    Drawings.count += full or dirty
    if full:
        return painted(self, full, screen_stack, simplify)
    visible_screen_stack.set(screen_stack or [])
    self._dirty_regions.clear()
    widgets: list[Widget] = list(self.visible_widgets) if dirty else []
    for widget in widgets:
        if isinstance(widget, View):
            widget.render_line(0)
    return None


parsed = Stylesheet._parse_rules
rules: dict[object, list[RuleSet]] = {}


def parsed_once(self: Stylesheet, *of: Hashable, **more: Hashable) -> list[RuleSet]:
    """In place of parsing the same style sheets for every app and dialog, which took a quarter of a pilot's time."""
    key = of, frozenset(more.items()), frozenset(self._variables.items())
    if key not in rules:
        rules[key] = parsed(self, *of, **more)  # type: ignore[arg-type]
    return rules[key]


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("textual.app.wait_for_idle", rested)
    monkeypatch.setattr("textual.pilot.wait_for_idle", rested)
    monkeypatch.setattr(Compositor, "render_update", unseen)
    monkeypatch.setattr(Stylesheet, "_parse_rules", parsed_once)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("COLORFGBG", raising=False)
    monkeypatch.setenv("LTXTUI_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("LTXTUI_STATE", str(tmp_path / "state.json"))
