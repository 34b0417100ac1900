"""Pictures larger than their room: how frames of a clip are laid out, and how they are reduced."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_LEAST: Final = 8
"""Lines of text of a picture, if pictures are in several rows."""


def film_layout(frames: int, rows: int, columns: int, width: int, lines: int) -> tuple[int, int, int, int]:
    """As few rows of pictures as show all frames; else as many as leave each picture a height of 8 lines.

    Args:
        frames: how many there are.
        rows, columns: pixels of one, of which only the ratio counts.
        width, lines: cells of text, of which one per row of pictures is for the frames' numbers.

    Returns:
        How many pictures are side by side and above each other, and the size of each in pixels, a text row having two.
    """
    found = (1, 1, 1, 1)
    for down in range(1, max(1, lines // (_LEAST + 1)) + 1):
        text = max(1, lines // down - 1)
        wide = min(width, max(1, round(2 * text * columns / rows)))
        text = min(text, max(1, -(-wide * rows // (2 * columns))))
        across = max(1, min(frames, (width + 1) // (wide + 1)))
        found = (across, down, wide, 2 * text)
        if across * down >= frames:
            break
    return found


def reduced(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """A picture [rows, columns, 3] in another size: every pixel is the mean of nine that lie evenly in its place."""
    rows = (np.arange(3 * height) + 0.5) * pixels.shape[0] / (3 * height)
    columns = (np.arange(3 * width) + 0.5) * pixels.shape[1] / (3 * width)
    picked = pixels[rows.astype(np.intp)[:, None], columns.astype(np.intp)[None, :]].reshape(height, 3, width, 3, 3)
    found: NDArray[np.uint8] = picked.mean(axis=(1, 3)).round().astype(np.uint8)
    return found
