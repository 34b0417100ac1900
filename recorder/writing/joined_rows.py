"""Joins rows that follow each other into one message, as the format allows: its reader works once, not per row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from recorder.format import protocol
from recorder.format.protocol import Message


def is_row(item: object) -> bool:
    """Whether an item is the message of a single row."""
    return isinstance(item, dict) and item["t"] == protocol.STEP and "count" not in item


def follows(row: Message, first: Message, count: int) -> bool:
    """Whether a row is the next one of the same stream after `count` rows."""
    return bool(
        row["step"] == first["step"] + count and row["stream"] == first["stream"] and row["stage"] == first["stage"]
    )


def together(messages: Iterable[Message]) -> Iterator[Message]:
    """The messages in their order, rows that follow each other as one."""
    rows: list[Message] = []
    for message in messages:
        if rows and not (is_row(message) and follows(message, rows[0], len(rows))):
            yield joined(rows)
            rows = []
        if is_row(message):
            rows.append(message)
        else:
            yield message
    if rows:
        yield joined(rows)


def joined(rows: Sequence[Message]) -> Message:
    """One message of rows that follow each other: itself if it is one."""
    if len(rows) == 1:
        return rows[0]
    times = np.array([row["time"] for row in rows], "<f8").tobytes()
    return {**rows[0], "count": len(rows), "time": times, "data": b"".join(row["data"] for row in rows)}
