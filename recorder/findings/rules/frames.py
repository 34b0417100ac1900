"""The result frame by frame, and the clip as a whole: fades, blank frames, drift, clips of nothing or of noise."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from recorder.findings.facts import Block, RunFacts, StageFacts
from recorder.findings.rule import Check, Rule
from recorder.findings.rules.result import CAUSES, relative_motion
from recorder.findings.rules.start import POWERS, low_share

_DRIFTS: Final = 0.45
"""Healthy runs of the nano model drift by up to .3; a hard cut comes to .7."""
_SLIGHTLY: Final = 0.1


def _contrast(block: Block) -> np.ndarray:
    """Contrast [clips, frames] of the last row from latent frame 1 on: frame 0 stands for one picture, not eight."""
    return np.asarray(block["frame_contrast"][-1][:, 1:])


def _per_row(block: Block, last: np.ndarray) -> np.ndarray:
    """Numbers of the last row [clips] as those of a block, which has none in the other rows."""
    found = np.full((block.count, len(last)), np.nan)
    found[-1] = last
    return found


def _fades(block: Block) -> Iterator[Check]:
    contrast = _contrast(block)
    if contrast.shape[1] < 4:
        return
    first, last = (np.log(np.maximum(part.mean(axis=1), 1e-6)) for part in (contrast[:, :2], contrast[:, -2:]))
    steps = np.diff(np.log(np.maximum(contrast, 1e-6)), axis=1)
    change = last - first
    # A fade goes one way and takes its time; a frame that is gone at once has a finding of its own.
    same = (np.sign(steps) == np.sign(change)[:, None]).mean(axis=1) >= 0.8
    slowly = np.abs(steps).max(axis=1) <= 0.75 * np.abs(last - first) + 0.7
    for key, sign in (("out", -1), ("in", 1)):
        ratio = np.where(same & slowly & (np.sign(change) == sign), np.exp(-np.abs(change)), np.nan)
        yield Check(_per_row(block, ratio), low=0.5, key=key, final=True)


def _blank(block: Block) -> Iterator[Check]:
    contrast = _contrast(block)
    if contrast.shape[1] < 4:
        return
    ratio = contrast / np.median(contrast, axis=1, keepdims=True)
    frame = np.argmin(np.nan_to_num(ratio, nan=np.inf), axis=1)
    worst = np.fmin.reduce(ratio, axis=1)
    yield Check(_per_row(block, worst), low=0.15, final=True, evidence={"frame": frame + 1.0})


def _pulses(block: Block) -> Iterator[Check]:
    contrast = np.log(np.maximum(_contrast(block), 1e-6))
    if contrast.shape[1] < 5:
        return
    bent = np.abs(contrast[:, 2:] - 2 * contrast[:, 1:-1] + contrast[:, :-2]) / 4
    yield Check(_per_row(block, np.median(bent, axis=1)), high=0.12, final=True)


def _empty(block: Block) -> Iterator[Check]:
    spread = np.median(block["channel_std"], axis=2)
    if block.stream.name == "video":
        yield Check(spread, low=0.05, final=True)
    else:  # quiet sounds have little, and silence may be meant
        yield Check(spread, low=0.002, key="audio", severity="note", final=True)


def _noise(block: Block) -> Iterator[Check]:
    if block.stream.cells < 64 or block["motion"].shape[2] < 3:
        return
    white = block["energy_low_x0"] / block.power("x0") / low_share(block)
    # Noise has nothing in common from cell to cell, and nothing from frame to frame.
    yield Check(np.where(relative_motion(block) > 0.9, white, np.nan), low=1.6, final=True)


def _drift(run: RunFacts, stage: StageFacts) -> Iterator[Check]:
    summary, video = stage.summary.get("video", {}), stage.streams.get("video")
    if video is None or not video.rows:
        return
    first = summary.get("drift_first_frame", [])
    last = max(video.frames) if video.frames else max(1, video.grid[0] - 1 if video.grid else 1)
    drifts = summary.get("content_drift", [])
    for clip, drift in enumerate(drifts):
        if drift is None or drift != drift:
            continue
        begins = first[clip] if clip < len(first) else None
        frames = (1 if begins is None or begins != begins else int(begins), last)
        values = np.full(len(drifts), np.nan)
        values[clip] = drift
        strong = drift > _DRIFTS
        yield Check(
            values,
            high=_DRIFTS if strong else _SLIGHTLY,
            key="" if strong else "slight",
            severity=None if strong else "note",
            frames=(min(frames), last),
            step=video.rows - 1,
            stream="video",
        )


RULES = (
    Rule(
        id="clip-empty",
        family="numbers",
        severity="warning",
        sentence="the {stream} holds next to nothing: its channels vary by {value:.2g} where .5 to 1 is usual",
        short="{stream} empty",
        formula="median over channels of channel_std in the last row",
        reason="channels are normalised to unit spread; healthy clips stay above .3, and audio above .03",
        basis="measured",
        advice="look at what scales, masks or replaces the latents or the model's output; for audio, silence does this",
        needs=("channel_std",),
        curve="channel_std",
        follows=("not-finite", "level-invalid", "start-noise-power", "prediction-empty"),
        rows=_empty,
    ),
    Rule(
        id="result-is-noise",
        family="result",
        severity="warning",
        sentence="the finished clip is noise: no frame has anything in common with the one before",
        short="result is noise",
        formula="low share of x0's power / that of white noise, where motion is that of unrelated frames; last row",
        reason="1 for white noise; healthy runs stay above 5",
        basis="physics",
        advice="look at what replaces the latents or the model's output, and at the weights",
        needs=("motion", "noise_whiteness_low", *POWERS),
        streams=("video",),
        curve="motion",
        follows=("clip-empty", "not-finite", "level-invalid", "prediction-empty", "noise-left"),
        rows=_noise,
    ),
    Rule(
        id="fades",
        family="result",
        severity="warning",
        sentence="the clip fades {key}: over its frames the last has {value:.2f} times the contrast of the first",
        short="fades {key}",
        formula="frame_contrast of the last two frames against the first two, where it goes one way; last row",
        reason="healthy runs stay above .87",
        basis="measured",
        advice="look at what weighs frames (windows of tiles, blending); a prompt may ask for a fade",
        needs=("frame_contrast",),
        streams=("video",),
        curve="frame_contrast",
        follows=CAUSES,
        rows=_fades,
    ),
    Rule(
        id="frames-blank",
        family="result",
        severity="warning",
        sentence="frame {frame:.0f} is blank: it has {value:.2f} of the contrast of the others",
        short="frame {frame:.0f} blank",
        formula="smallest frame_contrast / median of frame_contrast of the last row, from latent frame 1 on",
        reason="healthy runs stay above .85",
        basis="measured",
        advice="look at what pads, joins or masks frames",
        needs=("frame_contrast",),
        streams=("video",),
        curve="frame_contrast",
        follows=(*CAUSES, "fades", "clip-empty"),
        rows=_blank,
    ),
    Rule(
        id="pulses",
        family="result",
        severity="warning",
        sentence="the clip flickers in strength: contrast changes from frame to frame and back, by {value:.0%}",
        short="flickers",
        formula="median over frames of |ln c_{f+1} − 2·ln c_f + ln c_{f−1}| / 4, c frame_contrast of the last row",
        reason="healthy runs stay below .07",
        basis="measured",
        advice="look at what treats even and odd frames differently: tiling, a cache, chunks of frames",
        needs=("frame_contrast",),
        streams=("video",),
        curve="frame_contrast",
        follows=(*CAUSES, "frames-blank"),
        rows=_pulses,
    ),
    Rule(
        id="drifts",
        family="result",
        severity="warning",
        sentence="the clip drifts from frame {first_frame} on: its drift is {value:.2f}; a clean clip is below .1",
        short="drifts from frame {first_frame}",
        formula="content_drift of a stage's finished clip",
        reason="above .45 it is a warning, above .1 a note; a background that fades gives .3, a hard cut .7",
        basis="measured",
        advice="look at the frames in filmstrip and frame map; another seed, or fewer frames, may be steadier",
        curve="frame_identity",
        follows=(*CAUSES, "fades", "frames-blank", "pulses", "hard-cut", "frames-repeated", "flicker"),
        stage=_drift,
    ),
)
