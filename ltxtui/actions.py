"""Every action once: its keys, its words and when it is on offer. Bindings, footer and help are made from this."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from ltxtui.deck import Deck
from ltxtui.text import to_ascii


class Controls(Protocol):
    """What an action can reach: the deck, and the few things that only the application can do."""

    deck: Deck

    def next_drawing(self) -> None: ...

    def next_theme(self) -> None: ...

    def swap_bands(self) -> None: ...

    def toggle_help(self) -> None: ...

    def leave(self) -> None: ...


def _always(deck: Deck) -> bool:
    return True


def _has_steps(deck: Deck) -> bool:
    return deck.total > 0


def _replaying(deck: Deck) -> bool:
    return deck.replaying


@dataclass(frozen=True)
class Action:
    """One thing that can be done. `run` is told which of the keys was pressed, by its place among them."""

    id: str
    group: str
    keys: tuple[str, ...]
    label: str
    description: str
    run: Callable[[Controls, int], None]
    available: Callable[[Deck], bool] = _always
    footer: str = ""
    """The word in the footer; empty if the action is in the help only."""
    also: tuple[str, ...] = ()
    """Further keys for the same, in the help but not in the footer."""


ACTIONS: Final[tuple[Action, ...]] = (
    Action("play", "Replay", ("space",), "Play or pause", "Plays the run from the playhead; at its end, from the "
           "start.", lambda c, n: c.deck.toggle(), _replaying, "play/pause"),
    Action("cursor", "Cursor", ("left", "right"), "Cursor one step back or forward", "Moves the step cursor of all "
           "panels; past the newest visible step of a replay the playhead goes along.",
           lambda c, n: c.deck.move((-1, 1)[n]), _has_steps, "step"),
    Action("newest", "Cursor", ("end",), "To the newest step, and follow it", "Live the cursor then goes with the "
           "run; a replay goes to its end.", lambda c, n: c.deck.last(), _has_steps, "newest", also=("G",)),
    Action("first", "Cursor", ("home",), "To the first step", "Puts the cursor on the first step of the stage.",
           lambda c, n: c.deck.first(), _has_steps, also=("g",)),
    Action("far", "Cursor", ("pageup", "pagedown"), "Cursor ten steps back or forward", "Moves the step cursor "
           "by ten.", lambda c, n: c.deck.move((-10, 10)[n]), _has_steps),
    Action("frame", "Replay", ("comma", "full_stop"), "Playhead one step back or forward", "Pauses and moves the "
           "playhead, so that the run is seen as it was at that step.", lambda c, n: c.deck.step((-1, 1)[n]),
           _replaying, "playhead"),
    Action("seek", "Replay", ("shift+left", "shift+right"), "Playhead a tenth back or forward", "Seeks by a tenth "
           "of the run.", lambda c, n: c.deck.seek_by((-0.1, 0.1)[n]), _replaying),
    Action("tenth", "Replay", tuple("0123456789"), "Playhead to a tenth of the run", "0 is the start, 5 the middle.",
           lambda c, n: c.deck.seek(n / 10), _replaying),
    Action("speed", "Replay", ("minus", "plus"), "Slower or faster", "From 1/8 of the recorded pace to as fast as "
           "the screen goes.", lambda c, n: c.deck.change_speed((-1, 1)[n]), _replaying, "speed"),
    Action("stream", "Selection", ("v",), "Video or audio", "Shows the other stream of the stage.",
           lambda c, n: c.deck.next_stream(), lambda deck: len(deck.streams) > 1, "video/audio", also=("tab",)),
    Action("stage", "Selection", ("left_square_bracket", "right_square_bracket"), "Stage before or after",
           "Shows another denoising loop of the run.", lambda c, n: c.deck.next_stage((-1, 1)[n]),
           lambda deck: len(deck.run.stages) > 1, "stage"),
    Action("item", "Selection", ("b",), "Next batch item", "Shows the next clip of the batch.",
           lambda c, n: c.deck.next_item(), lambda deck: deck.items > 1, "batch item"),
    Action("bands", "View", ("w",), "Noise energy or whiteness", "Whiteness is each band's share of the predicted "
           "noise divided by white noise's share on this grid.", lambda c, n: c.swap_bands(), _always, "whiteness"),
    Action("drawing", "View", ("d",), "Drawing: braille, block or ASCII", "ASCII works in every terminal and font.",
           lambda c, n: c.next_drawing(), _always, "drawing"),
    Action("theme", "View", ("t",), "Theme: dark or light", "Lines differ by their pattern too, not by colour alone.",
           lambda c, n: c.next_theme(), _always, "theme"),
    Action("help", "General", ("question_mark",), "This help", "Opens and closes the list of keys.",
           lambda c, n: c.toggle_help(), _always, "help", also=("f1",)),
    Action("quit", "General", ("q",), "Quit", "Closes the dashboard; a recorded run goes on. Only a demo ends with it.",
           lambda c, n: c.leave(), _always, "quit", also=("ctrl+c", "ctrl+q")),
)  # fmt: skip

BY_ID: Final = {action.id: action for action in ACTIONS}

_KEY_NAMES = {
    "left": "←", "right": "→", "comma": ",", "full_stop": ".", "minus": "-", "plus": "+", "question_mark": "?",
    "left_square_bracket": "[", "right_square_bracket": "]", "space": "space", "end": "End", "home": "Home",
    "pageup": "PgUp", "pagedown": "PgDn", "f1": "F1", "tab": "Tab",
}  # fmt: skip


def key_name(keys: tuple[str, ...], *, ascii_only: bool = False) -> str:
    """Keys as a person reads them: `←→`, `,.`, `0…9`, `Ctrl+C`."""
    names = []
    for key in keys:
        *held, last = key.split("+") if key != "+" else [key]
        names.append("+".join([*(h.capitalize() for h in held), _KEY_NAMES.get(last, last.upper() if held else last)]))
    if len(names) > 2:
        text = f"{names[0]}…{names[-1]}"
    elif ascii_only and any(not n.isascii() for n in names):
        return "/".join(to_ascii(n) for n in names)
    else:
        text = ("" if all(len(n) == 1 for n in names) else "/").join(names)
    return to_ascii(text) if ascii_only else text


def bindings() -> list[tuple[str, str]]:
    """Every key with the Textual action that it stands for."""
    found = []
    for action in ACTIONS:
        found += [(key, f"do('{action.id}', {n})") for n, key in enumerate(action.keys)]
        found += [(key, f"do('{action.id}', 0)") for key in action.also]
    return found


def perform(controls: Controls, id: str, which: int = 0) -> bool:
    """Do an action if it is on offer now; whether it was."""
    action = BY_ID[id]
    if not action.available(controls.deck):
        return False
    action.run(controls, which)
    return True
