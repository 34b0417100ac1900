"""Guidance: passes that do nothing, and scales that are too much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np

from recorder.findings.facts import Block, RunFacts, StageFacts, as_number
from recorder.findings.rule import Check, Rule
from recorder.findings.rules.start import POWERS

_PASSES: Final = {
    "cfg": (
        "the prompt and the negative prompt",
        "check that the prompt reaches the model and is not the negative prompt",
    ),
    "stg": ("the model with and without the skipped blocks", "name a block that the model has: 28 for LTX 2.3"),
    "modality": ("the model with and without the other stream", "check that both streams reach the model"),
}


def _blocks(stage: StageFacts) -> tuple[tuple[int, ...], int] | None:
    """The blocks that guidance skips and the number that the model has; None where either is not known."""
    table, named = stage.metadata.get("transformer"), stage.arguments.get("spatio_temporal_guidance_blocks")
    count = as_number(table.get("blocks")) if isinstance(table, Mapping) else None
    if count is None or count < 1 or not isinstance(named, list | tuple) or not named:
        return None
    scales = [stage.number(name) for name in ("stg_scale", "audio_stg_scale")]
    if not any(scale is not None and scale > 0 for scale in scales) or not all(type(n) is int for n in named):
        return None
    return tuple(named), int(count)


def _missing_block(run: RunFacts, stage: StageFacts) -> Iterator[Check]:
    if (known := _blocks(stage)) is not None:
        named, count = known
        yield Check(np.array([float(max(named))]), high=count - 1, evidence={"blocks": count, "last": count - 1})


def _every_block(run: RunFacts, stage: StageFacts) -> Iterator[Check]:
    if (known := _blocks(stage)) is not None:
        named, count = known
        share = len({n for n in named if 0 <= n < count}) / count
        yield Check(np.array([share]), high=0.5, evidence={"skipped": share * count, "blocks": count})


def _idle(block: Block) -> Iterator[Check]:
    raw = block["velocity_conditional_rms"]
    known = _blocks(block.stage)
    for name, (what, cure) in _PASSES.items():
        if name == "stg" and known is not None and max(known[0]) >= known[1]:
            continue  # the cause has a finding of its own
        gap = block[f"guidance_gap_{name}"]
        if np.isfinite(gap).any():
            yield Check(gap / raw, low=1e-4, key=name, every=True, words={"what": what, "cure": cure})


def _strong(block: Block) -> Iterator[Check]:
    raw = block["velocity_conditional_rms"]
    yield Check(block["velocity_rms"] / raw, high=2.0, evidence={"scale": block["guidance_scale"][:, None]})


def _burned(block: Block) -> Iterator[Check]:
    ratio = block["velocity_rms"] / block["velocity_conditional_rms"]
    noise, white = block.power("noise"), np.abs(np.log(np.maximum(block["noise_whiteness_low"], 1e-9)))
    harmed = (block["sigma"] >= 0.8)[:, None] & ((noise > 1.12) | (noise < 0.85) | (white > 0.45))
    evidence = {"noise": noise, "scale": block["guidance_scale"][:, None]}
    yield Check(np.where(harmed, ratio, np.nan), high=2.0, evidence=evidence)


_OPPOSED: Final = {"nano": 1.1}
"""By model: the gap between prompt and negative prompt may grow by this from the first step to the middle."""


def _opposed(block: Block) -> Iterator[Check]:
    opening = block.stream.opening
    if "guidance_gap_cfg" not in opening or opening["sigma"][0] < 0.95:
        return
    middle = ((block["sigma"] <= 0.75) & (block["sigma"] >= 0.55))[:, None]
    gap = block["guidance_gap_cfg"] / block["velocity_conditional_rms"]
    growth = gap / (opening["guidance_gap_cfg"] / opening["velocity_conditional_rms"])
    known = _OPPOSED.get(str(block.stage.metadata.get("model", "")))
    evidence = {"scale": block["guidance_scale"][:, None]}
    yield Check(np.where(middle, growth, np.nan), high=known or 1.5, every=True, evidence=evidence)


RULES = (
    Rule(
        id="stg-block-missing",
        family="guidance",
        severity="warning",
        sentence="STG is to skip block {value:.0f}, and the model has blocks 0 to {last:.0f}: its pass does nothing",
        short="STG block {value:.0f} is not there",
        formula="spatio_temporal_guidance_blocks against the model's number of blocks",
        reason="a block that is not there cannot be skipped, and the pass is paid for",
        basis="bookkeeping",
        advice="name a block that the model has; 28 is meant for LTX 2.3, which has 48",
        curve="guidance_gap_stg",
        stage=_missing_block,
    ),
    Rule(
        id="stg-every-block",
        family="guidance",
        severity="warning",
        sentence="STG skips {skipped:.0f} of the model's {blocks:.0f} blocks: it guides away from another model",
        short="STG skips most blocks",
        formula="share of the model's blocks in spatio_temporal_guidance_blocks",
        reason="STG compares with a model that is slightly worse; published set-ups skip one to three of 48",
        basis="bookkeeping",
        advice="skip one block in the middle of the model",
        curve="guidance_gap_stg",
        stage=_every_block,
    ),
    Rule(
        id="guidance-opposed",
        family="guidance",
        severity="note",
        sentence=(
            "guidance leads away from the prompt: its difference from the negative prompt grows {value:.1f} times "
            "until the middle of the run"
        ),
        short="guidance leads away from the prompt",
        formula="guidance_gap_cfg / velocity_conditional_rms at every σ of .55 to .75 against that of the first step",
        reason=(
            "a clip that follows its prompt leaves less to correct: every healthy run of nano comes below 1.01 in one "
            "of these steps at least, with the halves exchanged half stay above 1.1; for other models from 1.5 on"
        ),
        basis="measured",
        advice="check the order of prompt and negative prompt in the batch, and the sign of the guidance",
        needs=("sigma", "velocity_conditional_rms", "guidance_gap_cfg", "guidance_scale"),
        streams=("video",),
        curve="guidance_gap_cfg",
        follows=(
            "pass-without-effect",
            "prediction-mismatch",
            "start-noise-power",
            "not-finite",
            "changed-between-steps",
        ),
        rows=_opposed,
    ),
    Rule(
        id="guidance-too-strong",
        family="guidance",
        severity="warning",
        sentence="guidance makes the velocity {value:.1f} times as large, and the noise no longer fits its level",
        short="guidance too strong",
        formula="velocity_rms / velocity_conditional_rms where the noise is off as well, σ of .8 and more",
        reason="a factor of 2 alone is common; together with noise outside of .85 to 1.12 no healthy run has it",
        basis="measured",
        advice="lower guidance_scale, or set guidance_rescale to .7",
        needs=("sigma", "velocity_rms", "velocity_conditional_rms", "guidance_scale", "noise_whiteness_low", *POWERS),
        streams=("video",),
        curve="velocity_rms",
        rows=_burned,
    ),
    Rule(
        id="pass-without-effect",
        family="guidance",
        severity="warning",
        sentence="the pass for {key} guidance does nothing: {what} give the same velocity",
        short="{key} guidance does nothing",
        formula="guidance_gap / velocity_conditional_rms in every step",
        reason="a pass that is paid for changes the velocity; healthy gaps are .02 of it and more, the bound is .0001",
        basis="bookkeeping",
        advice="{cure}",
        needs=("velocity_conditional_rms", "guidance_gap_cfg", "guidance_gap_stg", "guidance_gap_modality"),
        curve="velocity_conditional_rms",
        rows=_idle,
    ),
    Rule(
        id="guidance-strong",
        family="guidance",
        severity="note",
        sentence="guidance makes the velocity up to {value:.1f} times as large",
        short="strong guidance",
        formula="velocity_rms / velocity_conditional_rms",
        reason="1.7 at CFG 7 with rescale; published defaults reach 4.6 without",
        basis="measured",
        advice="if the clip looks burned, lower the scale or set guidance_rescale to .7",
        needs=("velocity_rms", "velocity_conditional_rms", "guidance_scale"),
        curve="velocity_rms",
        rows=_strong,
    ),
)
