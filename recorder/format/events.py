"""Events: how they are made and recognised, and an error in one line. Light: no torch."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from typing import Any, Final

from recorder.format import protocol
from recorder.format.protocol import Message

MAX_TEXT: Final = 4_000
"""Characters kept of any text in a message; enough for every prompt that a text encoder reads."""
MAX_ITEMS: Final = 128
"""Entries kept of any list or table that describes a run; one of this length may have been cut."""
MAX_REASON: Final = 300
"""Characters kept of an error's message where it is shown in one line."""


def event(
    kind: protocol.EventKind,
    text: str,
    *,
    stage: int | None = None,
    step: int | None = None,
    stream: str | None = None,
    payload: dict[str, Any] | None = None,
) -> Message:
    """An `event` message as of now."""
    return {
        "t": protocol.EVENT,
        "time": time.time(),
        "stage": stage,
        "step": step,
        "stream": stream,
        "kind": kind,
        "text": cut(text),
        "payload": payload or {},
    }


def identity(event: Mapping[str, Any]) -> bytes:
    """16 bytes that tell an event from others: of its time, place, kind and text.

    Not of its payload, of which an archive keeps no NaN: an event has the same identity in journal and archive.
    """
    fields = [str(event.get(key)) for key in ("time", "stage", "step", "kind", "stream", "text")]
    return hashlib.blake2b(repr(fields).encode(), digest_size=16).digest()


def cut(text: str, most: int = MAX_TEXT) -> str:
    """A text, or its first `most` characters and `…` if it is longer."""
    return text if len(text) <= most else text[:most] + "…"


def text_of(value: object) -> str:
    """What `str` makes of any object, cut to `MAX_TEXT` characters; never raises, whatever the object does."""
    try:
        return cut(str(value))
    except Exception as error:  # noqa: BLE001 - `__str__` and `__repr__` are the user's code
        return f"({type(value).__name__} whose text raises {type(error).__name__})"


def reason_of(error: BaseException) -> str:
    """What an error says, in one line; its type where it says nothing. Never raises.

    A first line that ends with a colon announces the reason, as that of a failed import in diffusers does: the lines up
    to the reason are joined.
    """
    lines = [line.strip() for line in text_of(error).strip().splitlines() if line.strip()]
    last = next((i for i, line in enumerate(lines) if not line.endswith(":")), len(lines) - 1)
    return " ".join(lines[: last + 1])[:MAX_REASON] or type(error).__name__


def named(error: BaseException) -> str:
    """The type of an error and its message, which may have several lines. Never raises."""
    return cut(f"{type(error).__name__}: {text_of(error)}")
