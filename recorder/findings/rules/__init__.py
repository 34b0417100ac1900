"""Every rule, by family."""

from __future__ import annotations

from typing import Final

from recorder.findings.rule import Rule
from recorder.findings.rules import audio, guidance, inputs, model, result, schedule, start, steps

RULES: Final[tuple[Rule, ...]] = (
    *schedule.RULES,
    *start.RULES,
    *model.RULES,
    *guidance.RULES,
    *inputs.RULES,
    *steps.RULES,
    *audio.RULES,
    *result.RULES,
)

VERSION: Final = 1
"""Of the rules: findings that were written with a lower one are made again by readers."""
