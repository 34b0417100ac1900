"""The model: predictions that do not belong to the sample, and noise that it does not find.

With x = (1−σ)·x0 + σ·ε and v = ε − x0, a model that is told the right level, and whose output is read as the velocity,
predicts white noise of unit power. Guidance moves its result, so rules without a margin for that look at unguided runs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from recorder.findings.facts import Block, Values
from recorder.findings.rule import Check, Rule
from recorder.findings.rules.start import POWERS, sample_power

GAPS = ("guidance_gap_cfg", "guidance_gap_stg", "guidance_gap_modality")


def guided(block: Block) -> bool:
    """Whether a guidance pass was run in the block."""
    return any(block.has(gap) and bool(np.isfinite(block[gap]).any()) for gap in GAPS)


def _where(rows: NDArray[np.bool_], values: Values) -> Values:
    """Values of the rows [rows] that count, NaN in the others."""
    return np.where(rows[:, None], values, np.nan)


def _slope(block: Block) -> Iterator[Check]:
    if block.first:
        return
    sigma = block["sigma"][:1]
    noise, x0, v = (block.power(q)[:1] for q in ("noise", "x0", "velocity"))
    slope = _where(sigma >= 0.95, ((noise - x0 - v) / 2 + v) / noise)
    low, high = (0.4, 1.7) if guided(block) else (0.8, 1.2)
    yield Check(slope, low, high)


def _power(block: Block) -> Iterator[Check]:
    sigma, noise = block["sigma"], block.power("noise")
    if guided(block):
        yield Check(_where(sigma >= 0.8, noise), 0.8, 1.17, evidence={"sigma": sigma[:, None]})
    else:
        yield Check(_where(sigma >= 0.3, noise), 0.75, 1.3, evidence={"sigma": sigma[:, None]})


def _white(block: Block) -> Iterator[Check]:
    if block.stream.cells < 64:
        return
    sigma, white = block["sigma"], block["noise_whiteness_low"]
    floor = 0.8 if guided(block) else 0.35
    found = _where(sigma >= floor, np.log(np.maximum(white, 1e-9)))
    yield Check(found, -0.5, 0.5, evidence={"ratio": white, "sigma": sigma[:, None]})


def _scale(block: Block) -> Iterator[Check]:
    if block.first or not block.stage.index or guided(block) or block.stream.cells < 64:
        return
    sigma = block["sigma"][:1]
    noise, x0, v = (block.power(q)[:1] for q in ("noise", "x0", "velocity"))
    slope = ((noise - x0 - v) / 2 + v) / noise
    # Two signs of the same: what the model leaves in the noise is the clip, which is coarse.
    coarse = block["noise_whiteness_low"][:1] > 1.25
    yield Check(np.where(coarse & (sigma >= 0.6)[:, None], slope, np.nan), low=0.87)


def _loud(block: Block) -> Iterator[Check]:
    sigma = float(block["sigma"][0])
    if block.first or not 0.2 <= sigma <= 0.97:
        return
    # x = (1−σ)·x0 + σ·ε with ε of unit power and independent of x0, whatever the model is.
    power = (sample_power(block)[:1] - sigma**2) / (1 - sigma) ** 2
    error = (2 / max(1, block.stream.values)) ** 0.5 * sigma**2 / (1 - sigma) ** 2
    yield Check(power, high=4 + 6 * error, evidence={"sigma": sigma})


def _reused(block: Block) -> Iterator[Check]:
    yield Check(1 - block["velocity_cosine"], low=1e-6)


RULES = (
    Rule(
        id="prediction-mismatch",
        family="model",
        severity="error",
        sentence=(
            "the model's prediction does not fit the sample: it explains {value:.2f} of the noise where 1 is right"
        ),
        short="prediction does not fit the sample",
        formula="⟨ε̂, v⟩ / ⟨ε̂, ε̂⟩ of the first row at σ of .95 and more",
        reason=(
            "v = ε − x0 and x0 is independent of ε; unguided runs stay within .95 to 1.03, guided ones within .56"
            " to 1.4"
        ),
        basis="physics",
        advice="check that the model is told 1,000·σ, and that its output is read as the velocity ε − x0",
        needs=("sigma", *POWERS),
        streams=("video",),
        curve="velocity_rms",
        follows=("timestep-scale",),
        rows=_slope,
    ),
    Rule(
        id="noise-power",
        family="model",
        severity="warning",
        sentence=(
            "the noise does not fit its level from step {step} on, most at σ {sigma:.3g}: the model finds {value:.2g}"
            " times as much as there should be"
        ),
        short="noise ×{value:.2g} of its level",
        formula="mean(ε̂²) at σ of .3 and more; with guidance .8 and more",
        reason="noise of unit power by definition; bounds .75 and 1.3, guided .8 and 1.17; healthy runs: .93 to 1.08",
        basis="physics",
        advice=(
            "look at what adds noise (a scheduler's s_noise), at the timesteps, and at guidance that is too strong"
        ),
        needs=("sigma", *POWERS),
        streams=("video",),
        curve="energy_high_noise",
        follows=(
            "clip-empty",
            "flicker",
            "start-noise-power",
            "given-latents-power",
            "stage-noise-power",
            "prediction-mismatch",
            "changed-between-steps",
            "levels-rise",
            "timestep-mismatch",
            "guidance-too-strong",
            "not-finite",
        ),
        rows=_power,
    ),
    Rule(
        id="noise-not-white",
        family="model",
        severity="warning",
        sentence=(
            "the predicted noise is not white: its coarse part at σ {sigma:.3g} is {ratio:.2g} times white noise's"
        ),
        short="predicted noise is not white",
        formula="|ln noise_whiteness_low| at σ of .35 and more (with guidance .8), grids of 64 cells and more",
        reason="what is left over is the error of the model; the logarithm is bounded by .5, healthy runs reach .37",
        basis="measured",
        advice=(
            "look at adapters (LoRA) and their strength, quantised weights, and at the noise that the run starts from"
        ),
        needs=("sigma", "noise_whiteness_low", *GAPS),
        streams=("video",),
        curve="noise_whiteness_low",
        follows=(
            "clip-empty",
            "flicker",
            "start-noise-coloured",
            "start-noise-power",
            "given-latents-power",
            "stage-noise-power",
            "prediction-mismatch",
            "changed-between-steps",
            "timestep-mismatch",
            "guidance-too-strong",
            "not-finite",
        ),
        rows=_white,
    ),
    Rule(
        id="latents-scale",
        family="between stages",
        severity="warning",
        sentence=(
            "the latents handed to this stage have another scale: a part of the clip is taken for noise "
            "({value:.2f} of 1)"
        ),
        short="latents of another scale",
        formula="⟨ε̂, v⟩ / ⟨ε̂, ε̂⟩ of a later stage's first row, where the predicted noise is coarse as well",
        reason="healthy later stages stay above .89",
        basis="measured",
        advice="normalise the latents as the model's VAE does (latents_mean, latents_std), once",
        needs=("sigma", "noise_whiteness_low", *POWERS, *GAPS),
        streams=("video",),
        curve="noise_whiteness_low",
        follows=("stage-noise-power", "given-latents-power"),
        rows=_scale,
    ),
    Rule(
        id="given-latents-power",
        family="between stages",
        severity="warning",
        sentence="this stage starts from latents that have {value:.2g} times the power of the model's training data",
        short="latents ×{value:.2g}",
        formula="(mean(x²) − σ²) / (1−σ)² of the first row at σ of .2 to .97",
        reason="latents are normalised to unit power; bounded by 4 and six standard errors, healthy clips reach 3.6",
        basis="physics",
        advice="normalise the latents as the model's VAE does (latents_mean, latents_std), once",
        needs=("sigma", *POWERS),
        streams=("video",),
        curve="energy_low_x0",
        follows=("stage-noise-power", "not-finite"),
        rows=_loud,
    ),
    Rule(
        id="outputs-reused",
        family="model",
        severity="note",
        sentence="the model gives the same velocity as in the step before, from step {step} on",
        short="outputs reused",
        formula="1 − velocity_cosine",
        reason="another sample and another level give another velocity, but for rounding",
        basis="physics",
        advice="a cache between the steps does this; lower its threshold if the clip suffers",
        needs=("velocity_cosine",),
        streams=("video",),
        curve="velocity_cosine",
        rows=_reused,
    ),
)
