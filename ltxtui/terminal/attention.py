"""What makes a terminal call for its user: the bell, and the notifications of OSC 9 and OSC 777."""

from __future__ import annotations

import os
from typing import Final

from ltxtui.plot.text import clean, to_ascii

BELL: Final = "\x07"
MOST: Final = 200
"""Characters of a notification."""
_BELL_ONLY: Final = frozenset({"linux", "dumb", ""})
"""Terminals that may print the text of an unknown sequence."""


def sequence(text: str, *, plain: bool = False, term: str | None = None) -> str:
    """The bell and both notifications of a text, for one write to the terminal.

    Args:
        text: any; control characters are removed, and what ends a field is replaced.
        plain: whether only ASCII may be written.
        term: the kind of terminal; by default that of the environment.
    """
    if (os.environ.get("TERM", "") if term is None else term) in _BELL_ONLY:
        return BELL
    said = clean(text, MOST).replace(";", ",")
    said = to_ascii(said) if plain else said
    # Ended by ST rather than BEL, so that a terminal without notifications rings once.
    return f"\x1b]9;ltxtui: {said}\x1b\\\x1b]777;notify;ltxtui;{said}\x1b\\{BELL}"
