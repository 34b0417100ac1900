"""Schedules: levels that were changed, left out, or are none; and what the model is told of them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from recorder.findings.facts import HIGHEST, LOWEST, Block, RunFacts, StageFacts, Values, as_number
from recorder.findings.rule import Check, Rule


def _one(value: float) -> Values:
    return np.array([value])


def _log_snr(sigma: Values) -> Values:
    """ln of signal to noise in power: 2·ln((1−σ)/σ); NaN at the ends of the schedule."""
    inner = (sigma > 0) & (sigma < 1)
    return np.where(inner, 2 * np.log((1 - np.where(inner, sigma, 0.5)) / np.where(inner, sigma, 0.5)), np.nan)


def _evenly_spaced(levels: Values) -> bool:
    """Whether levels fall linearly from 1, as pipelines make them for their scheduler to shift."""
    steps = np.diff(levels)
    return len(levels) < 3 or (abs(levels[0] - 1) < 1e-3 and float(np.ptp(steps)) < 1e-3)


def _changed(run: RunFacts, stage: StageFacts) -> Iterator[Check]:
    given, planned = stage.given_sigmas, stage.plan
    if given is None or run.shocked(stage):
        return
    wanted = np.array([s for s in given if s > 0])
    shared = min(len(wanted), len(planned))
    if not shared or _evenly_spaced(wanted) or not np.isfinite(planned).all():
        return
    miss = np.abs(wanted[:shared] - planned[:shared])
    worst = int(np.argmax(miss))
    first = int(np.argmax(miss > 1e-3))
    evidence = {"given": float(wanted[worst]), "used": float(planned[worst])}
    yield Check(_one(float(miss[worst])), high=1e-3, step=first, evidence=evidence)


def _count(run: RunFacts, stage: StageFacts) -> Iterator[Check]:
    given, planned = stage.given_sigmas, stage.plan[~(stage.plan <= 0)]
    if run.shocked(stage) or not len(planned) or not stage.streams:
        return
    strength = [stage.number(name) for name in ("strength", "denoise_strength", "denoising_strength")]
    asked = len([s for s in given if s > 0]) if given else stage.number("num_inference_steps")
    if asked is None or any(s is not None and s < 1 for s in strength) or stage.arguments.get("timesteps"):
        return
    # Solvers of second order take two rows a step.
    if len(planned) in (asked, 2 * asked - 1, 2 * asked):
        return
    yield Check(_one(len(planned) - asked), 0, 0, evidence={"asked": asked, "planned": len(planned)})


def _invalid(run: RunFacts, stage: StageFacts) -> Iterator[Check]:
    levels = stage.plan
    bad = np.flatnonzero(~np.isfinite(levels) | (levels > HIGHEST) | (levels < LOWEST))
    if len(bad):
        value = float(levels[bad[0]])
        yield Check(
            _one(value if np.isfinite(value) else np.inf),
            LOWEST,
            HIGHEST,
            step=int(bad[0]),
            words={"level": f"{value:.4g}"},
        )


def _ended(run: RunFacts, stage: StageFacts) -> Iterator[Check]:
    """Levels of 0 among those that the model is called at."""
    levels = stage.plan
    ended = np.flatnonzero((levels <= 0) & (levels >= LOWEST))
    if len(ended):
        yield Check(_one(float(len(ended))), high=0, step=int(ended[0]))


def _rising(run: RunFacts, stage: StageFacts) -> Iterator[Check]:
    levels = stage.plan
    if run.shocked(stage) or not np.isfinite(levels).all() or len(levels) < 2:
        return
    rise = np.diff(levels)
    worst = int(np.argmax(rise))
    chosen = stage.given_sigmas is not None
    yield Check(
        _one(float(rise[worst])),
        high=1e-6,
        step=worst + 1,
        severity="note" if chosen else None,
        evidence={"before": levels[worst], "after": levels[worst + 1]},
    )


def _long_step(block: Block) -> Iterator[Check]:
    if len(block.stage.sigmas) < 6:
        return
    jump = np.abs(_log_snr(block["sigma_next"]) - _log_snr(block["sigma"]))
    evidence = {"start": block["sigma"][:, None], "goal": block["sigma_next"][:, None]}
    yield Check(jump, high=6.0, evidence=evidence, planned=True)


def _trained(block: Block) -> float:
    """The timestep of σ = 1."""
    trained = as_number(block.stage.scheduler_config.get("num_train_timesteps", 1000))
    return trained if trained is not None and trained > 0 else 1000.0


def _timestep(block: Block) -> Iterator[Check]:
    told = block["timestep"] / _trained(block)
    miss = np.abs(told - block["sigma"])
    evidence = {"told": told[:, None], "level": block["sigma"][:, None]}
    yield Check(miss, high=0.01, evidence=evidence)
    rounded = np.where(miss <= 0.01, miss, np.nan)
    yield Check(rounded, high=1e-3, key="rounded", severity="note", evidence=evidence)


def _scale(block: Block) -> Iterator[Check]:
    told = block["timestep"] / _trained(block)
    ratio = np.where(block["sigma"] > 0.05, told / block["sigma"], np.nan)[:, None]
    evidence = {"told": block["timestep"][:, None], "right": _trained(block) * block["sigma"][:, None]}
    yield Check(np.log10(np.maximum(ratio, 1e-9)), -0.7, 0.7, every=True, evidence=evidence)


def _noise_left(run: RunFacts, stage: StageFacts) -> Iterator[Check]:
    # Where rows are missing, the last one may be of any step.
    whole = stage.index not in run.stages_with_missing_rows
    if run.is_last(stage) and run.status == "complete" and whole and stage.last_level is not None:
        yield Check(_one(stage.last_level), high=0.01)


def _constant_shift(run: RunFacts, stage: StageFacts) -> Iterator[Check]:
    config = stage.scheduler_config
    low, high = config.get("base_shift"), config.get("max_shift")
    if stage.given_sigmas is None and config.get("use_dynamic_shifting") and type(low) is float and low == high:
        yield Check(_one(low), high=-np.inf)


RULES = (
    Rule(
        id="levels-changed",
        family="schedule",
        severity="warning",
        sentence=(
            "the scheduler changed the given noise levels by up to {value:.2g}: {given:.4g} was given, {used:.4g}"
            " is used"
        ),
        short="noise levels changed",
        formula="max |σ given − σ planned|, where the given list is not evenly spaced",
        reason="a list that was shaped by hand is meant as it is; an evenly spaced one is meant to be shifted",
        basis="bookkeeping",
        advice="give the scheduler use_dynamic_shifting=False and shift_terminal=None, or leave the levels to it",
        stage=_changed,
    ),
    Rule(
        id="step-count",
        family="schedule",
        severity="warning",
        sentence="{planned:.0f} steps are planned where {asked:.0f} were asked for",
        short="{planned:.0f} of {asked:.0f} steps",
        formula="levels above 0 that were planned − those given, or the steps asked for",
        reason=(
            "the scheduler plans what it is given; shocks, strengths and solvers of second order are taken into account"
        ),
        basis="bookkeeping",
        advice="look at how the scheduler treats the list: some want a closing 0, others add it themselves",
        follows=("levels-changed", "level-invalid"),
        stage=_count,
    ),
    Rule(
        id="level-invalid",
        family="schedule",
        severity="error",
        sentence="the noise level of step {step} is {level}: levels lie between 0 and 1",
        short="noise level {level}",
        formula="planned σ that is not finite, or outside 0 to 1",
        reason="x = (1−σ)·x0 + σ·ε has no meaning there",
        basis="physics",
        advice=("check the list of levels (are they timesteps in thousands?), the shift, and take two steps or more"),
        stage=_invalid,
    ),
    Rule(
        id="level-zero",
        family="schedule",
        severity="note",
        sentence="the model is called at σ 0 in step {step}, with no noise left to remove",
        short="a step at σ 0",
        formula="planned levels that are 0, without the closing one",
        reason=(
            "most schedulers close their schedule with 0 by themselves; where one divides by σ, NaN is found besides"
        ),
        basis="physics",
        advice="leave the 0 out of the list of levels, unless the scheduler wants it",
        stage=_ended,
    ),
    Rule(
        id="levels-rise",
        family="schedule",
        severity="warning",
        sentence="the noise level rises from {before:.4g} to {after:.4g} at step {step} without a shock",
        short="noise level rises at step {step}",
        formula="max(σ_{i+1} − σ_i) of the plan",
        reason="samplers step down; Euler steps up with the noise that it predicts, others with none",
        basis="physics",
        advice="sort the levels, or plan a shock, which adds the noise that belongs to a rise",
        stage=_rising,
    ),
    Rule(
        id="step-too-long",
        family="schedule",
        severity="warning",
        sentence="one step goes from σ {start:.3g} to {goal:.3g}, a factor of {value:.1f} in ln SNR",
        short="one step far too long",
        formula="|Δ ln SNR| of an inner step, in schedules of six and more",
        reason="published schedules stay below 5.3; LTX's own with 6 steps reaches 4.6",
        basis="measured",
        advice="spread the levels, or look at what shifted them",
        needs=("sigma", "sigma_next"),
        streams=("video",),
        rows=_long_step,
    ),
    Rule(
        id="timestep-scale",
        family="schedule",
        severity="error",
        sentence="timesteps are in another scale: the model is told {told:.4g} where {right:.4g} is right",
        short="timesteps in another scale",
        formula="|log10(timestep / (1000·σ))| at every σ above .05",
        reason="the model is trained to be told 1,000·σ; a factor of five is neither rounding nor a shift",
        basis="physics",
        advice="leave timesteps to the scheduler's set_timesteps, or multiply levels by num_train_timesteps",
        needs=("sigma", "timestep"),
        streams=("video",),
        curve="timestep",
        rows=_scale,
    ),
    Rule(
        id="timestep-mismatch",
        family="schedule",
        severity="warning",
        sentence="the model is told σ {told:.4g} where the sample has {level:.4g}, from step {step} on",
        short="timesteps do not belong to their levels",
        formula="max |timestep/1000 − σ|",
        reason="the model is trained to be told the level of its input; rounding to bfloat16 makes .004",
        basis="physics",
        advice="make timesteps and levels in one place: the scheduler's set_timesteps",
        needs=("sigma", "timestep"),
        streams=("video",),
        curve="timestep",
        follows=("timestep-scale",),
        rows=_timestep,
    ),
    Rule(
        id="noise-left",
        family="schedule",
        severity="warning",
        sentence="the last step ends at σ {value:.3g}, so noise is left in the result",
        short="noise left (σ {value:.2g})",
        formula="σ after the last step of the last stage",
        reason="the result is a clip at σ = 0 only",
        basis="physics",
        advice="close the list of levels with 0, or let another stage go on from here",
        stage=_noise_left,
    ),
    Rule(
        id="constant-shift",
        family="schedule",
        severity="note",
        sentence="the shift of the schedule is {value:.3g} for every size: base_shift equals max_shift",
        short="constant shift",
        formula="base_shift = max_shift with dynamic shifting",
        reason="LTX shifts further the more tokens a clip has",
        basis="bookkeeping",
        advice="take the scheduler's configuration from the model",
        stage=_constant_shift,
    ),
)
