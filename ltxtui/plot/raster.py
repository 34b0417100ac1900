"""Lines as dots and dots as characters, by array operations: the dashboard draws them four times a second."""

from __future__ import annotations

from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Dots = NDArray[np.uint8]
"""Which dots of each cell are set, a bit for each [rows, columns]: 8 bits in braille, 4 in blocks, 1 in ASCII."""


class Style(Enum):
    """How lines are drawn."""

    BRAILLE = "braille"
    BLOCK = "block"
    ASCII = "ASCII"


RESOLUTION: Final = {Style.BRAILLE: (2, 4), Style.BLOCK: (2, 2), Style.ASCII: (1, 1)}
"""Dots per cell, across and down."""

BLOCKS: Final = " ▘▝▀▖▌▞▛▗▚▐▜▄▙▟█"
BRAILLE: Final = 0x2800

_BITS: Final = {
    Style.BRAILLE: np.array([[1, 8], [2, 16], [4, 32], [64, 128]], np.uint8),
    Style.BLOCK: np.array([[1, 2], [4, 8]], np.uint8),
    Style.ASCII: np.array([[1]], np.uint8),
}
_CHARACTERS: Final = {
    Style.BRAILLE: BRAILLE + np.arange(256, dtype=np.uint32),
    Style.BLOCK: np.array([ord(c) for c in BLOCKS], np.uint32),
}


def draw_line(x: Floats, y: Floats, size: tuple[int, int], style: Style, dash: tuple[int, int]) -> Dots:
    """One polyline, broken where a coordinate is not a number and cut where it leaves the canvas.

    Args:
        x: dots from the left [points].
        y: dots from the bottom [points].
        size: of the canvas, in columns and rows of cells.
        style: which says how many dots a cell has.
        dash: how many columns of dots are drawn of how many; an isolated point is always drawn.
    """
    across, down = RESOLUTION[style]
    wide, high = size[0] * across, size[1] * down
    canvas = np.zeros((high, wide), np.bool_)
    known = np.isfinite(x) & np.isfinite(y)
    joined = known[:-1] & known[1:]
    alone = known.copy()
    alone[:-1] &= ~joined
    alone[1:] &= ~joined
    _set(canvas, x[alone], y[alone])
    starts = np.flatnonzero(joined)
    if starts.size:
        ends = starts + 1
        px, py = _points(np.round(x[starts]), np.round(y[starts]), np.round(x[ends]), np.round(y[ends]), wide, high)
        if dash[1] > dash[0]:
            kept = np.round(px) % dash[1] < dash[0]
            px, py = px[kept], py[kept]
        _set(canvas, px, py)
    cells = canvas[::-1].reshape(size[1], down, size[0], across)
    return np.asarray(np.einsum("rdca,da->rc", cells, _BITS[style]), np.uint8)


def characters(dots: Dots, style: Style, beneath: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Code points: of the dots where there are any, else of the canvas below; in ASCII that has the lines already."""
    return beneath if style is Style.ASCII else np.where(dots > 0, _CHARACTERS[style][dots], beneath)


def _points(x0: Floats, y0: Floats, x1: Floats, y1: Floats, wide: int, high: int) -> tuple[Floats, Floats]:
    """The dots of segments, one for each column or row of dots that a segment passes, whichever are more."""
    dx, dy = x1 - x0, y1 - y0
    first, last = np.zeros(len(dx)), np.ones(len(dx))
    for start, way, size in ((x0, dx, wide), (y0, dy, high)):
        outside = (np.minimum(start, start + way) < 0) | (np.maximum(start, start + way) > size - 1)
        if outside.any():
            low, high_ = _part(start, way, size)
            first, last = np.maximum(first, low), np.minimum(last, high_)
    seen = first <= last
    x0, y0, dx, dy, first, last = (a[seen] for a in (x0, y0, dx, dy, first, last))
    counts = np.ceil(np.maximum(np.abs(dx), np.abs(dy)) * (last - first)).astype(np.int64)
    of = np.repeat(np.arange(len(counts)), counts + 1)
    nth = np.arange(len(of)) - np.repeat(np.cumsum(counts + 1) - (counts + 1), counts + 1)
    along = first[of] + (last - first)[of] * nth / np.maximum(counts, 1)[of]
    return x0[of] + dx[of] * along, y0[of] + dy[of] * along


def _part(start: Floats, way: Floats, size: int) -> tuple[Floats, Floats]:
    """From which to which part of its way a coordinate is on the canvas; an empty range if it never is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = (-0.49 - start) / way, (size - 0.51 - start) / way
    still = way == 0
    on = (start >= 0) & (start <= size - 1)
    low = np.where(still, np.where(on, 0.0, 2.0), np.minimum(one, other))
    high = np.where(still, 1.0, np.maximum(one, other))
    return low, high


def _set(canvas: NDArray[np.bool_], x: Floats, y: Floats) -> None:
    column, row = np.round(x).astype(np.int64), np.round(y).astype(np.int64)
    on = (column >= 0) & (column < canvas.shape[1]) & (row >= 0) & (row < canvas.shape[0])
    canvas[row[on], column[on]] = True
