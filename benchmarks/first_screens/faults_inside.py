"""Faults of the model, between its steps, of numbers, results and recordings, made by hooks and callbacks."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks.first_screens.faults import FAULTS, SIMPLE, fault, grid_of
from benchmarks.first_screens.setting import Setting

__all__ = ["FAULTS"]
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
        x, sigma = named["hidden_states"], _sigma(named)
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
        if float(_sigma(named).max()) < 0.8:
            kept.append((video, audio))
            return kept[0][0], kept[0][1]
        return video, audio

    output(s, cached)


@fault("numbers", "values overflow to Inf and NaN inside the model below σ .6")
def overflow(s: Setting, chance: random.Random) -> None:
    def scaled(named: dict[str, Any], video: Any, audio: Any) -> tuple[Any, Any]:
        return ((video * 1e6).half().float(), audio) if float(_sigma(named).max()) < 0.6 else (video, audio)

    output(s, scaled)


@fault("numbers", "the audio becomes NaN below σ .8")
def broken_audio(s: Setting, chance: random.Random) -> None:
    def broken(named: dict[str, Any], video: Any, audio: Any) -> tuple[Any, Any]:
        return video, audio * float("nan") if float(_sigma(named).max()) < 0.8 else audio

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


def _sigma(named: dict[str, Any]) -> Any:
    """The level that the model is told, [batch, tokens or 1, 1]."""
    told = named["timestep"]
    return (told / 1000).reshape(told.shape[0], -1, 1)


def result(s: Setting, edit: Callable[[Any, Any], Any]) -> None:
    """Draw the predicted clip to another one, the more the lower σ is.

    The other clip is `edit(x0, x0 of another prompt)`, each [batch, frames, height, width, channels].
    """
    s.call["num_frames"] = 65

    def hooked(pipe: Any) -> None:
        quiet = {"callback_on_step_end": None}
        own = pipe(**s.arguments(**quiet)).frames
        seed, s.seed = s.seed, s.seed + 1
        other = pipe(**s.arguments(prompt="a white cross moving up", **quiet)).frames
        s.seed = seed
        own, other = (x.movedim(1, -1) for x in (own, other))
        mean, std = pipe.vae.latents_mean, pipe.vae.latents_std
        target = edit((own - mean) / std, (other - mean) / std).flatten(1, 3)

        def hook(module: Any, given: Any, named: dict[str, Any], out: Any) -> Any:
            sigma = _sigma(named)
            x0 = named["hidden_states"] - sigma * out[0]
            share = 0.95 * ((0.95 - sigma) / 0.55).clamp(0, 1)
            return (named["hidden_states"] - x0 - share * (target - x0)) / sigma, out[1]

        pipe.transformer.register_forward_hook(hook, with_kwargs=True)

    s.pipe_changes.append(hooked)


@fault("result", "from one frame on the clip shows another scene: a hard cut", *UNGUIDED)
def other_scene(s: Setting, chance: random.Random) -> None:
    at = chance.choice((3, 4, 5))

    def cut(own: Any, other: Any) -> Any:
        own = own.clone()
        own[:, at:] = other[:, at:]
        return own

    result(s, cut)


@fault("result", "the clip fades from frame to frame", *UNGUIDED)
def fading(s: Setting, chance: random.Random) -> None:
    import torch

    result(s, lambda own, other: own * torch.linspace(1, 0.1, own.shape[1])[None, :, None, None, None])


@fault("result", "every other frame is taken from another scene: flicker", *UNGUIDED)
def flickering(s: Setting, chance: random.Random) -> None:
    def flicker(own: Any, other: Any) -> Any:
        own = own[:, 2:3].repeat(1, own.shape[1], 1, 1, 1)
        own[:, 1::2] = own[:, 1::2] + 0.6 * other[:, 2:3]
        return own

    result(s, flicker)


@fault("result", "the clip is frozen: every frame is the same", *UNGUIDED)
def frozen(s: Setting, chance: random.Random) -> None:
    result(s, lambda own, other: own[:, 2:3].expand_as(own))


@fault("result", "the last frames repeat one frame, while the others move", *UNGUIDED)
def frozen_end(s: Setting, chance: random.Random) -> None:
    def hold(own: Any, other: Any) -> Any:
        own = own.clone()
        own[:, 5:] = own[:, 5:6]
        return own

    result(s, hold)


@fault("result", "noise is left in the finished clip", *UNGUIDED)
def grainy(s: Setting, chance: random.Random) -> None:
    import torch

    generator = torch.Generator().manual_seed(chance.randrange(1000))
    result(s, lambda own, other: own + 0.6 * torch.randn(own.shape, generator=generator))


@fault("result", "the clip is burned: its contrast is twice what it should be", *UNGUIDED)
def burned(s: Setting, chance: random.Random) -> None:
    result(s, lambda own, other: 2 * own)


@fault("result", "the clip is empty: nothing but the mean of every channel", *UNGUIDED)
def empty(s: Setting, chance: random.Random) -> None:
    result(s, lambda own, other: 0.02 * own)


@fault("recording", "the pipeline raises an error in the middle of the run")
def failing(s: Setting, chance: random.Random) -> None:
    _raises(s, RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"))


@fault("recording", "the run is interrupted in its middle")
def interrupted(s: Setting, chance: random.Random) -> None:
    _raises(s, KeyboardInterrupt())


def _raises(s: Setting, error: BaseException) -> None:
    def stop(step: int, x: Any, setting: Setting) -> Any:
        if step == setting.steps // 2:
            raise error
        return x

    s.between.append(stop)


@fault("recording", "the recorder's process is killed in the middle of the run")
def killed(s: Setting, chance: random.Random) -> None:
    from recorder.format.locations import journal_of

    def keep(step: int, x: Any, setting: Setting) -> Any:
        path = Path(setting.recording.path)
        if step == setting.steps // 2:
            shutil.copy(journal_of(path), path.with_suffix(".kept"))
        return x

    def leave(path: Path) -> None:
        shutil.rmtree(path)
        path.with_suffix(".kept").rename(journal_of(path))

    s.between.append(keep)
    s.after.append(leave)


@fault("recording", "some steps cannot be measured, so their rows are missing")
def rows_missing(s: Setting, chance: random.Random) -> None:
    first, calls = chance.randrange(3, 6), [0]

    @contextmanager
    def patched() -> Iterator[None]:
        from recorder.metrics.measures import MEASURES

        real = MEASURES["mean"]

        def sometimes(step: Any) -> Any:
            calls[0] += 1
            if first <= calls[0] < first + 4:
                raise RuntimeError("out of memory")
            return real(step)

        MEASURES["mean"] = sometimes
        try:
            yield
        finally:
            MEASURES["mean"] = real

    s.around.append(patched)


@fault("recording", "a file of the archive is damaged on the disk")
def damaged(s: Setting, chance: random.Random) -> None:
    def spoil(path: Path) -> None:
        for name in ("velocity_rms", "sigma"):
            for chunk in sorted((path / "stage_0" / "video" / name / "c").rglob("*")):
                if chunk.is_file():
                    content = bytearray(chunk.read_bytes())
                    content[len(content) // 2] ^= 0xFF
                    chunk.write_bytes(bytes(content))

    s.after.append(spoil)
