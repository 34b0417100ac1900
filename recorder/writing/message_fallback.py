"""Reduced versions of a message that cannot be sent unchanged: a run cannot be read without its declarations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from recorder.format.events import MAX_TEXT, cut
from recorder.format.protocol import Message

_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_MOST: Final = 1 << 63
_MOST_DIGITS: Final = 2_000
"""Bits of a number that is written in decimal; Python refuses that for very long numbers."""
_LARGE: Final[dict[str, Any]] = {"metadata": {}, "sigmas": [], "payload": {}, "missed": {}}
"""Values that a user may make arbitrarily large, and their replacements; an empty plan is an unknown one."""


def lesser(message: Message) -> Iterator[tuple[Message, str]]:
    """Versions of a message, each smaller than the previous one, with the names of what it lacks."""
    made: Message = _sendable(message, None)
    yield made, ""
    made = _sendable(message, MAX_TEXT)
    yield made, "the ends of long texts"
    lacks: list[str] = []
    for name, instead in _LARGE.items():
        if name in made:
            made = {**made, name: instead}
            lacks.append(name)
            yield made, " and ".join(lacks)


def _sendable(value: Any, longest: int | None) -> Any:
    """A copy that msgpack and every reader accept: text in UTF-8, integers of 64 bits.

    Command lines and paths may hold bytes that are not UTF-8; Python keeps those as lone surrogates. Texts are cut to
    `longest` characters, if given.
    """
    if isinstance(value, str):
        whole = _SURROGATES.sub("\ufffd", value)
        return whole if longest is None else cut(whole, longest)
    if isinstance(value, int) and not isinstance(value, bool) and not -_MOST <= value < 2 * _MOST:
        return str(value) if value.bit_length() < _MOST_DIGITS else hex(value)
    if isinstance(value, dict):
        return {_sendable(k, longest): _sendable(v, longest) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_sendable(v, longest) for v in value]
    return value
