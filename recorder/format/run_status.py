"""A run's status in a few words, with what is missing and what is wrong with its result."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

GOING_ON: Final = ("live", "stalled")
"""The status of a run whose recorder holds its journal: more of it may follow."""
NOISE_LEFT: Final = "noise_left"
"""Where a warning's payload has the noise level that a stage's result was left at."""


def noise_left_of(event: Mapping[str, Any]) -> float:
    """The noise level at which a stage's result was left, from an event; 0 if the event does not report one."""
    payload = event.get("payload") if event.get("kind") == "warning" else None
    level = payload.get(NOISE_LEFT) if isinstance(payload, Mapping) else None
    return level if isinstance(level, float) and math.isfinite(level) else 0.0


def missed_steps(missed: Mapping[str, int]) -> int:
    """Steps that were taken and not recorded, of rows missed by stage and stream such as `stage_0/video`.

    The streams of a stage step together: what both have missed counts once.
    """
    stages: dict[str, int] = {}
    for key, count in missed.items():
        stage = key.partition("/")[0]
        stages[stage] = max(stages.get(stage, 0), count)
    return sum(stages.values())


def noise_percent(level: float) -> str:
    """A noise level as a share in percent, such as `42 %` or `0.5 %`; a level over 1 is all noise."""
    share = 100 * min(level, 1.0)
    return f"{share:.0f} %" if share >= 1 else f"{share:.1g} %"


def standing(status: str, steps: int, missed: int, broken: str = "", noise_left: float = 0.0) -> str:
    """`complete`; `complete, 3 steps not recorded`; `complete, 42 % noise left`; `live, NaN in video item 1 (37 %)`.

    Args:
        status: the stored one, or `live`, `stalled` or `unfinished`.
        steps: rows of the stages' longest streams, all stages together.
        missed: steps that were taken and not recorded.
        broken: what is NaN, of `broken.broken_words`.
        noise_left: the highest level that a stage's result was left at.
    """
    going_on = status in GOING_ON
    parts = [status]
    if not steps and not going_on:
        parts.append("nothing recorded")
    elif missed and not going_on:
        parts.append(f"{missed} step{'s' * (missed > 1)} not recorded")
    if noise_left > 0:
        parts.append(f"{noise_percent(noise_left)} noise left")
    return ", ".join([*parts, broken] if broken else parts)
