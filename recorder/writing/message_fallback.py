"""Lesser versions of a message that cannot be sent as it is: without its declarations a run cannot be read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from recorder.format.events import MAX_TEXT, cut
from recorder.format.protocol import Message

_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_MOST: Final = 1 << 63
_MOST_DIGITS: Final = 2_000
"""Binary digits of a number that is written in decimal ones: Python refuses to do that for very long ones."""
_LARGE: Final[dict[str, Any]] = {"metadata": {}, "sigmas": [], "payload": {}, "missed": {}}
"""What may be as large as the user likes, and what stands for it: an empty plan is one that is not known."""


def lesser(message: Message) -> Iterator[tuple[Message, str]]:
    """Versions of a message, each smaller than the one before, with the names of what each lacks."""
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
    """A copy that msgpack and every reader take: text in UTF-8, whole numbers of 64 bits.

    Command lines and paths may hold bytes that are no UTF-8; Python keeps those as lone surrogates. Texts are cut to
    `longest` characters, if that is given.
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
