"""A sweep's results in words: the verdict's sentences, and numbers as in tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from replay.sweep.power import smallest_seen
from replay.sweep.statistics import LEVEL, Difference, smallest_p

if TYPE_CHECKING:
    from replay.sweep.arm_result import ArmResult

POWER: Final = 0.8


def sentences(baseline: ArmResult, controls: Sequence[ArmResult], ranked: Sequence[ArmResult]) -> Iterator[str]:
    """The verdict: what changed after correction, what may be behind it, and what could have been seen."""
    judged = [f for f in ranked if f.primary.known]
    if not judged:
        yield "No result: no arm has two finished pairs with a finite drift index."
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
    yield from _family(judged, ranked)
    yield from _too_few(judged)
    yield from _gaps([baseline, *controls, *ranked])


def _doubts(lower: Sequence[ArmResult]) -> Iterator[str]:
    """Why a lower drift index need not be a better clip."""
    off = [f for f in lower if "O" in f.flags]
    if off:
        yield (
            f"Off the marginal, so that a lower drift index may be lost variance and no steadier clip: {_names(off)}."
        )
    if long := [f for f in lower if "L" in f.flags]:
        yield f"Off the marginal by a long Euler step, so that the sampler's error may be part of it: {_names(long)}."
    for letter, text in (
        ("V", "Less variance in the final sample than the control"),
        ("M", "Less motion than the control"),
        ("T", "Less often what the prompt describes than the control"),
    ):
        if found := [f for f in lower if letter in f.flags]:
            perhaps = "so perhaps emptier or stiller rather than steadier"
            yield f"{text} (exploratory, uncorrected), {perhaps}: {_names(found)}."


def _extra_steps(
    controls: Sequence[ArmResult], judged: Sequence[ArmResult], lower: Sequence[ArmResult]
) -> Iterator[str]:
    """The effect of extra smooth steps alone, and whether they explain an arm."""
    helped = []
    for f in controls:
        if not f.primary.known:
            continue
        d = f.primary
        does = "no difference" if not d.p < LEVEL else "lower" if d.mean < 0 else "higher"
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
    """The smallest effect that this number of pairs could have shown."""
    varied = [f.primary for f in judged if f.primary.se > 0]
    if not varied:
        return (
            "The detectable effect is unknown: within every arm all pairs differ by the same amount, so there "
            "is no spread to judge by."
        )
    errors, pairs = [d.se for d in varied], [d.pairs for d in varied]
    alone = smallest_seen(errors, pairs, LEVEL, POWER)
    if not math.isfinite(alone):
        return f"What could have been seen: nothing; with {max(pairs)} pairs no p can be below {LEVEL:g}."
    corrected = ""
    if len(judged) > 1:
        hardest = smallest_seen(errors, pairs, LEVEL / len(judged), POWER)
        amount = f"one of {hardest:.2g}" if math.isfinite(hardest) else "none"
        corrected = f", and {amount} against the correction's hardest threshold"
    same = len(judged) - len(varied)
    without = f" ({_count(same, 'arm')} without any spread left out)" if same else ""
    return (
        f"What could have been seen: a difference of {alone:.2g} on its own ({alone / float(np.median(errors)):.1f} "
        f"standard errors of the median arm, {POWER:.0%} power, by the noncentral t){corrected}; anything smaller may "
        f"be there and was missed{without}."
    )


def _family(judged: Sequence[ArmResult], ranked: Sequence[ArmResult]) -> Iterator[str]:
    """Arms that the correction does not count, because they have no p."""
    if absent := [f for f in ranked if not f.primary.known]:
        yield (
            f"Holm's family is {len(judged)} of {_count(len(ranked), 'arm')}: fewer than two pairs of {_names(absent)} "
            f"have a finite drift index. Over all of them, corrected p would be up to {len(ranked) / len(judged):.2g} "
            "times as large."
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
    if infinite := [f for f in found if "I" in f.flags]:
        yield f"Infinite values in other endpoints, left out of their means and differences: {_names(infinite)}."
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
    """Four decimals, or fewer for what is large; – if it is not a number."""
    if not math.isfinite(value):
        return "–"
    return f"{value:.4f}" if abs(value) < 10 else f"{value:.4g}"


def probability(p: float) -> str:
    """A p, with two digits that matter; – if there is none."""
    if not math.isfinite(p):
        return "–"
    return f"{p:.2f}" if p >= 0.095 else f"{p:.3f}" if p >= 0.0095 else f"{p:.1g}" if p < 0.0001 else f"{p:.4f}"
