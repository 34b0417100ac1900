"""Every LTX 2.x pipeline from nano components, and what the recorder hands on about a call of one."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from diffusers import ModularPipeline
from torch import Tensor

from recorder import record
from recorder.metrics.latent_layout import LatentLayout
from recorder.sampling.guidance_presets import UNGUIDED
from recorder.sampling.sampler_step import SamplerStep
from recorder.sampling.stages import Stages
from replay.sources.open import load

GRID = (5, 4, 5)
VIDEO_UNGUIDED = {k: v for k, v in UNGUIDED.items() if not k.startswith("audio")}
GUIDED: dict[str, Any] = {
    "guidance_scale": 3.0,
    "stg_scale": 1.0,
    "modality_scale": 3.0,
    "guidance_rescale": 0.7,
    "spatio_temporal_guidance_blocks": [2],
}
CALL: dict[str, Any] = {
    "prompt": "a red ball moving left",
    "height": 128,
    "width": 160,
    "num_frames": 33,
    "frame_rate": 24.0,
    "max_sequence_length": 16,
    "output_type": "latent",
}


def picture(seed: int = 0) -> PIL.Image.Image:
    """A picture of noise, of the size of the clip."""
    return PIL.Image.fromarray(np.random.default_rng(seed).integers(0, 255, (128, 160, 3), dtype=np.uint8))


def condition(index: int, strength: float = 1.0, seed: int = 0) -> Any:
    """A picture that is given as a frame; not compressed, so that no video codec is needed."""
    from diffusers.pipelines.ltx2 import LTX2VideoCondition

    return LTX2VideoCondition(frames=picture(seed), index=index, strength=strength, crf=0)


def build(nano_pipe: Any, name: str, **more: Any) -> Any:
    """A pipeline of this class from the nano components, with a scheduler of its own."""
    from diffusers.pipelines import ltx2

    from recorder.nano import components

    cls = getattr(ltx2, name)
    wanted = set(inspect.signature(cls.__init__).parameters)
    parts = {k: v for k, v in nano_pipe.components.items() if v is not None}
    parts |= {"scheduler": components.scheduler(), **more}
    pipe = cls(**{k: v for k, v in parts.items() if k in wanted})
    pipe.set_progress_bar_config(disable=True)
    return pipe


def modular(nano_pipe: Any, version: str = "LTX2", **more: Any) -> Any:
    """The modular blocks that choose their workflow by what they are given."""
    import diffusers.modular_pipelines.ltx2

    from recorder.nano import components

    blocks = getattr(diffusers.modular_pipelines.ltx2, f"{version}AutoBlocks")()
    pipe = blocks.init_pipeline()
    parts = {**nano_pipe.components, "scheduler": components.scheduler(), **more}
    names = {c.name for c in blocks.expected_components}
    pipe.update_components(**{k: v for k, v in parts.items() if v is not None and k in names})
    pipe.guider.spatio_temporal_guidance_blocks = [2]
    return pipe


def transformer(**more: Any) -> Any:
    """An untrained nano transformer with other flags."""
    from diffusers import LTX2VideoTransformer3DModel

    from recorder.nano import components

    torch.manual_seed(0)
    config = {k: v for k, v in components.transformer().config.items() if not k.startswith("_")}
    return LTX2VideoTransformer3DModel.from_config({**config, **more}).eval()


def generate(pipe: Any, seed: int = 0, **more: Any) -> tuple[Tensor, Tensor | None]:
    """Call a pipeline; video latents [B, C, F, H, W] and audio."""
    result = pipe(**{**CALL, "generator": torch.Generator().manual_seed(seed), **more})
    if isinstance(pipe, ModularPipeline):
        return result.values["videos"], result.values["audio"]
    return result.frames, result.audio


@dataclass
class Taken:
    """One row as it was handed to `Stages.step`."""

    stage: int
    tile: int | None
    layout: LatentLayout
    sigma: float
    sigma_next: float
    sample: Tensor
    velocity: Tensor
    result: Tensor
    passes: dict[str, Tensor]


@dataclass
class Observed:
    """A recorded call: what was handed on, what was generated, and the archive that was written."""

    rows: dict[str, list[Taken]]
    video: Tensor
    audio: Tensor | None
    events: list[dict[str, Any]] = field(default_factory=list)
    stages: list[Any] = field(default_factory=list)

    def errors(self) -> list[str]:
        return [e["text"] for e in self.events if e["kind"] == "error"]

    def last(self, stream: str = "video") -> Tensor:
        """The generated tokens after the last step, [B, F′, H, W, C] or [B, L, C]."""
        row = self.rows[stream][-1]
        return row.layout.on_grid(row.result)


def observe(
    make: Callable[[], Any], runs: Path, monkeypatch: pytest.MonkeyPatch, check_plain: bool = True, **call: Any
) -> Observed:
    """Generate with and without the recorder, compare bit by bit, and return what was recorded.

    Without a generator the global one is used, so this also shows that observing draws no random numbers.
    """
    plain = None
    if check_plain:
        torch.manual_seed(7)
        plain = generate(make(), **call)
    rows: dict[str, list[Taken]] = {"video": [], "audio": []}
    original = Stages.step

    def step(self: Stages, step: SamplerStep) -> None:
        stage = self.current
        assert stage is not None
        tensors = (step.sample.clone(), step.velocity.clone(), step.result.clone())
        copies = {k: p.clone() for k, p in step.passes.items()}
        taken = Taken(stage.index, stage.tile, step.layout, step.sigma, step.sigma_next, *tensors, copies)
        original(self, step)
        if step.sigma > 0:
            rows[step.layout.stream].append(taken)

    pipe = make()
    with monkeypatch.context() as patch:
        patch.setattr(Stages, "step", step)
        torch.manual_seed(7)
        with record(pipe, runs_dir=runs) as run:
            video, audio = generate(pipe, **call)
    if plain is not None:
        assert torch.equal(plain[0], video)
        assert (audio is None and plain[1] is None) or torch.equal(plain[1], audio)
    loaded = load(run.path)
    return Observed(rows, video, audio, loaded.events, loaded.stages)


def check_euler(rows: list[Taken]) -> None:
    """Sample, velocity, both noise levels and result of every row fit together, and each row follows the last."""
    for row in rows:
        expected = row.sample + (row.sigma_next - row.sigma) * row.velocity
        torch.testing.assert_close(row.result, expected, rtol=1e-4, atol=1e-5)
    for before, after in itertools.pairwise(rows):
        if before.stage == after.stage:
            torch.testing.assert_close(before.result, after.sample, rtol=1e-5, atol=1e-5)
            assert before.sigma_next == after.sigma


def check_unguided(rows: list[Taken]) -> None:
    """Without guidance the velocity of the step is the model's own, wherever a token is not conditioned."""
    for row in rows:
        assert set(row.passes) == {"conditional"}
        torch.testing.assert_close(row.passes["conditional"], row.velocity, rtol=1e-3, atol=1e-4)


def check_result(observed: Observed, pipe: Any) -> None:
    """The last row's tokens are the generated frames of the clip that came out, in their places."""
    mean, std = pipe.vae.latents_mean, pipe.vae.latents_std
    clip = (observed.video - mean.view(1, -1, 1, 1, 1)) / std.view(1, -1, 1, 1, 1)
    places = list(observed.rows["video"][-1].layout.generated_frames)
    torch.testing.assert_close(observed.last(), clip.movedim(1, -1)[:, places], rtol=1e-4, atol=1e-4)
