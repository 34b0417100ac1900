"""Pictures side by side in a room of text cells: how many, how large, and each in its new size."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

_LEAST: Final = 5
"""Lines of text of a picture, if there is room for them."""
_FEW: Final = 3
"""Beginning, middle and end: drift is not visible in fewer."""
_ALL: Final = 1.5
"""How much larger pictures must be if not all are shown."""


class FilmGrid(NamedTuple):
    """How pictures are laid out: how many side by side and above each other, and the size of each in pixels."""

    across: int
    down: int
    width: int
    height: int
    """Even, since a text row is two pixels high."""
    labelled: bool
    """Whether every row of pictures has a line for their numbers above it."""


def film_layout(frames: int, rows: int, columns: int, width: int, lines: int) -> FilmGrid:
    """The layout with the most of frames and their size, at least three frames where they fit, all of them if possible.

    Args:
        frames: how many there are.
        rows, columns: pixels of one, of which only the ratio counts.
        width, lines: cells of text; a cell is one pixel wide and two high, so that pixels are about square.
    """
    labelled = lines > 1
    best, score = FilmGrid(1, 1, 1, 2, labelled), (0, 0.0)
    for down in range(1, max(1, lines // (_LEAST + 1)) + 1):
        most = max(1, lines // down - labelled)
        for text in range(most, min(_LEAST, most) - 1, -1):
            wide = max(1, min(width, round(2 * text * columns / rows)))
            high = max(1, min(text, -(-wide * rows // (2 * columns))))
            shown = min(frames, (width + 1) // (wide + 1) * down)
            found = min(shown, _FEW), shown * (wide * high) ** 0.5 * (_ALL if shown == frames else 1.0)
            if found > score:
                best, score = FilmGrid(-(-shown // down), down, wide, 2 * high, labelled), found
    return best


def resized(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """A picture [rows, columns, 3] in another size: every pixel is the mean of nine that lie evenly in its place."""
    rows = (np.arange(3 * height) + 0.5) * pixels.shape[0] / (3 * height)
    columns = (np.arange(3 * width) + 0.5) * pixels.shape[1] / (3 * width)
    picked = pixels[rows.astype(np.intp)[:, None], columns.astype(np.intp)[None, :]].reshape(height, 3, width, 3, 3)
    found: NDArray[np.uint8] = picked.mean(axis=(1, 3)).round().astype(np.uint8)
    return found
