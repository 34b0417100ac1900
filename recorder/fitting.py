"""Lesser versions of a message that cannot be sent as it is: without its declarations a run cannot be read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from recorder.words import Message

_SURROGATES: Final = re.compile("[\ud800-\udfff]")
_MOST: Final = 1 << 63
_LARGE: Final[dict[str, Any]] = {"metadata": {}, "sigmas": []}
"""What may be as large as the user likes, and what stands for it: an empty plan is one that is not known."""


def lesser(message: Message) -> Iterator[tuple[Message, str]]:
    """Versions of a message, each smaller than the one before, with the names of what each lacks."""
    made: Message = _sendable(message)
    yield made, ""
    lacks: list[str] = []
    for name, instead in _LARGE.items():
        if name in made:
            made = {**made, name: instead}
            lacks.append(name)
            yield made, " and ".join(lacks)


def _sendable(value: Any) -> Any:
    """A copy that msgpack and every reader take: text in UTF-8, whole numbers of 64 bits.

    Command lines and paths may hold bytes that are no UTF-8; Python keeps those as lone surrogates.
    """
    if isinstance(value, str):
        return _SURROGATES.sub("\ufffd", value)
    if isinstance(value, int) and not isinstance(value, bool) and not -_MOST <= value < 2 * _MOST:
        return str(value)
    if isinstance(value, dict):
        return {_sendable(k): _sendable(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_sendable(v) for v in value]
    return value
