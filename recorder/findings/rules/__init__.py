"""Every rule. Causes come before what follows from them: of two findings that are equally bad the first is shown."""

from __future__ import annotations

from typing import Final

from recorder.findings.rule import Rule
from recorder.findings.rules import audio, frames, guidance, inputs, model, recording, result, schedule, start, steps

RULES: Final[tuple[Rule, ...]] = (
    *schedule.RULES,
    *audio.RULES,
    *inputs.RULES,
    *start.RULES,
    *steps.RULES,
    *guidance.RULES,
    *model.RULES,
    *frames.RULES,
    *result.RULES,
    *recording.RULES,
)
BY_ID: Final = {rule.id: rule for rule in RULES}

VERSION: Final = 5
"""Of the rules: findings that were written with a lower one are made again by readers."""
