"""Audio and video that must keep step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from recorder.findings.facts import Block
from recorder.findings.rule import Check, Rule


def _level(block: Block) -> Iterator[Check]:
    other = block.stage.levels.get("audio" if block.stream.name == "video" else "video", ())[block.first :]
    shared = min(len(other), block.count)  # rows that the other stream does not have yet are compared when it has
    if shared:
        mine, theirs = block["sigma"][:shared], np.array(other[:shared])
        video, audio = (mine, theirs) if block.stream.name == "video" else (theirs, mine)
        evidence = {"video": video[:, None], "audio": audio[:, None]}
        yield Check(np.abs(video - audio)[:, None], high=1e-4, evidence=evidence, joint=True)


RULES = (
    Rule(
        id="audio-out-of-step",
        family="audio and video",
        severity="warning",
        sentence="audio and video are at different levels in the same step: audio σ {audio:.3g}, video σ {video:.3g}",
        short="audio out of step",
        formula="max |σ audio − σ video| in the same row",
        reason="one call of the model denoises both, told one level",
        basis="physics",
        advice="give both schedulers the same shift and the same levels",
        needs=("sigma",),
        rows=_level,
    ),
)
