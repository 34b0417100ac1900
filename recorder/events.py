"""Events, which anybody makes, and what an error says in one line. Light: no torch."""

from __future__ import annotations

import time
from typing import Any

from recorder import words
from recorder.words import Message


def event(
    kind: words.EventKind,
    text: str,
    *,
    stage: int | None = None,
    step: int | None = None,
    stream: str | None = None,
    payload: dict[str, Any] | None = None,
) -> Message:
    """An `event` message as of now."""
    return {
        "t": words.EVENT,
        "time": time.time(),
        "stage": stage,
        "step": step,
        "stream": stream,
        "kind": kind,
        "text": text,
        "payload": payload or {},
    }


def reason_of(error: BaseException) -> str:
    """What an error says, in one line; its type where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
