"""The analysis of a sweep: arms against smooth sampling at equal evaluations, ranked, corrected, put into words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from recorder.sweep.grid import SMOOTH
from recorder.sweep.spec import Sweep
from replay.sweep.arm_result import ArmResult
from replay.sweep.results import ENDPOINTS, PRIMARY, TASK, ResultRow
from replay.sweep.statistics import holm
from replay.sweep.verdict_text import sentences


@dataclass(frozen=True)
class Analysis:
    """All arms of a sweep, those that are not controls ranked by the primary endpoint, and the verdict."""

    sweep: Sweep
    baseline: ArmResult
    controls: tuple[ArmResult, ...]
    ranked: tuple[ArmResult, ...]
    verdict: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """JSON-like form with every number; NaN becomes None."""
        return {
            "sweep": self.sweep.as_dict(),
            "primary": PRIMARY,
            "endpoints": {**ENDPOINTS, **TASK},
            "baseline": self.baseline.as_json(),
            "controls": [c.as_json() for c in self.controls],
            "arms": [a.as_json() for a in self.ranked],
            "verdict": list(self.verdict),
        }


def analyse(sweep: Sweep, rows: Sequence[ResultRow]) -> Analysis:
    """Compare every arm with its control over the seeds that both have.

    The primary endpoint's p are corrected by Holm over all arms that are not controls and have at least two pairs.
    Everything else is exploratory and uncorrected.
    """
    by_job = {row.job: row for row in rows}
    found = [ArmResult.of(sweep, arm, by_job) for arm in sweep.arms]
    arms = [f for f in found if not f.arm.is_control]
    corrected = holm([f.primary.p for f in arms])
    arms = [replace(f, holm=p) for f, p in zip(arms, corrected, strict=True)]
    ranked = sorted(arms, key=lambda f: (math.isnan(f.primary.mean), f.primary.mean))
    controls = [f for f in found if f.arm.is_control]
    baseline = next(f for f in controls if f.arm.name == SMOOTH)
    others = tuple(f for f in controls if f is not baseline)
    return Analysis(sweep, baseline, others, tuple(ranked), tuple(sentences(baseline, others, ranked)))
