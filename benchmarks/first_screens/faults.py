"""Faults of schedule, start noise, guidance, conditioning, stages, and audio, made by arguments and small patches."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.first_screens.setting import Setting, distilled
from benchmarks.healthy import DISTILLED, SECOND

Change = Callable[[Setting, random.Random], None]
SIMPLE: Final = ("plain", "guided", "cfg", "schedule", "distilled")
GUIDED: Final = ("guided", "cfg")


@dataclass(frozen=True)
class Fault:
    """What can be wrong with a run.

    Attributes:
        id: in answers.
        family: as in docs/findings.md.
        cause: what is wrong, in one sentence.
        kinds: the kinds of run that it can happen to.
        change: makes it, in a healthy setting.
    """

    id: str
    family: str
    cause: str
    kinds: tuple[str, ...]
    change: Change


FAULTS: Final[list[Fault]] = []


def fault(family: str, cause: str, *kinds: str) -> Callable[[Change], Change]:
    """Register a change as a fault; its id is its name."""

    def register(change: Change) -> Change:
        FAULTS.append(Fault(change.__name__.replace("_", "-"), family, cause, kinds or SIMPLE, change))
        return change

    return register


@fault("schedule", "the distilled levels are given to a scheduler that shifts them again", "distilled")
def shifted_again(s: Setting, chance: random.Random) -> None:
    s.configuration = {}


@fault("schedule", "the levels are those of a shifted schedule, and the scheduler shifts them once more", "plain")
def shifted_twice(s: Setting, chance: random.Random) -> None:
    ramp = [1 - i / s.steps for i in range(s.steps)]
    s.call["sigmas"] = [5 * r / (1 + 4 * r) for r in ramp]


@fault("schedule", "the given levels end with a 0, and the scheduler appends its own", "distilled")
def closing_zero(s: Setting, chance: random.Random) -> None:
    distilled(s, [*DISTILLED, 0.0])


@fault("schedule", "a hole in the levels: one inner step goes from σ near 1 almost to the end", "distilled")
def hole(s: Setting, chance: random.Random) -> None:
    distilled(s, [1.0, 0.9975, 0.995, 0.04, 0.03, 0.02, 0.01])


@fault("schedule", "the schedule ends at a level far above 0, and noise is left in the clip", "plain", "guided")
def ends_early(s: Setting, chance: random.Random) -> None:
    left = chance.choice((0.15, 0.25, 0.4))

    def levels(scheduler: Any) -> None:
        scheduler.sigmas[-1] = left

    s.levels = levels


@fault("schedule", "two neighbouring levels are exchanged, so the level rises once", "distilled")
def exchanged_levels(s: Setting, chance: random.Random) -> None:
    levels = list(DISTILLED)
    at = chance.choice((4, 5))
    levels[at], levels[at + 1] = levels[at + 1], levels[at]
    distilled(s, levels)


@fault("schedule", "the levels are given in thousands", "distilled")
def thousands(s: Setting, chance: random.Random) -> None:
    distilled(s, [1000 * level for level in DISTILLED])


@fault("schedule", "the levels begin above 1", "distilled")
def above_one(s: Setting, chance: random.Random) -> None:
    distilled(s, [1.2 * level for level in DISTILLED])


@fault("schedule", "the model is told evenly spaced timesteps that do not belong to the levels", "plain", "guided")
def other_timesteps(s: Setting, chance: random.Random) -> None:
    def levels(scheduler: Any) -> None:
        import torch

        n = len(scheduler.timesteps)
        scheduler.timesteps = torch.linspace(1000, 1000 / n, n)

    s.levels = levels


@fault("schedule", "the scheduler makes half of the steps that were asked for", "plain", "guided")
def half_the_steps(s: Setting, chance: random.Random) -> None:
    def levels(scheduler: Any) -> None:
        import torch

        kept = scheduler.sigmas[:-1][::2]
        scheduler.sigmas, scheduler.timesteps = torch.cat([kept, scheduler.sigmas[-1:]]), 1000 * kept
        scheduler.num_inference_steps = len(kept)

    s.levels = levels


@fault("schedule", "the schedule begins at σ .6, and the sample is pure noise", "distilled")
def begins_late(s: Setting, chance: random.Random) -> None:
    distilled(s, [0.6, 0.5, 0.4, 0.3, 0.2, 0.1])


def start(s: Setting, change: Callable[[Any], Any]) -> None:
    """Change the noise [batch, channels, frames, height, width] that a run starts from."""

    def prepared(pipe: Any) -> None:
        real = pipe.prepare_latents

        def prepare(*given: Any, **named: Any) -> Any:
            packed = real(*given, **named)
            frames, high, wide = grid_of(s)
            latents = pipe._unpack_latents(packed, frames, high, wide)
            return pipe._pack_latents(change(latents))

        pipe.prepare_latents = prepare

    s.pipe_changes.append(prepared)


def grid_of(s: Setting) -> tuple[int, int, int]:
    """Frames, height and width of the latents."""
    frames, high, wide = s.call.get("num_frames", 33), s.call.get("height", 320), s.call.get("width", 384)
    return (frames - 1) // 8 + 1, high // 32, wide // 32


@fault("start noise", "the noise that the run starts from is too weak")
def weak_noise(s: Setting, chance: random.Random) -> None:
    factor = chance.choice((0.5, 0.6, 0.7, 0.8))
    start(s, lambda x: factor * x)


@fault("start noise", "the noise that the run starts from is too strong")
def strong_noise(s: Setting, chance: random.Random) -> None:
    factor = chance.choice((1.25, 1.4, 1.7))
    start(s, lambda x: factor * x)


@fault("start noise", "the run starts from zeros instead of noise")
def zero_noise(s: Setting, chance: random.Random) -> None:
    start(s, lambda x: 0 * x)


@fault("start noise", "every frame starts from the same noise")
def repeated_noise(s: Setting, chance: random.Random) -> None:
    start(s, lambda x: x[:, :, :1].expand_as(x).clone())


@fault("start noise", "the noise that the run starts from is blurred: coloured instead of white")
def coloured_noise(s: Setting, chance: random.Random) -> None:
    def blurred(x: Any) -> Any:
        import torch

        near = x + x.roll(1, -1) + x.roll(1, -2) + x.roll((1, 1), (-1, -2))
        return near * torch.sqrt(x.square().mean() / near.square().mean())

    start(s, blurred)


@fault("start noise", "the noise that the run starts from has an offset in every channel")
def offset_noise(s: Setting, chance: random.Random) -> None:
    offset = chance.choice((0.5, 0.8))
    start(s, lambda x: x + offset)


@fault("guidance", "CFG 12 without rescale: guidance blows up", "guided", "plain")
def strong_guidance(s: Setting, chance: random.Random) -> None:
    s.call.update(guidance_scale=12.0, guidance_rescale=0.0, audio_guidance_scale=12.0, audio_guidance_rescale=0.0)


@fault("guidance", "STG names a block that the model does not have, so its pass does nothing", "guided")
def missing_block(s: Setting, chance: random.Random) -> None:
    s.call["spatio_temporal_guidance_blocks"] = [28]


@fault("guidance", "STG skips every block of the model", "guided")
def every_block(s: Setting, chance: random.Random) -> None:
    s.call["spatio_temporal_guidance_blocks"] = [0, 1, 2, 3]


@fault("guidance", "the prompt does not reach the model: its embeddings are zeros", *GUIDED)
def dead_prompt(s: Setting, chance: random.Random) -> None:
    def dead(pipe: Any) -> None:
        pipe.connectors.register_forward_hook(lambda module, given, out: (out[0] * 0, out[1] * 0, out[2]))

    s.pipe_changes.append(dead)


@fault("guidance", "prompt and negative prompt are the same, so CFG does nothing", *GUIDED)
def same_prompts(s: Setting, chance: random.Random) -> None:
    s.call["negative_prompt"] = s.call["prompt"]


@fault("guidance", "the halves of CFG are exchanged: guidance leads away from the prompt", *GUIDED)
def exchanged_halves(s: Setting, chance: random.Random) -> None:
    def exchanged(pipe: Any) -> None:
        real = pipe.encode_prompt

        def encode(*given: Any, **named: Any) -> Any:
            prompt, mask, negative, negative_mask = real(*given, **named)
            return negative, negative_mask, prompt, mask

        pipe.encode_prompt = encode

    s.pipe_changes.append(exchanged)


@fault("conditioning", "the mask of the given frame is lost, so that frame is denoised as noise", "image")
def lost_mask(s: Setting, chance: random.Random) -> None:
    _prepared(s, lambda latents, mask: (latents, mask * 0))


@fault("conditioning", "the mask says that the first frame is given, and its latents are noise", "image")
def lost_picture(s: Setting, chance: random.Random) -> None:
    def noise(latents: Any, mask: Any) -> Any:
        given = mask.bool()[..., None]
        return latents.where(~given, latents.roll(latents.shape[1] // 2, 1)), mask

    _prepared(s, noise)


@fault("conditioning", "the mask covers every frame, so the clip is frozen on what it started from", "image")
def mask_everywhere(s: Setting, chance: random.Random) -> None:
    _prepared(s, lambda latents, mask: (latents, mask * 0 + 0.95))


def _prepared(s: Setting, change: Callable[[Any, Any], tuple[Any, Any]]) -> None:
    def prepared(pipe: Any) -> None:
        real = pipe.prepare_latents
        pipe.prepare_latents = lambda *given, **named: change(*real(*given, **named))

    s.pipe_changes.append(prepared)


@fault("conditioning", "motion_speed is .05, so hardly anything moves", "plain", "guided")
def no_speed(s: Setting, chance: random.Random) -> None:
    s.call["motion_speed"] = 0.05


@fault("between stages", "the second stage does not noise the first one's latents", "two stages")
def not_noised(s: Setting, chance: random.Random) -> None:
    s.second = {"sigmas": list(SECOND)}


@fault("between stages", "the second stage adds less noise than its first level stands for", "two stages")
def noised_too_little(s: Setting, chance: random.Random) -> None:
    s.second = {"sigmas": list(SECOND), "noise_scale": 0.5}


@fault("between stages", "the second stage starts from noise alone, at a level below 1", "two stages")
def noised_too_much(s: Setting, chance: random.Random) -> None:
    s.second = {"sigmas": [0.725, 0.55, 0.421875], "noise_scale": 1.0}


@fault("between stages", "the latents are scaled between the stages", "two stages")
def scaled_between(s: Setting, chance: random.Random) -> None:
    factor = chance.choice((3.0, 4.0))
    s.handed = lambda latents: factor * latents


@fault("between stages", "the latents are zeros when the second stage gets them", "two stages")
def lost_between(s: Setting, chance: random.Random) -> None:
    s.handed = lambda latents: 0 * latents


@fault("audio and video", "the audio schedule has another shift than the video schedule", "plain", "guided")
def other_audio_shift(s: Setting, chance: random.Random) -> None:
    @contextmanager
    def patched() -> Iterator[None]:
        from diffusers.pipelines.ltx2 import pipeline_ltx2 as module

        real, calls = module.retrieve_timesteps, [0]

        def other(scheduler: Any, *given: Any, mu: float, **named: Any) -> Any:
            calls[0] += 1
            return real(scheduler, *given, mu=mu - 1.0 if calls[0] == 1 else mu, **named)

        module.retrieve_timesteps = other
        try:
            yield
        finally:
            module.retrieve_timesteps = real

    s.around.append(patched)


@fault("audio and video", "the audio starts from noise that is too weak", "plain", "guided")
def weak_audio(s: Setting, chance: random.Random) -> None:
    def prepared(pipe: Any) -> None:
        real = pipe.prepare_audio_latents
        pipe.prepare_audio_latents = lambda *given, **named: 0.5 * real(*given, **named)

    s.pipe_changes.append(prepared)
