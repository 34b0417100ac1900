"""Names of keys as they are shown, and the user's own choice of keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ltxtui.actions.registry import Action
from ltxtui.plot.text import to_ascii

Keymap = Mapping[str, tuple[str, ...]]
"""By action id, the keys that replace its own; an empty tuple removes them."""

_NAMES: Final = {
    "left": "←", "right": "→", "up": "↑", "down": "↓", "comma": ",", "full_stop": ".", "minus": "-", "plus": "+",
    "question_mark": "?", "left_square_bracket": "[", "right_square_bracket": "]", "space": "space", "end": "End",
    "home": "Home", "pageup": "PgUp", "pagedown": "PgDn", "tab": "Tab", "enter": "Enter", "escape": "Esc",
    "delete": "Del", "backspace": "Backspace", "colon": ":", "semicolon": ";", "percent_sign": "%",
    "less_than_sign": "<", "greater_than_sign": ">", "left_parenthesis": "(", "right_parenthesis": ")",
    "left_curly_bracket": "{", "right_curly_bracket": "}", "exclamation_mark": "!", "equals_sign": "=",
    "slash": "/", "backslash": "\\", "apostrophe": "'", "quotation_mark": '"', "asterisk": "*", "underscore": "_",
    "grave_accent": "`", "tilde": "~", "at": "@", "number_sign": "#", "dollar_sign": "$", "ampersand": "&",
    "circumflex_accent": "^", "vertical_line": "|", "insert": "Ins", **{f"f{n}": f"F{n}" for n in range(1, 13)},
}  # fmt: skip
_SIGNS: Final = {shown: name for name, shown in _NAMES.items()}


def key_name(keys: tuple[str, ...], *, ascii_only: bool = False) -> str:
    """Keys as they are shown: `←→`, `,.`, `1…9`, `Ctrl+C`; empty without any."""
    names = []
    for key in keys:
        *held, last = key.split("+") if key != "+" else [key]
        named = _NAMES.get(last, last.upper() if held else last)
        names.append("+".join([*(h.capitalize() for h in held), named]))
    if len(names) > 2:
        text = f"{names[0]}…{names[-1]}"
    elif ascii_only and any(not n.isascii() for n in names):
        return "/".join(to_ascii(n) for n in names)
    else:
        text = ("" if all(len(n) == 1 for n in names) else "/").join(names)
    return to_ascii(text) if ascii_only else text


def read_key(written: str) -> str:
    """The name of a key as a settings file may write it: `?`, `Ctrl+P`, `left`, `PgUp`.

    Raises:
        ValueError: if it is not a key.
    """
    text = written.strip() if written != " " else "space"
    *held, last = [*text[:-2].split("+"), "+"] if text.endswith("++") else text.split("+") if len(text) > 1 else [text]
    held = [h.strip().lower() for h in held]
    last = _SIGNS.get(last, last)
    last = last if len(last) == 1 and not held else last.lower()
    if held == ["shift"] and len(last) == 1 and last.isalpha():
        return last.upper()  # which is what terminals send
    known = len(last) == 1 and last.isprintable()
    if not (known or last in _NAMES) or not set(held) <= {"ctrl", "shift", "alt"}:
        raise ValueError(f"{written!r} is not a key; keys look like x, X, ?, left, pageup, f2, ctrl+p, shift+left")
    return "+".join([*held, last])


def keys_of(action: Action[Any], keymap: Keymap | None = None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The keys of an action by place, and further ones for its first place."""
    own = (keymap or {}).get(action.id)
    if own is None:
        return action.keys, action.also
    places = len(action.keys)
    return own[:places], own[places:] if places == 1 else ()


def keys_text(action: Action[Any], keymap: Keymap | None = None, *, ascii_only: bool = False) -> str:
    """All keys of an action."""
    keys, also = keys_of(action, keymap)
    names = [key_name(keys, ascii_only=ascii_only)] + [key_name((key,), ascii_only=ascii_only) for key in also]
    return " ".join(name for name in names if name)
