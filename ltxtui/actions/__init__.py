"""The actions: keys, texts and availability. Bindings, footer, help and palette are made from them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from ltxtui.actions import compare, control, cursor, findings, general, home, replay, view
from ltxtui.actions.keys import Keymap, key_name, keys_of, keys_text
from ltxtui.actions.registry import Action, Condition, Controls, RunControls

__all__ = ["ACTIONS", "BY_ID", "Action", "Condition", "Controls", "Keymap", "RunControls", "bindings", "key_name",
           "keys_of", "keys_text", "of_screen", "offered", "perform", "places", "why_not"]  # fmt: skip

ACTIONS: Final[tuple[Action[Any], ...]] = (
    *home.ACTIONS,
    *compare.ACTIONS,
    *findings.ACTIONS,
    *replay.ACTIONS,
    *control.ACTIONS,
    *cursor.ACTIONS,
    *view.ACTIONS,
    *general.ACTIONS,
)
BY_ID: Final = {action.id: action for action in ACTIONS}
READ_ONLY: Final = "this dashboard is read-only; serve it with --control"


def of_screen(screen: str) -> tuple[Action[Any], ...]:
    """The actions of one screen: `home`, `run` or `compare`."""
    return tuple(action for action in ACTIONS if screen in action.screens)


def bindings(screen: str = "run", keymap: Keymap | None = None) -> list[tuple[str, str]]:
    """Every key of a screen with its Textual action.

    A key that the user gave to one action is taken from the others.
    """
    taken = {key for id, keys in (keymap or {}).items() if id in BY_ID and screen in BY_ID[id].screens for key in keys}
    found = []
    for action in of_screen(screen):
        keys, also = keys_of(action, keymap)
        pairs = [*enumerate(keys), *((0, key) for key in also)]
        own = action.id in (keymap or {})
        found += [(key, f"do('{action.id}', {n})") for n, key in pairs if own or key not in taken]
    return found


def places(action: Action[Any], keymap: Keymap | None = None) -> Iterator[tuple[int, str, str]]:
    """The entries of an action in the palette: index of the key, label, and keys."""
    keys, also = keys_of(action, keymap)
    for n, label in enumerate(action.each or (action.label,)):
        here = (*keys[n : n + 1], *(also if n == 0 else ()))
        yield n, label, " ".join(key_name((key,)) for key in here)


def offered(action: Action[Any], model: Any, *, read_only: bool = False) -> bool:
    """Whether an action is available on a screen's model."""
    return not (read_only and action.changes) and action.available(model)


def why_not(id: str, model: Any, *, read_only: bool = False) -> str:
    """Why an action is not available on a screen's model; empty if it is."""
    if read_only and BY_ID[id].changes:
        return READ_ONLY
    return BY_ID[id].available.why_not(model)


def perform(controls: Any, model: Any, id: str, which: int = 0, *, read_only: bool = False) -> bool:
    """Run an action on a screen if its model allows it; returns whether it ran."""
    action = BY_ID[id]
    if not offered(action, model, read_only=read_only):
        return False
    action.run(controls, which)
    return True
