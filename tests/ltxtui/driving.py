"""Driving the dashboard in tests: waiting for what a source brings, and reading the screen."""

from __future__ import annotations

import time
from collections.abc import Callable

from textual.events import Key
from textual.keys import key_to_character
from textual.pilot import Pilot

from ltxtui.app import Dashboard
from ltxtui.panels.view import View
from tests.waiting import PATIENCE_SECONDS

ROOMY = (120, 40)


async def until(pilot: Pilot[None], condition: Callable[[], bool]) -> None:
    """Wait until something holds; a test that waits in vain fails."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        await pilot.pause(0.01)
        if condition():
            await pilot.pause()
            return
    raise AssertionError("waited in vain")


async def resized(pilot: Pilot[None], *size: int) -> None:
    """Give the terminal another size, and wait until the screen has it: Textual takes its time."""
    if pilot.app.size != size:
        await pilot.resize_terminal(*size)
        await until(pilot, lambda: pilot.app.screen.size == size)


def dashboard(pilot: Pilot[None]) -> Dashboard:
    assert isinstance(pilot.app, Dashboard)
    return pilot.app


async def loaded(pilot: Pilot[None]) -> None:
    """Wait until everything that the source has is on the screen, findings included."""
    deck = dashboard(pilot).deck
    await until(pilot, lambda: not deck.loading or (deck.live and deck.total > 0))
    await until(pilot, lambda: deck.findings.current)


def shown(pilot: Pilot[None], selector: str) -> str:
    """The text of one region of the screen, as drawn."""
    view = dashboard(pilot).screen_stack[0].query_one(selector, View)
    return "\n".join(view.render_line(y).text for y in range(view.size.height))


def burst(pilot: Pilot[None], *keys: str) -> None:
    """Keys that are all there before the first of them is handled, as from fast fingers or a slow line."""
    for key in keys:
        pilot.app.post_message(key_event(key))


def key_event(key: str) -> Key:
    """The event of a key by its name in Textual, such as `enter`, `a`, `colon`."""
    character = key if len(key) == 1 else key_to_character(key)
    return Key(key, character if character is not None and character.isprintable() else None)
