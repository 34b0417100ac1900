"""Rows of a run one by one: those that waited together come in one message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


def single_rows(messages: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The messages, each row as one of its own. Times stay those of the whole message."""
    for message in messages:
        count = message.get("count", 1)
        if message["t"] != "step" or count == 1:
            yield message
            continue
        size = len(message["data"]) // count
        for i in range(count):
            yield {
                **message,
                "step": message["step"] + i,
                "count": 1,
                "data": message["data"][i * size : (i + 1) * size],
            }
