"""How a run stands in a few words: its status, what it lacks, and what is wrong with its result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

NOISE_LEFT: Final = "noise_left"
"""Where a warning's payload has the noise level that a stage's result was left at."""


@dataclass
class Flaws:
    """What events tell of a run's result: values that are not finite, and noise that was left in it."""

    nan: bool = False
    noise_left: float = 0.0
    """The highest level that the result of a stage was left at; 0 if none was left."""

    def take(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Take in one event."""
        self.nan = self.nan or kind == "nan"
        level = payload.get(NOISE_LEFT) if kind == "warning" else None
        if isinstance(level, float) and math.isfinite(level):
            self.noise_left = max(self.noise_left, level)


def missed_steps(missed: Mapping[str, int]) -> int:
    """Steps that were taken and not recorded, of rows missed by stage and stream such as `stage_0/video`.

    The streams of a stage step together: what both have missed counts once.
    """
    stages: dict[str, int] = {}
    for key, count in missed.items():
        stage = key.partition("/")[0]
        stages[stage] = max(stages.get(stage, 0), count)
    return sum(stages.values())


def percent(level: float) -> str:
    """A noise level as a share in percent, such as `42 %` or `0.5 %`; a level over 1 is all noise."""
    share = 100 * min(level, 1.0)
    return f"{share:.0f} %" if share >= 1 else f"{share:.1g} %"


def standing(status: str, steps: int, missed: int, flaws: Flaws | None = None) -> str:
    """`complete`; `complete, 3 steps not recorded`; `complete, 42 % noise left`; `complete, NaN`.

    Args:
        status: the stored one, or `live` or `unfinished`.
        steps: rows of the stages' longest streams, all stages together.
        missed: steps that were taken and not recorded.
        flaws: what is wrong with the result.
    """
    if status == "live":
        return status
    if not steps:
        return f"{status}, nothing recorded"
    found = [status]
    if missed:
        found.append(f"{missed} step{'s' * (missed > 1)} not recorded")
    if flaws is not None and flaws.noise_left > 0:
        found.append(f"{percent(flaws.noise_left)} noise left")
    if flaws is not None and flaws.nan:
        found.append("NaN")
    return ", ".join(found)
