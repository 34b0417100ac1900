"""Faults of the model, between its steps and of numbers, made by hooks and callbacks."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

from benchmarks.first_screens.faults import FAULTS, SIMPLE, fault, grid_of
from benchmarks.first_screens.setting import Setting

__all__ = ["FAULTS", "UNGUIDED", "level_told"]
UNGUIDED: Final = ("plain", "schedule", "distilled")

Output = Callable[[dict[str, Any], Any, Any], tuple[Any, Any]]
"""Arguments of the model's call, velocity of the video and of the audio → the velocities that are used instead."""


def output(s: Setting, change: Output) -> None:
    """Change what the model returns."""

    def hooked(pipe: Any) -> None:
        def hook(module: Any, given: Any, named: dict[str, Any], out: Any) -> Any:
            return change(named, out[0], out[1])

        pipe.transformer.register_forward_hook(hook, with_kwargs=True)

    s.pipe_changes.append(hooked)


@fault("model", "the model's prediction is read with the wrong sign")
def wrong_sign(s: Setting, chance: random.Random) -> None:
    output(s, lambda named, video, audio: (-video, -audio))


@fault("model", "the model's velocity is used as if it were the noise")
def wrong_kind(s: Setting, chance: random.Random) -> None:
    def read(named: dict[str, Any], video: Any, audio: Any) -> tuple[Any, Any]:
        x, sigma = named["hidden_states"], level_told(named)
        return (x - video) / sigma.clamp_min(0.05), audio

    output(s, read)


@fault("model", "the model is told timesteps from 0 to 1 instead of 0 to 1000")
def timestep_scale(s: Setting, chance: random.Random) -> None:
    def hooked(pipe: Any) -> None:
        def scaled(module: Any, given: Any, named: dict[str, Any]) -> Any:
            return given, {**named, "timestep": named["timestep"] / 1000, "sigma": named["sigma"] / 1000}

        pipe.transformer.register_forward_pre_hook(scaled, with_kwargs=True)

    s.pipe_changes.append(hooked)


@fault("model", "the model's velocity is scaled")
def scaled_velocity(s: Setting, chance: random.Random) -> None:
    factor = chance.choice((0.7, 1.4))
    output(s, lambda named, video, audio: (factor * video, audio))


@fault("model", "an adapter (LoRA) is far too strong")
def strong_adapter(s: Setting, chance: random.Random) -> None:
    scale, seed = chance.choice((1.5, 2.0)), chance.randrange(1000)

    def adapted(pipe: Any) -> None:
        import torch

        generator = torch.Generator().manual_seed(seed)
        for block in pipe.transformer.transformer_blocks:
            for layer in (block.attn1.to_q, block.attn1.to_v, block.attn2.to_v):
                weight = layer.weight.data
                high, wide = weight.shape
                change = torch.randn(high, 4, generator=generator) @ torch.randn(4, wide, generator=generator)
                weight += scale * change * weight.norm() / change.norm()

    s.pipe_changes.append(adapted)


@fault("model", "the weights are quantised to three values each")
def coarse_weights(s: Setting, chance: random.Random) -> None:
    def quantised(pipe: Any) -> None:
        for name, weight in pipe.transformer.named_parameters():
            if weight.ndim == 2 and "transformer_blocks" in name:
                step = 1.5 * weight.data.abs().mean()
                weight.data = (weight.data / step).round().clamp(-1, 1) * step

    s.pipe_changes.append(quantised)


@fault("model", "one block of the model is left out")
def lost_block(s: Setting, chance: random.Random) -> None:
    lost = chance.choice((1, 2, 3))

    def skipped(pipe: Any) -> None:
        block = pipe.transformer.transformer_blocks[lost]

        def hook(module: Any, given: Any, named: dict[str, Any], out: Any) -> Any:
            kept = (*given, *(named[n] for n in ("hidden_states", "audio_hidden_states") if n in named))
            return kept[0], kept[1]

        block.register_forward_hook(hook, with_kwargs=True)

    s.pipe_changes.append(skipped)


