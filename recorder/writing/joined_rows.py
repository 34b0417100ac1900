"""Rows that wait together are one message, as the format allows: it is encoded, written and read once, not per row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeGuard

import numpy as np
from numpy.typing import NDArray

from recorder.format.protocol import Message
from recorder.writing.items import RowItem


def is_plain(item: object) -> TypeGuard[RowItem]:
    """Whether an item is a row that comes without latents and without a picture."""
    return type(item) is RowItem and item.snapshot is None and item.kept is None and item.picture is None


def follows(row: RowItem, first: RowItem, count: int) -> bool:
    """Whether a row is the next one of the same stream after `count` rows."""
    return row.step == first.step + count and row.stream == first.stream and row.stage == first.stage


def values_of(rows: Sequence[RowItem], report: Callable[[Exception], None]) -> NDArray[np.float32]:
    """What rows of one stream hold, [rows, width], once all have arrived. See `RowItem.values` for `report`.

    Raises:
        Exception: what any of them raises while it is waited for.
    """
    import torch  # the rows hold its tensors, so it is loaded

    for row in rows:
        row.wait()
    measured = torch.stack([row.measured for row in rows]).numpy()
    known = np.array([row.known(report) for row in rows], np.float32)
    return np.concatenate([known, measured], axis=1)


def joined(rows: Sequence[RowItem], values: NDArray[np.float32]) -> Message:
    """One message of rows that follow each other, and of what they hold, [rows, width]."""
    if len(rows) == 1:
        return rows[0].message(values[0])
    times = np.array([row.time for row in rows], "<f8").tobytes()
    return {**rows[0].message(values), "count": len(rows), "time": times}
