"""Between the steps: latents that something else than the sampler changed, and numbers that broke."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from recorder.findings.facts import Block, Values
from recorder.findings.rule import Check, Rule
from recorder.findings.rules.start import POWERS, sample_power

_PRECISION: Final = {"float16": 4e-3, "bfloat16": 3e-2, "float64": 1e-4, "float32": 1e-4}
"""Largest relative error of a sample's mean square after one rounding to this type; rounding errors average out."""
_ROUNDED: Final = 3e-3
"""Largest RMS change of values near 1 that rounding alone explains: a float32 loop may round to bfloat16 inside."""

_NAN_CURE: Final = (
    "run the model in bfloat16 or float32 instead of float16; look at the levels and at callbacks of that step"
)


def _changed(block: Block) -> Iterator[Check]:
    high = _PRECISION.get(block.stream.dtype, 3e-2)
    miss = _power_miss(block)
    if block.has("sample_change"):
        change = block["sample_change"]
        miss = np.fmax(miss, np.where(np.isfinite(change) & (change > max(high, _ROUNDED)), change, np.nan))
    yield Check(miss, high=high)


def _power_miss(block: Block) -> Values:
    """How far the mean square of the sample before each step is off that after the step before, relatively."""
    before = sample_power(block)
    after = (block.with_before("std") ** 2 + block.with_before("mean") ** 2)[:-1]
    if not block.has_before:  # the first row has none before it
        after = np.concatenate([np.full((1, before.shape[1]), np.nan), after])
    # What is not finite has a finding of its own; nor is there a rule for a sample of nothing.
    with np.errstate(divide="ignore", invalid="ignore"):
        known = np.isfinite(before) & np.isfinite(after) & (after > 0)
        return np.where(known, np.abs(before / after - 1), np.nan)


def _broken(block: Block) -> Iterator[Check]:
    count = block["nan_count"] + block["inf_count"]
    share = 100 * count / max(1, block.stream.values)
    ended = block.stage.plans_zero
    words = {
        "why": ": a planned level is 0, and the sampler divides by it" if ended else "",
        "cure": "leave the 0 out of the list of levels: the schedule closes itself" if ended else _NAN_CURE,
    }
    yield Check(count, high=0, evidence={"percent": np.minimum(share, 100.0)}, words=words)


def _idle(block: Block) -> Iterator[Check]:
    yield Check(block["velocity_rms"], low=1e-4, every=True)


_LARGEST: Final = {"float16": 65504.0, "bfloat16": 3.39e38, "float32": 3.4e38}


def _overflow(block: Block) -> Iterator[Check]:
    largest = min(_LARGEST.get(block.stream.dtype, np.inf), 1e6)
    peak = block["max_abs"]
    yield Check(np.where(np.isfinite(peak), peak, np.nan), high=largest / 4, evidence={"largest": largest})


RULES = (
    Rule(
        id="not-finite",
        family="numbers",
        severity="error",
        sentence="{stream}: {percent:.3g} % of the values are NaN or Inf, from step {step} on{why}",
        short="NaN since step {step}",
        formula="nan_count + inf_count",
        reason="a clip with NaN cannot be decoded",
        basis="physics",
        advice="{cure}",
        needs=("nan_count", "inf_count"),
        curve="nan_count",
        follows=("level-invalid",),
        rows=_broken,
    ),
    Rule(
        id="prediction-empty",
        family="numbers",
        severity="error",
        sentence="{stream}: the model predicts nothing, so the stream stays the noise that it started from",
        short="{stream} is not denoised",
        formula="velocity_rms in every step",
        reason="v = ε − x0 has the power of noise at the least",
        basis="physics",
        advice="look at what zeroes or replaces the model's output of this stream",
        needs=("velocity_rms",),
        curve="velocity_rms",
        follows=("not-finite", "level-invalid"),
        rows=_idle,
    ),
    Rule(
        id="near-overflow",
        family="numbers",
        severity="warning",
        sentence="{stream}: values reach {value:.3g} from step {step} on, and its latents overflow at {largest:.3g}",
        short="values near overflow",
        formula="max |x| against a quarter of the largest number of the latents' type, and of 1e6",
        reason="latents are of the order of 1; what is thousands of times larger overflows next",
        basis="physics",
        advice="run in bfloat16 or float32 instead of float16, and look at the step before",
        needs=("max_abs",),
        curve="max_abs",
        follows=("not-finite", "level-invalid", "changed-between-steps"),
        rows=_overflow,
    ),
    Rule(
        id="changed-between-steps",
        family="between steps",
        severity="warning",
        sentence="something changed the latents before step {step}: they are off by up to {value:.2g}",
        short="latents changed between steps",
        formula="|mean(x_i²) / mean(x_{i−1} after its step)² − 1|, and sample_change from .003 on",
        reason="the sample of a step is the result of the step before",
        basis="bookkeeping",
        advice="look at callbacks, hooks and patches that touch the latents",
        needs=("sigma", "std", "mean", *POWERS),
        curve="std",
        follows=("not-finite",),
        rows=_changed,
    ),
)
