"""How a run stands in a few words: its status, what it lacks, and what of it is no number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

GOING_ON: Final = ("live", "stalled")
"""How a run stands whose recorder has its journal: more of it may come."""


def missed_steps(missed: Mapping[str, int]) -> int:
    """Steps that were taken and not recorded, of rows missed by stage and stream such as `stage_0/video`.

    The streams of a stage step together: what both have missed counts once.
    """
    stages: dict[str, int] = {}
    for key, count in missed.items():
        stage = key.partition("/")[0]
        stages[stage] = max(stages.get(stage, 0), count)
    return sum(stages.values())


def standing(status: str, steps: int, missed: int, broken: str = "") -> str:
    """`complete`; `complete, 3 steps not recorded`; `complete, nothing recorded`; `live, NaN in video item 1 (37 %)`.

    Args:
        status: the stored one, or `live`, `stalled` or `unfinished`.
        steps: rows of the stages' longest streams, all stages together.
        missed: steps that were taken and not recorded.
        broken: what is NaN, of `broken.broken_words`.
    """
    going_on = status in GOING_ON
    parts = [status]
    if not steps and not going_on:
        parts.append("nothing recorded")
    elif missed and not going_on:
        parts.append(f"{missed} step{'s' * (missed > 1)} not recorded")
    return ", ".join([*parts, broken] if broken else parts)
