"""Rows that wait together are one message, as the format allows: it is encoded, written and read once, not per row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, TypeGuard

import numpy as np
from numpy.typing import NDArray

from recorder.format.protocol import MAX_RECORDER_MESSAGE, Message
from recorder.writing.items import RowItem

MOST_BYTES: Final = MAX_RECORDER_MESSAGE // 4
"""Of the rows in one message: its readers refuse one that is too long."""


def most_together(first: RowItem) -> int:
    """How many rows of the width of the first may share a message; a row with latents or a picture has its own."""
    if first.snapshot is not None or first.kept is not None or first.picture is not None:
        return 1
    return max(1, MOST_BYTES // (4 * (len(first.schedule) + len(first.measured)) + 8))


def follows(item: object, first: RowItem, count: int) -> TypeGuard[RowItem]:
    """Whether an item is the next row of the same stream after `count` rows, and may share a message."""
    return (
        type(item) is RowItem
        and item.step == first.step + count
        and item.stream == first.stream
        and item.stage == first.stage
        and most_together(item) > 1
    )


def values_of(rows: Sequence[RowItem], report: Callable[[Exception], None]) -> NDArray[np.float32]:
    """What rows of one stream hold, [rows, width], once all have arrived.

    A number from the host that fails is NaN, and `report` gets the error.

    Raises:
        Exception: what any of them raises while it is waited for.
    """
    import torch  # the rows hold its tensors, so it is loaded

    for row in rows:
        row.wait()
    measured = torch.stack([row.measured for row in rows]).numpy()
    known = np.array([[_known(value, report) for value in row.schedule] for row in rows], np.float32)
    return np.concatenate([known, measured], axis=1)


def _known(value: float | Callable[[], float], report: Callable[[Exception], None]) -> float:
    try:
        return value() if callable(value) else value
    except Exception as error:  # noqa: BLE001 - a clock that fails must not cost the row
        report(error)
        return math.nan


def joined(rows: Sequence[RowItem], values: NDArray[np.float32]) -> Message:
    """One message of rows that follow each other, and of what they hold, [rows, width]."""
    message = rows[0].message(values)
    if len(rows) == 1:
        return message
    return {**message, "count": len(rows), "time": np.array([row.time for row in rows], "<f8").tobytes()}
