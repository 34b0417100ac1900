"""Counts model evaluations: the one definition that the run screen, comparisons and sweeps share.

An evaluation is one conditional prediction of the model that the sampler uses. Guidance passes at the same sample and
level are passes of that evaluation. A scheduler of diffusers that evaluates the model twice per step, such as Heun's,
calls `step` after each evaluation, so each is a row; a runner whose rows are steps of the schedule declares the metric
`evaluations` and records in it how many each step took: 0 if it reused the last output.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

METRIC: Final = "evaluations"
"""The metric of a run that counts its evaluations itself: one number per step."""
_MOST: Final = 1 << 16
"""Evaluations of one step at most: an archive may claim anything, and sums must stay integers."""


def per_step(rows: int, recorded: NDArray[np.float32] | None = None) -> NDArray[np.int64]:
    """Model evaluations of each step [rows].

    Args:
        rows: steps that have a row.
        recorded: the run's own count [rows]; without it, and where it is not a number of 0 or more, a step counts as
            one evaluation.
    """
    found = np.ones(rows, np.int64)
    if recorded is not None:
        known = np.isfinite(recorded) & (recorded >= 0)
        found[known] = np.minimum(np.rint(recorded[known]), _MOST).astype(np.int64)
    return found
