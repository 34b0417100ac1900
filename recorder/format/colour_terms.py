"""The terms of a linear map to colours: what recorders fit it to, and readers apply it to.

The decoder of LTX looks further than one cell. On clips of the nano model a map of the cell alone correlates with the
decoded colours by .76 to .99, depending on clip and colour channel, and one of the cell and its neighbours by .90 to
.99. So each cell has three terms per channel: its own value, the mean of the 3×3 cells around it, and the mean of the
frames before and after it, as far as they are there.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

TERMS: Final = 3
"""Terms of a cell per channel."""


def terms(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """The terms of every cell: [frames, rows, columns, C] gives [frames, rows, columns, 3·C]."""
    rows = np.pad(values, ((0, 0), (1, 1), (0, 0), (0, 0)), mode="edge")
    rows = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    columns = np.pad(rows, ((0, 0), (0, 0), (1, 1), (0, 0)), mode="edge")
    around = (columns[:, :, :-2] + columns[:, :, 1:-1] + columns[:, :, 2:]) / 9
    frames = np.pad(values, ((1, 1), (0, 0), (0, 0), (0, 0)), mode="edge")
    return np.concatenate([values, around, (frames[:-2] + frames[2:]) / 2], axis=-1)
