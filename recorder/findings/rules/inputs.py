"""What goes in: sizes, rates, given frames and latents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from recorder.findings.facts import Block, RunFacts, StageFacts, as_number
from recorder.findings.rule import Check, Rule


def _frames(run: RunFacts, stage: StageFacts) -> Iterator[Check]:
    asked, video = stage.number("num_frames"), stage.streams.get("video")
    if asked is None or video is None or asked < 1:
        return
    rest = (asked - 1) % 8
    yield Check(np.array([rest]), high=0, evidence={"asked": asked, "made": asked - rest})


def _rate(run: RunFacts, stage: StageFacts) -> Iterator[Check]:
    rate = stage.number("frame_rate")
    if rate is not None:
        yield Check(np.array([rate]), 12, 60)


def _speed(run: RunFacts, stage: StageFacts) -> Iterator[Check]:
    speed = stage.number("motion_speed")
    if speed is not None:
        yield Check(np.array([speed]), 0.2, 5)


def _condition(run: RunFacts, stage: StageFacts) -> Iterator[Check]:
    if "condition-lost" in stage.seen:
        yield Check(np.array([1.0]), high=0)


def _given(block: Block) -> Iterator[Check]:
    yield Check(block["given_change"], high=0.02)


def _empty(run: RunFacts, stage: StageFacts) -> Iterator[Check]:
    """Given latents without a clip in them, where the schedule begins below pure noise."""
    spread = stage.metadata.get("given_std")
    spread = as_number(spread.get("latents")) if isinstance(spread, Mapping) else None
    if spread is not None and len(stage.plan) and stage.plan[0] <= 0.97:
        yield Check(np.array([spread]), low=1e-3, step=0, evidence={"sigma": float(stage.plan[0])})


_NAMED_ELSEWHERE = ("num_frames", "num_inference_steps", "sigmas", "timesteps")


def _replaced(run: RunFacts, stage: StageFacts) -> Iterator[Check]:
    """Numbers that were asked for where the pipeline uses others."""
    used = stage.metadata.get("in_effect")
    for name, found in used.items() if isinstance(used, Mapping) else ():
        asked, value = stage.number(name), as_number(found)
        if name not in _NAMED_ELSEWHERE and asked is not None and value is not None:
            yield Check(np.array([abs(value - asked)]), high=0, key=name, evidence={"asked": asked, "used": value})


RULES = (
    Rule(
        id="condition-lost",
        family="conditioning",
        severity="warning",
        sentence="the given first frame is denoised as if it were noise: the conditioning mask is lost",
        short="condition lost",
        formula="a frame that is given, and a model that is told the step's level for it",
        reason="the model is told 0 for what is given; only the recorder sees both",
        basis="physics",
        advice="return the pipeline's own mask from `prepare_latents`, or leave that method as it is",
        stage=_condition,
    ),
    Rule(
        id="given-latents-empty",
        family="between stages",
        severity="warning",
        sentence="the schedule begins at σ {sigma:.3g}, and the given latents hold no clip: they vary by {value:.2g}",
        short="given latents are empty",
        formula="standard deviation of the latents given to the call, where the first level is .97 or less",
        reason="below σ = 1 a part of the sample is the clip to begin with; a clip's latents vary by about 1",
        basis="physics",
        advice="hand on the latents of the stage before; to begin without a clip, begin at σ = 1",
        stage=_empty,
    ),
    Rule(
        id="given-frame-changed",
        family="conditioning",
        severity="warning",
        sentence="the given frame is not kept: from step {step} on the model sees another one, by {value:.0%}",
        short="given frame not kept",
        formula="given_change",
        reason="what is given stays as it is; rounding to bfloat16 makes .004 at most",
        basis="bookkeeping",
        advice="look at callbacks and hooks that write into the latents: leave the tokens of the given frames alone",
        needs=("given_change",),
        streams=("video",),
        curve="given_change",
        rows=_given,
    ),
    Rule(
        id="setting-replaced",
        family="conditioning",
        severity="note",
        sentence="{key}={asked:.6g} was requested and {used:.6g} is in effect",
        short="{key} {used:.6g} in effect",
        formula="arguments of the call against what the pipeline keeps",
        reason="pipelines take some values, such as 0, as not given, and sizes are rounded to whole latents",
        basis="bookkeeping",
        advice="give a value that the pipeline takes; 1 means no guidance",
        stage=_replaced,
    ),
    Rule(
        id="frame-count",
        family="conditioning",
        severity="note",
        sentence="{asked:.0f} frames are asked for and {made:.0f} are made: LTX makes 8·n + 1",
        short="{made:.0f} of {asked:.0f} frames",
        formula="(num_frames − 1) mod 8",
        reason="a latent frame stands for eight frames, the first one for one",
        basis="bookkeeping",
        advice="ask for 8·n + 1 frames: 97, 121, 161",
        stage=_frames,
    ),
    Rule(
        id="frame-rate",
        family="conditioning",
        severity="note",
        sentence=("the frame rate is {value:.4g}: the model is told positions in seconds, and was trained at 24 to 50"),
        short="frame rate {value:.4g}",
        formula="frame_rate",
        reason="published set-ups use 24, 25, 30 and 50",
        basis="bookkeeping",
        advice="generate at 24 or 25, and change the rate of the finished clip",
        stage=_rate,
    ),
    Rule(
        id="motion-speed",
        family="conditioning",
        severity="warning",
        sentence="motion_speed is {value:.3g}: the model is told of a clip that hardly moves, or of one that races",
        short="motion_speed {value:.3g}",
        formula="motion_speed outside .2 to 5",
        reason="1 is the speed of the training data; published set-ups leave it at 1",
        basis="bookkeeping",
        advice="leave motion_speed at 1, and describe slow motion in the prompt",
        stage=_speed,
    ),
)
