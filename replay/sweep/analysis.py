"""What a sweep says: arms against smooth sampling at equal evaluations, ranked, corrected, and put into sentences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from recorder.sweep.grid import SMOOTH, Arm
from recorder.sweep.spec import Job, Sweep
from replay.sweep.results import ENDPOINTS, PRIMARY, TASK, Row
from replay.sweep.statistics import LEVEL, Difference, difference, holm
from replay.sweep.verdict_text import sentences

FLAGS: Final[dict[str, str]] = {
    "O": "off the marginal, where lost variance can look like stability",
    "L": "a long Euler step leaves the marginal, by the measured bound of docs/shocks.md",
    "V": "the final sample's standard deviation fell (p < .05, uncorrected)",
    "M": "motion fell (p < .05, uncorrected): a frozen clip does not drift",
    "T": "colour, shape or direction is right less often (p < .05, uncorrected)",
    "F": "a shock did not act in some runs",
    "E": "evaluations differ from the control's",
    "N": "the drift index of some runs is NaN or infinite; they are left out",
    "I": "an infinite value in another endpoint of some runs; it is left out",
}
"""What the letters beside an arm mean."""
_TASK_FALLS: Final = ("colour", "shape", "direction", "shape_frames")


@dataclass(frozen=True)
class ArmResult:
    """One arm against its control.

    Attributes:
        arm: who.
        control: the name of the arm it is compared with; smooth at equal evaluations.
        evaluations: model evaluations per run; NaN if there is no run.
        runs, missing, broken: finished runs, runs that are not there, and finished ones whose drift index is
            NaN or infinite.
        unshocked: finished runs in which fewer shocks acted than in this arm's others, or none.
        values: mean of each endpoint over its runs.
        differences: each endpoint's paired difference to the control.
        to_smooth: the primary endpoint's paired difference to plain smooth sampling.
        holm: the primary's p after Holm's correction over all arms that are no controls.
        flags: letters of `FLAGS`.
    """

    arm: Arm
    control: str | None
    evaluations: float
    runs: int
    missing: int
    broken: int
    unshocked: int
    values: dict[str, float]
    differences: dict[str, Difference]
    to_smooth: Difference | None
    holm: float
    flags: str

    @property
    def primary(self) -> Difference:
        return self.differences[PRIMARY]

    @property
    def significant(self) -> bool:
        """True if the primary endpoint differs after correction."""
        return self.holm < LEVEL

    def as_json(self) -> dict[str, Any]:
        """JSON-like form; what is NaN is None."""
        return {
            **self.arm.as_dict(),
            "control": self.control,
            "off_marginal": self.arm.off_marginal,
            "long_step": self.arm.long_step,
            "evaluations": _plain(self.evaluations),
            "runs": self.runs,
            "missing": self.missing,
            "not_finite_runs": self.broken,
            "runs_without_their_shock": self.unshocked,
            "means": {k: _plain(v) for k, v in self.values.items()},
            "differences": {k: d.as_json() for k, d in self.differences.items()},
            "to_smooth": None if self.to_smooth is None else self.to_smooth.as_json(),
            "p_holm": _plain(self.holm),
            "flags": self.flags,
        }


@dataclass(frozen=True)
class Analysis:
    """All arms of a sweep, those that are no controls ranked by the primary endpoint, and the verdict."""

    sweep: Sweep
    baseline: ArmResult
    controls: tuple[ArmResult, ...]
    ranked: tuple[ArmResult, ...]
    verdict: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """JSON-like form with every number; what is NaN is None."""
        return {
            "sweep": self.sweep.as_dict(),
            "primary": PRIMARY,
            "endpoints": {**ENDPOINTS, **TASK},
            "baseline": self.baseline.as_json(),
            "controls": [c.as_json() for c in self.controls],
            "arms": [a.as_json() for a in self.ranked],
            "verdict": list(self.verdict),
        }


def analyse(sweep: Sweep, rows: Sequence[Row]) -> Analysis:
    """Compare every arm with its control over the seeds that both have.

    The primary endpoint's p are corrected by Holm over all arms that are no controls and have at least two pairs.
    Everything else is exploratory and uncorrected.
    """
    by_job = {row.job: row for row in rows}
    found = [_against(sweep, arm, by_job) for arm in sweep.arms]
    arms = [f for f in found if not f.arm.is_control]
    corrected = holm([f.primary.p for f in arms])
    arms = [_with_holm(f, p) for f, p in zip(arms, corrected, strict=True)]
    ranked = sorted(arms, key=lambda f: (math.isnan(f.primary.mean), f.primary.mean))
    controls = [f for f in found if f.arm.is_control]
    baseline = next(f for f in controls if f.arm.name == SMOOTH)
    others = tuple(f for f in controls if f is not baseline)
    return Analysis(sweep, baseline, others, tuple(ranked), tuple(sentences(baseline, others, ranked)))


def _with_holm(found: ArmResult, p: float) -> ArmResult:
    return replace(found, holm=p)


def _against(sweep: Sweep, arm: Arm, by_job: dict[Job, Row]) -> ArmResult:
    rows = [by_job.get(Job(arm.name, seed)) for seed in sweep.seeds]
    against = [by_job.get(Job(arm.control or arm.name, seed)) for seed in sweep.seeds]
    plain = [by_job.get(Job(SMOOTH, seed)) for seed in sweep.seeds]
    there = [r for r in rows if r is not None]
    differences = {n: difference(_values(rows, n), _values(against, n)) for n in (*ENDPOINTS, *TASK)}
    most = max((r.shocks for r in there), default=0)
    unshocked = sum(r.shocks < max(most, 1) for r in there) if arm.shocks else 0
    broken = sum(not math.isfinite(r.values[PRIMARY]) for r in there)
    infinite = any(math.isinf(v) for r in there for name, v in r.values.items() if name != PRIMARY)
    unequal = arm.shocks and any(
        a is not None and b is not None and a.evaluations != b.evaluations for a, b in zip(rows, against, strict=True)
    )
    flags = {
        "O": arm.off_marginal,
        "L": arm.long_step,
        "V": _fell(differences["final_std"]),
        "M": _fell(differences["motion"]),
        "T": any(_fell(differences[name]) for name in _TASK_FALLS),
        "F": unshocked > 0,
        "E": bool(unequal),
        "N": broken > 0,
        "I": infinite,
    }
    return ArmResult(
        arm=arm,
        control=arm.control,
        evaluations=float(np.mean([r.evaluations for r in there])) if there else math.nan,
        runs=len(there),
        missing=len(rows) - len(there),
        broken=broken,
        unshocked=unshocked,
        values={n: _mean([r.values[n] for r in there]) for n in (*ENDPOINTS, *TASK)},
        differences=differences,
        to_smooth=difference(_values(rows, PRIMARY), _values(plain, PRIMARY)) if arm.name != SMOOTH else None,
        holm=math.nan,
        flags="".join(letter for letter, holds in flags.items() if holds),
    )


def _values(rows: Sequence[Row | None], name: str) -> list[float]:
    return [math.nan if row is None else row.values[name] for row in rows]


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if math.isfinite(v)]
    return float(np.mean(known)) if known else math.nan


def _fell(found: Difference) -> bool:
    return found.mean < 0 and found.p < LEVEL


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
