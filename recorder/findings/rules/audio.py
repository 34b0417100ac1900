"""Audio and video that must keep step."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from recorder.findings.facts import RunFacts, StageFacts
from recorder.findings.rule import Check, Rule


def _level(run: RunFacts, stage: StageFacts) -> Iterator[Check]:
    levels = {name: stage.levels[name] for name in ("video", "audio") if name in stage.levels}
    if len(levels) < 2:
        return
    shared = min(len(v) for v in levels.values())
    video, audio = (np.array(levels[n][:shared]) for n in ("video", "audio"))
    miss = np.abs(video - audio)
    if not shared or not np.isfinite(miss).any():
        return
    worst, bad = int(np.nanargmax(miss)), np.flatnonzero(miss > 1e-4)
    evidence = {"video": float(video[worst]), "audio": float(audio[worst])}
    yield Check(np.array([miss[worst]]), high=1e-4, step=int(bad[0]) if len(bad) else None, evidence=evidence)


RULES = (
    Rule(
        id="audio-out-of-step",
        family="audio and video",
        severity="warning",
        sentence="audio and video are at other noise levels in the same step: σ {audio:.3g} and {video:.3g}",
        short="audio out of step",
        formula="max |σ audio − σ video| in the same row",
        reason="one call of the model denoises both, told one level",
        basis="physics",
        advice="give both schedulers the same shift and the same levels",
        stage=_level,
    ),
)