@fault("model", "noise is added to every prediction of the model")
def noisy_model(s: Setting, chance: random.Random) -> None:
    import torch

    generator = torch.Generator().manual_seed(chance.randrange(1000))
    output(s, lambda named, video, audio: (video + 0.7 * torch.randn(video.shape, generator=generator), audio))


@fault("model", "a cache gives the same output for half of the steps", "plain")
def stuck_cache(s: Setting, chance: random.Random) -> None:
    kept: list[Any] = []

    def cached(named: dict[str, Any], video: Any, audio: Any) -> tuple[Any, Any]:
        if float(level_told(named).max()) < 0.8:
            kept.append((video, audio))
            return kept[0][0], kept[0][1]
        return video, audio

    output(s, cached)


@fault("numbers", "values overflow to Inf and NaN inside the model below σ .6")
def overflow(s: Setting, chance: random.Random) -> None:
    def scaled(named: dict[str, Any], video: Any, audio: Any) -> tuple[Any, Any]:
        return ((video * 1e6).half().float(), audio) if float(level_told(named).max()) < 0.6 else (video, audio)

    output(s, scaled)


@fault("numbers", "the audio becomes NaN below σ .8")
def broken_audio(s: Setting, chance: random.Random) -> None:
    def broken(named: dict[str, Any], video: Any, audio: Any) -> tuple[Any, Any]:
        return video, audio * float("nan") if float(level_told(named).max()) < 0.8 else audio

    output(s, broken)


@fault("numbers", "values of one clip of the batch become NaN", "batch")
def broken_clip(s: Setting, chance: random.Random) -> None:
    def spoil(step: int, x: Any, setting: Setting) -> Any:
        x = x.clone()
        if step == setting.steps // 2:
            x[1, :50] = float("nan")
        return x

    s.between.append(spoil)


@fault("numbers", "the latents saturate: something clamps them to ±1 in every step")
def saturated(s: Setting, chance: random.Random) -> None:
    s.between.append(lambda step, x, setting: x.clamp(-1, 1))


@fault("between steps", "a callback adds noise to the latents")
def noise_between(s: Setting, chance: random.Random) -> None:
    import torch

    generator = torch.Generator().manual_seed(chance.randrange(1000))
    s.between.append(lambda step, x, setting: x + 0.15 * torch.randn(x.shape, generator=generator))


@fault("between steps", "a callback normalises the latents to unit power")
def normalised_between(s: Setting, chance: random.Random) -> None:
    s.between.append(lambda step, x, setting: x / x.std(dim=(1, 2), keepdim=True))


@fault("between steps", "a callback shrinks the latents once", *SIMPLE)
def shrunk_once(s: Setting, chance: random.Random) -> None:
    s.between.append(lambda step, x, setting: 0.85 * x if step == setting.steps // 2 else x)


@fault("between steps", "a callback mirrors the frames in the middle of the run")
def mirrored_between(s: Setting, chance: random.Random) -> None:
    def mirror(step: int, x: Any, setting: Setting) -> Any:
        if step != setting.steps // 2:
            return x
        return x.unflatten(1, grid_of(setting)).flip(3).flatten(1, 3)

    s.between.append(mirror)


@fault("between steps", "a callback exchanges the halves of the clip in the middle of the run")
def rolled_between(s: Setting, chance: random.Random) -> None:
    s.between.append(lambda step, x, setting: x.roll(x.shape[1] // 2, 1) if step == setting.steps // 2 else x)


@fault("between steps", "a callback changes one clip of the batch", "batch")
def one_clip_changed(s: Setting, chance: random.Random) -> None:
    def louder(step: int, x: Any, setting: Setting) -> Any:
        x = x.clone()
        x[1] *= 1.2 if setting.steps // 3 <= step <= setting.steps // 2 else 1
        return x

    s.between.append(louder)


def level_told(named: dict[str, Any]) -> Any:
    """The level that the model is told, [batch, tokens or 1, 1]."""
    told = named["timestep"]
    return (told / 1000).reshape(told.shape[0], -1, 1)
