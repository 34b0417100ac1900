"""The result: frozen motion, cuts, saturation; looked at in the last row of a stage."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from recorder.findings.facts import Block
from recorder.findings.rule import Check, Rule

_POWERS = ("energy_low_x0", "energy_mid_x0", "energy_high_x0")
_USUAL_MOTION = {"nano": 0.45}
"""By model: relative motion below this is unusual. Other models have baselines."""


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


RULES = (
    Rule(
        id="little-motion",
        family="result",
        severity="warning",
        sentence=("frames hardly differ: {value:.2f} of what unrelated frames differ by, usual is {low:.2f} and more"),
        short="hardly any motion",
        formula="mean motion / √(2·mean(x0²)) of the last row, by frame rate",
        reason=(".02 is a still; below .45 few healthy runs of the nano model lie; for other models add a baseline"),
        basis="measured",
        advice="look at the condition's strength, at motion_speed, and whether the prompt asks for motion",
        needs=("motion", *_POWERS),
        streams=("video",),
        curve="x0_change_rms",
        follows=("start-noise-power", "stage-noise-power", "pass-without-effect", "motion-speed"),
        rows=_frozen,
    ),
)
