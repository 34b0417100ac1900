"""Faults of results and recordings, made by hooks and callbacks."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.first_screens.faults import fault
from benchmarks.first_screens.faults_inside import FAULTS, UNGUIDED, level_told
from benchmarks.first_screens.setting import Setting
from recorder.format import paths

__all__ = ["FAULTS"]


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
            sigma = level_told(named)
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
            for chunk in sorted((path / paths.stream(0, "video") / name / paths.CHUNKS).rglob("*")):
                if chunk.is_file():
                    content = bytearray(chunk.read_bytes())
                    content[len(content) // 2] ^= 0xFF
                    chunk.write_bytes(bytes(content))

    s.after.append(spoil)
