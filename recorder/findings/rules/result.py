"""The result: frozen motion, cuts, saturation; looked at in the last row of a stage."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np

from recorder.findings.facts import Block
from recorder.findings.rule import Check, Rule

_POWERS = ("energy_low_x0", "energy_mid_x0", "energy_high_x0")
_USUAL_MOTION = {"nano": 0.45}
"""By model: relative motion below this is unusual. Other models have baselines."""


CAUSES = (
    "prediction-empty",
    "clip-empty",
    "result-is-noise",
    "start-noise-power",
    "noise-repeated",
    "stage-noise-power",
    "prediction-mismatch",
    "noise-power",
    "noise-not-white",
    "not-finite",
    "level-invalid",
    "changed-between-steps",
    "latents-scale",
    "guidance-too-strong",
)


def relative_motion(block: Block) -> np.ndarray:
    """Mean over frames of the motion over √(2·mean(x0²)) [rows, clips]: 1 for frames that have nothing in common."""
    motion = block["motion"]
    known = np.isfinite(motion)
    mean = np.where(known, motion, 0).sum(axis=2) / known.sum(axis=2)
    return np.asarray(mean / np.sqrt(2 * block.power("x0")))


def _frozen(block: Block) -> Iterator[Check]:
    if block["motion"].shape[2] < 3:
        return
    known = _USUAL_MOTION.get(str(block.stage.metadata.get("model", "")))
    rate = max(24.0, block.stage.number("frame_rate") or 24.0)
    motion = relative_motion(block) * rate / 24
    yield Check(motion, low=0.02, key="still", final=True)
    if known is not None:
        yield Check(motion, low=known, key="little", severity="note", final=True)


def _moves(block: Block) -> np.ndarray:
    """Motion of each frame from the third on [rows, clips, frames]: the first one stands for one picture, not eight."""
    return block["motion"][:, :, 2:]


def _typical(motion: np.ndarray) -> np.ndarray:
    """The median over frames [rows, clips]; NaN where fewer than four are known."""
    known = np.isfinite(motion).sum(axis=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of clips without any
        return np.where(known >= 4, np.nanmedian(motion, axis=2), np.nan)


def _cut(block: Block) -> Iterator[Check]:
    motion = _moves(block)
    if motion.shape[2] < 4:
        return
    worst = np.argmax(np.nan_to_num(motion[-1]), axis=1)
    ratio = np.nan_to_num(motion).max(axis=2) / _typical(motion)
    yield Check(ratio, high=2.5, final=True, evidence={"frame": worst.astype(np.float64) + 2})


def _paused(block: Block) -> Iterator[Check]:
    motion = _moves(block)
    if motion.shape[2] < 4:
        return
    least = np.where(np.isfinite(motion), motion, np.inf)
    where = np.argmin(least[-1], axis=1)
    ratio = least.min(axis=2) / _typical(motion)
    yield Check(ratio, low=0.05, final=True, evidence={"frame": where.astype(np.float64) + 2})


def _flickers(block: Block) -> Iterator[Check]:
    if block["jerk"].shape[2] < 5:
        return
    jerk, motion = (np.where(np.isfinite(block[n]), block[n], 0)[:, :, 2:] ** 2 for n in ("jerk", "motion"))
    known = np.isfinite(block["jerk"][:, :, 2:])
    ratio = np.sqrt(jerk.sum(axis=2) / (motion * known).sum(axis=2))
    yield Check(ratio, high=1.92, final=True)


def _large(block: Block) -> Iterator[Check]:
    yield Check(block.power("x0"), high=4.0, final=True)


def _channels(block: Block) -> Iterator[Check]:
    spread = block["channel_std"]
    if spread.shape[2] < 8:
        return
    typical = np.median(spread, axis=2)
    channel = np.argmax(np.nan_to_num(spread[-1]), axis=1).astype(np.float64)
    yield Check(spread.max(axis=2) / typical, high=8.0, final=True, evidence={"channel": channel})


RULES = (
    Rule(
        id="values-too-large",
        family="numbers",
        severity="warning",
        sentence="the clip's latents have {value:.2g} times the power of the model's training data: it looks burned",
        short="saturated (power {value:.2g})",
        formula="mean(x0²) of the last row",
        reason="latents are normalised to unit power; healthy runs stay within .4 and 1.8",
        basis="measured",
        advice="lower the guidance or set guidance_rescale to .7; look at what scales the latents",
        needs=_POWERS,
        streams=("video",),
        curve="energy_low_x0",
        follows=CAUSES,
        rows=_large,
    ),
    Rule(
        id="channel-runs-away",
        family="numbers",
        severity="warning",
        sentence="channel {channel:.0f} varies {value:.1f} times as much as the median one: a colour cast or blotches",
        short="a channel runs away",
        formula="largest channel_std / median channel_std of the last row",
        reason="channels are normalised to equal spread; healthy runs stay below 3.4",
        basis="measured",
        advice="look at the statistics that latents are normalised with, at adapters and at quantised weights",
        needs=("channel_std",),
        streams=("video",),
        curve="channel_std",
        follows=CAUSES,
        rows=_channels,
    ),
    Rule(
        id="hard-cut",
        family="result",
        severity="warning",
        sentence="the clip is cut: frame {frame:.0f} differs {value:.1f} times as much as frames usually do",
        short="cut at frame {frame:.0f}",
        formula="largest motion / median motion of the last row, from the third latent frame on",
        reason="healthy runs stay below 1.7",
        basis="measured",
        advice="describe one scene in the prompt; look at what joins or changes frames",
        needs=("motion",),
        streams=("video",),
        curve="motion",
        follows=(*CAUSES, "fades", "frames-blank"),
        rows=_cut,
    ),
    Rule(
        id="frames-repeated",
        family="result",
        severity="warning",
        sentence="frame {frame:.0f} repeats the one before, while the other frames move",
        short="frame {frame:.0f} repeated",
        formula="smallest motion / median motion of the last row, from the third latent frame on",
        reason="frames that the model makes always differ; healthy runs stay above .40",
        basis="measured",
        advice="look at what pads, joins or freezes frames between the steps",
        needs=("motion",),
        streams=("video",),
        curve="motion",
        follows=(*CAUSES, "fades", "frames-blank"),
        rows=_paused,
    ),
    Rule(
        id="flicker",
        family="result",
        severity="warning",
        sentence="the clip flickers: every other frame is alike, with {value:.2f} where frames that alternate have 2",
        short="flickers",
        formula="√(Σ jerk² / Σ motion²) of the last row",
        reason="1.73 for frames that have nothing in common, 2 for two pictures in turn; healthy runs stay below 1.8",
        basis="physics",
        advice="look at what treats even and odd frames differently: tiling, a cache, chunks of frames",
        needs=("motion", "jerk"),
        streams=("video",),
        curve="jerk",
        # Not a result of wrong noise, which never makes two pictures alternate. A model that alternates two pictures
        # predicts the noise wrongly, so this finding must not be hidden behind those two.
        follows=tuple(cause for cause in CAUSES if cause not in ("noise-power", "noise-not-white")),
        rows=_flickers,
    ),
    Rule(
        id="little-motion",
        family="result",
        severity="warning",
        sentence=("frames hardly differ: {value:.3g} of what unrelated frames differ by, usual is {low:.2f} and more"),
        short="hardly any motion",
        formula="mean motion / √(2·mean(x0²)) of the last row, by frame rate",
        reason=(".02 is a still; below .45 few healthy runs of the nano model lie; for other models add a baseline"),
        basis="measured",
        advice="look at the condition's strength, at motion_speed, and whether the prompt asks for motion",
        needs=("motion", *_POWERS),
        streams=("video",),
        curve="x0_change_rms",
        follows=("clip-empty", "start-noise-power", "stage-noise-power", "pass-without-effect", "motion-speed"),
        rows=_frozen,
    ),
)
