"""What a sweep says: arms against smooth sampling at equal evaluations, ranked, corrected, and put into sentences."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any, Final

import numpy as np

from recorder.sweep.grid import SMOOTH, Arm
from recorder.sweep.spec import Job, Sweep
from replay.paired import LEVEL, Difference, difference, holm, smallest_p
from replay.sweep import ENDPOINTS, PRIMARY, TASK, Row

POWER: Final = 0.8
FLAGS: Final[dict[str, str]] = {
    "O": "off the marginal, where lost variance can look like stability",
    "V": "the final sample's standard deviation fell (p < .05, uncorrected)",
    "M": "motion fell (p < .05, uncorrected): a frozen clip does not drift",
    "T": "colour, shape or direction is right less often (p < .05, uncorrected)",
    "F": "a shock did not act in some runs",
    "E": "evaluations differ from the control's",
    "N": "NaN in the drift index of some runs; they are left out",
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
        runs, missing, broken: finished runs, runs that are not there, and finished ones whose drift index is NaN.
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
            "evaluations": _plain(self.evaluations),
            "runs": self.runs,
            "missing": self.missing,
            "nan_runs": self.broken,
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
    sentences = tuple(_sentences(sweep, baseline, others, ranked))
    return Analysis(sweep, baseline, others, tuple(ranked), sentences)


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
    broken = sum(math.isnan(r.values[PRIMARY]) for r in there)
    unequal = arm.shocks and any(
        a is not None and b is not None and a.evaluations != b.evaluations for a, b in zip(rows, against, strict=True)
    )
    flags = {
        "O": arm.off_marginal,
        "V": _fell(differences["final_std"]),
        "M": _fell(differences["motion"]),
        "T": any(_fell(differences[name]) for name in _TASK_FALLS),
        "F": unshocked > 0,
        "E": bool(unequal),
        "N": broken > 0,
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


# -- in words


def _sentences(
    sweep: Sweep, baseline: ArmResult, controls: Sequence[ArmResult], ranked: Sequence[ArmResult]
) -> Iterator[str]:
    judged = [f for f in ranked if f.primary.known]
    if not judged:
        yield "Nothing can be said: no arm has two finished pairs with a finite drift index."
        yield from _gaps([baseline, *controls, *ranked])
        return
    lower = [f for f in judged if f.significant and f.primary.mean < 0]
    higher = [f for f in judged if f.significant and f.primary.mean > 0]
    over = f"Holm's correction over {_count(len(judged), 'arm')}"
    if not lower and not higher:
        least = min(f.holm for f in judged)
        yield (
            f"No difference: after {over}, none changes the drift index against smooth sampling at equal evaluations "
            f"({_pairs(judged)}; smallest corrected p = {probability(least)})."
        )
    if lower:
        lowers = f"lower{'s' * (len(lower) == 1)}"
        yield f"{_count(len(lower), 'arm')} {lowers} the drift index after {over}: {_named(lower)}."
    if higher:
        raises = f"raise{'s' * (len(higher) == 1)}"
        yield f"{_count(len(higher), 'arm')} {raises} the drift index after {over}: {_named(higher)}."
    if lower and not higher:
        yield "No arm raises it."
    if higher and not lower:
        yield "No arm lowers it."
    yield from _doubts(lower)
    yield from _extra_steps(controls, judged, lower)
    yield _smallest(judged)
    yield from _too_few(judged)
    yield from _gaps([baseline, *controls, *ranked])


def _doubts(lower: Sequence[ArmResult]) -> Iterator[str]:
    """Why a lower drift index need not be a better clip."""
    off = [f for f in lower if "O" in f.flags]
    if off:
        yield (
            f"Off the marginal, so that a lower drift index may be lost variance and no steadier clip: {_names(off)}."
        )
    for letter, said in (
        ("V", "Less variance in the final sample than the control"),
        ("M", "Less motion than the control"),
        ("T", "Less often what the prompt says than the control"),
    ):
        if found := [f for f in lower if letter in f.flags]:
            perhaps = "so perhaps emptier or stiller rather than steadier"
            yield f"{said} (exploratory, uncorrected), {perhaps}: {_names(found)}."


def _extra_steps(
    controls: Sequence[ArmResult], judged: Sequence[ArmResult], lower: Sequence[ArmResult]
) -> Iterator[str]:
    """What extra smooth steps do by themselves, and whether they explain an arm."""
    helped = []
    for f in controls:
        if not f.primary.known:
            continue
        d = f.primary
        does = "no difference" if not d.p < LEVEL else "lower by itself" if d.mean < 0 else "higher by itself"
        against = f"{f.arm.name} against smooth {effect(d)}, p = {probability(d.p)}, uncorrected"
        yield f"Extra smooth steps: {against}: {does}."
        if d.p < LEVEL and d.mean < 0:
            helped.append(f)
    for f in judged:
        plain = f.to_smooth
        if f in lower or not f.arm.more_evaluations or plain is None or not (plain.p < LEVEL and plain.mean < 0):
            continue
        yield (
            f"{f.arm.name} is lower than plain smooth ({effect(plain)}), but not shown to be lower than {f.control}, "
            "which spends as much: its extra evaluations may be all there is to it."
        )
    for f in lower:
        if f.to_smooth is None:
            continue
        as_good = [c for c in helped if c.primary.mean <= f.to_smooth.mean]
        if as_good:
            yield (
                f"{f.arm.name} gains no more against smooth ({effect(f.to_smooth)}) than {as_good[0].arm.name} does "
                f"({effect(as_good[0].primary)})."
            )


def _smallest(judged: Sequence[ArmResult]) -> str:
    """The smallest effect that so many pairs could have shown, by the normal approximation."""
    spread = float(np.median([f.primary.se for f in judged]))
    z = NormalDist()
    alone = (z.inv_cdf(1 - LEVEL / 2) + z.inv_cdf(POWER)) * spread
    all_ = (z.inv_cdf(1 - LEVEL / 2 / len(judged)) + z.inv_cdf(POWER)) * spread
    corrected = f", and of {all_:.2g} against the correction's hardest threshold" if len(judged) > 1 else ""
    return (
        f"What could have been seen: a difference of {alone:.2g} on its own (2.8 standard errors of the median arm, "
        f"{POWER:.0%} power){corrected}; anything smaller may be there and was missed."
    )


def _too_few(judged: Sequence[ArmResult]) -> Iterator[str]:
    pairs = max(f.primary.pairs for f in judged)
    least = smallest_p(pairs) * len(judged)
    if least >= LEVEL:
        yield (
            f"Too few seeds: with {pairs} pairs and {_count(len(judged), 'arm')} no corrected p can be below "
            f"{probability(min(1.0, least))}, so nothing could have been found; add some with --seeds and --extend."
        )


def _gaps(found: Sequence[ArmResult]) -> Iterator[str]:
    if missing := [f for f in found if f.missing]:
        runs = sum(f.missing for f in missing)
        yield f"Incomplete: {_count(runs, 'run')} missing, of {_names(missing)}; pairs without both sides are left out."
    if broken := [f for f in found if f.broken]:
        runs = sum(f.broken for f in broken)
        yield f"{_count(runs, 'run')} without a finite drift index, left out: {_names(broken)}."
    if silent := [f for f in found if f.unshocked]:
        listed = ", ".join(f"{f.arm.name} ({f.unshocked} of {f.runs})" for f in silent[:12])
        yield f"Not every shock acted in every run, and those runs count all the same: {listed}."
    if unequal := [f for f in found if "E" in f.flags]:
        yield f"Evaluations are not those of the control: {_names(unequal)}; do not trust these comparisons."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _pairs(judged: Sequence[ArmResult]) -> str:
    least, most = (pick(f.primary.pairs for f in judged) for pick in (min, max))
    return f"{most} paired seeds" if least == most else f"{least} to {most} paired seeds"


def _names(found: Sequence[ArmResult]) -> str:
    more = f" and {len(found) - 12} more" if len(found) > 12 else ""
    return ", ".join(f.arm.name for f in found[:12]) + more


def _named(found: Sequence[ArmResult]) -> str:
    return "; ".join(f"{f.arm.name} ({effect(f.primary)}, corrected p = {probability(f.holm)})" for f in found)


def effect(found: Difference) -> str:
    """Such as `−0.0123 ± 0.0030`: mean and standard error."""
    return f"{signed(found.mean)} ± {plain_number(found.se)}" if math.isfinite(found.mean) else "–"


def signed(value: float) -> str:
    """A number with its sign and as many decimals as an effect needs; – if there is none."""
    if not math.isfinite(value):
        return "–"
    return f"{'−' if value < 0 else '+'}{plain_number(abs(value))}"


def plain_number(value: float) -> str:
    """Four decimals, or fewer for what is large; – if it is no number."""
    if not math.isfinite(value):
        return "–"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.4g}"


def probability(p: float) -> str:
    """A p, with two digits that matter; – if there is none."""
    if not math.isfinite(p):
        return "–"
    return f"{p:.2f}" if p >= 0.095 else f"{p:.3f}" if p >= 0.0095 else f"{p:.1g}" if p < 0.0001 else f"{p:.4f}"
