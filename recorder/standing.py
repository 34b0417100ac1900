"""How a run stands in a few words: its status, and what it lacks."""

from __future__ import annotations

from collections.abc import Mapping


def missed_steps(missed: Mapping[str, int]) -> int:
    """Steps that were taken and not recorded, of rows missed by stage and stream such as `stage_0/video`.

    The streams of a stage step together: what both have missed counts once.
    """
    stages: dict[str, int] = {}
    for key, count in missed.items():
        stage = key.partition("/")[0]
        stages[stage] = max(stages.get(stage, 0), count)
    return sum(stages.values())


def standing(status: str, steps: int, missed: int) -> str:
    """`complete`; `complete, 3 steps not recorded`; `complete, nothing recorded`.

    Args:
        status: the stored one, or `live` or `unfinished`.
        steps: rows of the stages' longest streams, all stages together.
        missed: steps that were taken and not recorded.
    """
    if status == "live":
        return status
    if not steps:
        return f"{status}, nothing recorded"
    if missed:
        return f"{status}, {missed} step{'s' * (missed > 1)} not recorded"
    return status
