"""Drives the dashboard in tests: waits for messages of a source, and reads the screen."""

from __future__ import annotations

import time
from collections.abc import Callable

from textual._context import visible_screen_stack
from textual.events import Key
from textual.keys import key_to_character
from textual.pilot import Pilot
from textual.strip import Strip

from ltxtui.app import Dashboard
from ltxtui.panels.view import View
from tests.waiting import PATIENCE_SECONDS

ROOMY = (120, 40)
LOOKS = 4
"""Equal looks in a row after which a screen counts as settled."""


class Drawings:
    """How often anything was drawn on any screen: `surroundings` in conftest.py counts."""

    count = 0


async def until(pilot: Pilot[None], condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; fail after `PATIENCE_SECONDS`."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        await pilot.pause(0.01)
        if condition():
            await pilot.pause()
            return
    raise AssertionError("the condition never held")


async def resized(pilot: Pilot[None], *size: int) -> None:
    """Give the terminal another size, and wait until the screen has that size and is settled."""
    if pilot.app.size != size:
        await pilot.resize_terminal(*size)
        await until(pilot, lambda: pilot.app.screen.size == size)
    await settled(pilot)


def strips_of(pilot: Pilot[None]) -> list[Strip]:
    """The screen as drawn, with its dialogs; Textual has no public way to read it."""
    visible_screen_stack.set(pilot.app._background_screens)
    return pilot.app.screen._compositor.render_strips()


async def settled(pilot: Pilot[None]) -> None:
    """Wait until text and colours of the screen stay the same over several refreshes.

    After a resize, a change of the theme or a key, Textual styles, lays out and draws in several turns of the event
    loop. A screen that is read in between has parts of both layouts.
    """
    before: list[Strip] = []
    changed = ""
    equal = looks = 0
    drawings = -1
    deadline = time.monotonic() + PATIENCE_SECONDS
    while equal < LOOKS:
        assert time.monotonic() < deadline, f"the screen never settled in {looks} looks; last changed: {changed}"
        await pilot.pause()
        await pilot.pause(0.005)
        now = before if Drawings.count == drawings else strips_of(pilot)
        drawings, looks = Drawings.count, looks + 1
        equal = equal + 1 if now == before else 0
        if not equal:
            changed = "\n".join(f"{a.text} → {b.text}" for a, b in zip(before, now, strict=False) if a != b)
        before = now


def dashboard(pilot: Pilot[None]) -> Dashboard:
    assert isinstance(pilot.app, Dashboard)
    return pilot.app


async def loaded(pilot: Pilot[None]) -> None:
    """Wait until the dashboard has read all messages of its source, and has its findings."""
    deck = dashboard(pilot).deck
    await until(pilot, lambda: not deck.loading or (deck.live and deck.total > 0))
    await until(pilot, lambda: deck.findings.current)


def shown(pilot: Pilot[None], selector: str) -> str:
    """The text of one region of the screen, as drawn."""
    view = dashboard(pilot).screen_stack[0].query_one(selector, View)
    return "\n".join(view.render_line(y).text for y in range(view.size.height))


def burst(pilot: Pilot[None], *keys: str) -> None:
    """Queue all keys before the first one is handled, as after fast typing or over a slow connection."""
    for key in keys:
        pilot.app.post_message(key_event(key))


def key_event(key: str) -> Key:
    """The event of a key by its name in Textual, such as `enter`, `a`, `colon`."""
    character = key if len(key) == 1 else key_to_character(key)
    return Key(key, character if character is not None and character.isprintable() else None)
