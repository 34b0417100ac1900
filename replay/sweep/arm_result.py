"""One arm of a sweep against its control: means, paired differences, and what to know before trusting them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from recorder.sweep.grid import SMOOTH, Arm
from recorder.sweep.spec import Job, Sweep
from replay.sweep.results import ENDPOINTS, PRIMARY, TASK, ResultRow
from replay.sweep.statistics import LEVEL, Difference, difference

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
"""What the letters next to an arm mean."""
_TASK_FALLS: Final = ("colour", "shape", "direction", "shape_frames")


@dataclass(frozen=True)
class ArmResult:
    """One arm against its control.

    Attributes:
        arm: the way of sampling.
        control: the name of the arm it is compared with; smooth at equal evaluations.
        evaluations: model evaluations per run; NaN without a run.
        runs, missing, broken: finished runs, runs that do not exist, and finished ones whose drift index is
            NaN or infinite.
        unshocked: finished runs in which fewer shocks acted than in this arm's others, or none.
        values: mean of each endpoint over its runs.
        differences: each endpoint's paired difference to the control.
        to_smooth: the primary endpoint's paired difference to plain smooth sampling.
        holm: the primary's p after Holm's correction over all arms that are not controls.
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

    @classmethod
    def of(cls, sweep: Sweep, arm: Arm, by_job: Mapping[Job, ResultRow]) -> ArmResult:
        """An arm's finished runs, paired with those of its control by seed; not corrected yet.

        Args:
            sweep: the arm's sweep.
            arm: one of its arms.
            by_job: every finished run.
        """
        rows = _of_arm(sweep, arm.name, by_job)
        against = _of_arm(sweep, arm.control or arm.name, by_job)
        finished = [row for row in rows if row is not None]
        differences = {n: difference(_values(rows, n), _values(against, n)) for n in (*ENDPOINTS, *TASK)}
        most = max((r.shocks for r in finished), default=0)
        found = cls(
            arm=arm,
            control=arm.control,
            evaluations=float(np.mean([r.evaluations for r in finished])) if finished else math.nan,
            runs=len(finished),
            missing=len(rows) - len(finished),
            broken=sum(not math.isfinite(r.values[PRIMARY]) for r in finished),
            unshocked=sum(r.shocks < max(most, 1) for r in finished) if arm.shocks else 0,
            values={n: _mean([r.values[n] for r in finished]) for n in (*ENDPOINTS, *TASK)},
            differences=differences,
            to_smooth=None if arm.name == SMOOTH else _to_smooth(sweep, rows, by_job),
            holm=math.nan,
            flags="",
        )
        holding = found._flags(unequal=_unequal(rows, against), infinite=_infinite(finished))
        return replace(found, flags="".join(letter for letter, holds in holding.items() if holds))

    def _flags(self, *, unequal: bool, infinite: bool) -> dict[str, bool]:
        """Whether each of `FLAGS` holds."""
        return {
            "O": self.arm.off_marginal,
            "L": self.arm.long_step,
            "V": _fell(self.differences["final_std"]),
            "M": _fell(self.differences["motion"]),
            "T": any(_fell(self.differences[name]) for name in _TASK_FALLS),
            "F": self.unshocked > 0,
            "E": bool(self.arm.shocks) and unequal,
            "N": self.broken > 0,
            "I": infinite,
        }

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
            "evaluations": _finite_or_none(self.evaluations),
            "runs": self.runs,
            "missing": self.missing,
            "not_finite_runs": self.broken,
            "runs_without_their_shock": self.unshocked,
            "means": {k: _finite_or_none(v) for k, v in self.values.items()},
            "differences": {k: d.as_json() for k, d in self.differences.items()},
            "to_smooth": None if self.to_smooth is None else self.to_smooth.as_json(),
            "p_holm": _finite_or_none(self.holm),
            "flags": self.flags,
        }


def _of_arm(sweep: Sweep, arm: str, by_job: Mapping[Job, ResultRow]) -> list[ResultRow | None]:
    """The arm's run of each seed [seeds]; None without one."""
    return [by_job.get(Job(arm, seed)) for seed in sweep.seeds]


def _to_smooth(sweep: Sweep, rows: Sequence[ResultRow | None], by_job: Mapping[Job, ResultRow]) -> Difference:
    plain = _of_arm(sweep, SMOOTH, by_job)
    return difference(_values(rows, PRIMARY), _values(plain, PRIMARY))


def _unequal(rows: Sequence[ResultRow | None], against: Sequence[ResultRow | None]) -> bool:
    """Whether a pair spent different numbers of model evaluations."""
    pairs = zip(rows, against, strict=True)
    return any(a is not None and b is not None and a.evaluations != b.evaluations for a, b in pairs)


def _infinite(rows: Sequence[ResultRow]) -> bool:
    return any(math.isinf(v) for r in rows for name, v in r.values.items() if name != PRIMARY)


def _values(rows: Sequence[ResultRow | None], name: str) -> list[float]:
    return [math.nan if row is None else row.values[name] for row in rows]


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if math.isfinite(v)]
    return float(np.mean(known)) if known else math.nan


def _fell(found: Difference) -> bool:
    return found.mean < 0 and found.p < LEVEL


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
