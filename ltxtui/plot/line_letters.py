"""Letters set on lines, so that many lines can be distinguished without colours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

_APART: Final = 18
"""Columns between two letters of one line at least."""


def places(
    lines: Sequence[tuple[str, NDArray[np.floating]]],
    columns: NDArray[np.int64],
    wide: int,
    row_of: Callable[[float], int],
) -> Iterator[tuple[int, int, int]]:
    """Where letters go: (index of the line, column, row), each line's in other columns than the others'.

    A line that has any value in view has at least one letter, if there is room at all. Where two lines would have
    their letters in one cell, the second one's moves a column on.

    Args:
        lines: letter and values of each, one value per step; without a letter a line gets none.
        columns: of each step, −1 outside the view.
        wide: columns of the plot.
        row_of: the row of a value.
    """
    count = max(1, len(lines))
    apart = max(_APART, 3 * count)
    taken: set[tuple[int, int]] = set()
    for index, (letter, values) in enumerate(lines):
        at = columns[: len(values)]
        seen = np.flatnonzero(np.isfinite(values[: len(at)]) & (at >= 0))
        if not letter or not seen.size:
            continue
        first = 1 + index * apart // count
        found = False
        for target in [*range(first, wide, apart), int(at[seen[-1]])]:
            if found and target == int(at[seen[-1]]):
                break
            for column in range(target, min(target + count, wide)):
                value = _value_at(column, at, values, seen)
                if value is None:
                    break
                cell = (column, row_of(value))
                if cell not in taken:
                    taken.add(cell)
                    found = True
                    yield index, *cell
                    break


def _value_at(
    column: int, columns: NDArray[np.int64], values: NDArray[np.floating], seen: NDArray[np.int64]
) -> float | None:
    """The line's value in a column, along one step that has both ends; None where the line is broken or over."""
    after = int(np.searchsorted(columns[seen], column))
    if after == len(seen):
        return None
    right = int(seen[after])
    if columns[right] == column:
        return float(values[right])
    left = int(seen[after - 1]) if after else -1
    if left != right - 1 or left < 0:
        return None
    share = (column - int(columns[left])) / (int(columns[right]) - int(columns[left]))
    return float(values[left] + share * (values[right] - values[left]))
