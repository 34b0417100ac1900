"""The table of keys for README, between `<!-- keys -->` and `<!-- end keys -->`."""

from __future__ import annotations

from typing import Final

from ltxtui.actions import ACTIONS, keys_of
from ltxtui.actions.keys import key_name

START: Final = "<!-- keys -->"
END: Final = "<!-- end keys -->"
_SCREENS: Final = ("home", "run", "compare")


def table() -> str:
    """All actions with screens, keys and label, one row each, in the order of the help."""
    rows = ["| screen | keys | what it does |", "| --- | --- | --- |"]
    for action in ACTIONS:
        keys, also = keys_of(action)
        named = [_code(key_name(keys)) if len(keys) > 2 else " ".join(_code(key_name((k,))) for k in keys)]
        named += [_code(key_name((key,))) for key in also]
        where = "all" if set(action.screens) == set(_SCREENS) else ", ".join(action.screens)
        rows.append(f"| {where} | {' '.join(named)} | {_cell(action.label)} |")
    return "\n".join(rows)


def written_into(text: str) -> str:
    """The text of a README with the current table between the marks.

    Raises:
        ValueError: if it does not have the marks.
    """
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not end:
        raise ValueError(f"{START} and {END} are missing")
    return f"{before}{start}\n\n{table()}\n\n{end}{after}"


def _code(name: str) -> str:
    escaped = _cell(name)
    return f"`` {escaped} ``" if "`" in name else f"`{escaped}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
