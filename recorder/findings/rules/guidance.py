"""Guidance: passes that do nothing, and scales that are too much."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from recorder.findings.facts import Block
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


def _idle(block: Block) -> Iterator[Check]:
    raw = block["velocity_conditional_rms"]
    for name, (what, cure) in _PASSES.items():
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


RULES = (
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
        reason="a pass that is paid for changes the velocity; healthy gaps are .3 and more",
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
