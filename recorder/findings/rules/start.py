"""The start: noise that is too weak, too strong, coloured, or the same twice."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from recorder.findings.facts import Block, Values
from recorder.findings.rule import Check, Rule


def sample_power(block: Block) -> Values:
    """Mean square of the sample before each step [rows, clips], from x = x0 + σ·v and ε = x + (1−σ)·v."""
    noise, x0, v = (block.power(q) for q in ("noise", "x0", "velocity"))
    sigma = block["sigma"][:, None]
    return np.asarray(x0 + sigma * (noise - x0 - v) + sigma**2 * v)


def low_share(block: Block) -> Values:
    """White noise's share of power in the low band on this grid [rows, clips]; the same in every row."""
    return np.asarray(block["energy_low_noise"] / block.power("noise") / block["noise_whiteness_low"])


def _power(block: Block) -> Iterator[Check]:
    if block.first:
        return
    power, sigma = sample_power(block)[:1], block["sigma"][0]
    # At σ = 1 the sample is the noise itself, whatever the model is.
    if sigma > 0.999:
        # The cube root of χ²/n is near to normal (Wilson and Hilferty, 1931) where χ² itself is not: a few values.
        mean = 1 - 2 / (9 * max(1, block.stream.values))
        low, high = ((mean + sign * 6 * (1 - mean) ** 0.5) ** 3 for sign in (-1, 1))
        yield Check(power, min(0.88, low), max(1.12, high), evidence={"sigma": sigma})


def _noise(block: Block) -> Iterator[Check]:
    if block.first:
        return
    sigma = block["sigma"][0]
    if 0.8 <= sigma <= 0.999:
        yield Check(block.power("noise")[:1], 0.8, 1.25, evidence={"sigma": sigma})


def _repeated(block: Block) -> Iterator[Check]:
    if block.first:
        return
    start = (block["sigma"][:1] >= 0.9)[:, None]
    if block.has("sample_frame_cosine"):
        evidence = {"sigma": block["sigma"][0]}
        what = {"what": "the frames of a clip"}
        cosine = np.where(start, block["sample_frame_cosine"][:1], np.nan)
        yield Check(cosine, high=0.7, evidence=evidence, words=what)
        if block["sigma"][0] > 0.999:  # noise alone
            spread = max(0.12, 6 / max(1, block.stream.values) ** 0.5)
            some = np.where(cosine <= 0.7, cosine, np.nan)
            yield Check(some, high=spread, key="partly", severity="note", evidence=evidence, words=what)
    if block.has("sample_clip_cosine"):
        clips = np.where(start, block["sample_clip_cosine"][:1], np.nan)
        what = {"what": "two clips of the batch"}
        yield Check(clips, high=0.99, key="clips", severity="note", words=what)


def _coloured(block: Block) -> Iterator[Check]:
    # At σ = 1 the noise that the model finds is the sample, whatever the model is.
    if block.first or block["sigma"][0] <= 0.999 or block.stream.cells < 64:
        return
    low = low_share(block)[:1]
    power = block.power("noise")[:1]
    high = block["energy_high_noise"][:1] / power / block["noise_whiteness_high"][:1]
    for key, share, white in (
        ("coarse", low, block["noise_whiteness_low"][:1]),
        ("fine", high, block["noise_whiteness_high"][:1]),
    ):
        spread = max(
            0.12, 6 * float(np.sqrt(2 / max(1.0, block.stream.values * float(np.fmin.reduce(share, axis=None)))))
        )
        yield Check(np.log(np.maximum(white, 1e-9)), -spread, spread, key=key, evidence={"ratio": white})


POWERS = tuple(f"energy_{band}_{q}" for q in ("noise", "x0", "velocity") for band in ("low", "mid", "high"))

RULES = (
    Rule(
        id="start-noise-power",
        family="start",
        severity="error",
        sentence="the run starts from noise of {value:.2g} times the power that σ {sigma:.3g} stands for",
        short="start noise ×{value:.2g}",
        formula="mean(x²) of the first sample at σ = 1",
        reason="noise of unit power by definition; the bound is six standard errors of its cube root or 12 %",
        basis="physics",
        advice="draw the latents with randn at unit variance, or leave them to the pipeline",
        needs=("sigma", *POWERS),
        curve="energy_high_noise",
        rows=_power,
    ),
    Rule(
        id="start-noise-coloured",
        family="start",
        severity="warning",
        sentence="the run starts from coloured noise: {ratio:.2g} times the {key} part of white noise",
        short="start noise coloured",
        formula="|ln noise_whiteness_low| and |ln noise_whiteness_high| of the first sample at σ = 1",
        reason="white noise by definition; the bound is six standard errors or 12 %, grids of 64 cells and more",
        basis="physics",
        advice="draw the latents with randn; smoothed, resized or reused noise is not white",
        needs=("sigma", "noise_whiteness_low", "noise_whiteness_high", *POWERS),
        streams=("video",),
        curve="noise_whiteness_low",
        follows=("start-noise-power",),
        rows=_coloured,
    ),
    Rule(
        id="noise-repeated",
        family="start",
        severity="warning",
        sentence="{what} start from the same noise: its cosine is {value:.2f} where 0 is right",
        short="noise repeated",
        formula="cosine of neighbouring frames, and of clips, of the first sample at σ of .9 and more",
        reason="independent noise has a cosine of 0 within 1/√n; clips may share a seed on purpose, frames never do",
        basis="physics",
        advice="draw noise of the full shape of the latents: [batch, channels, frames, height, width]",
        needs=("sigma",),
        curve="sample_frame_cosine",
        follows=("start-noise-power",),
        rows=_repeated,
    ),
    Rule(
        id="stage-noise-power",
        family="between stages",
        severity="warning",
        sentence="the first step finds {value:.2g} times the noise that σ {sigma:.3g} stands for",
        short="noise ×{value:.2g} at the start",
        formula="mean(ε²) of the first row at σ of .8 and more",
        reason="healthy runs stay between .94 and 1.15",
        basis="measured",
        advice="noise the latents to the level that the schedule starts at (noise_scale equal to the first σ)",
        needs=("sigma", *POWERS),
        curve="energy_high_noise",
        rows=_noise,
    ),
)
