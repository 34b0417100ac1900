"""Rectified flow on the nano model's clips: batches, noise levels and the velocity error.

Rectified flow (Liu et al., 2209.03003): x = (1−σ)·x0 + σ·ε, the target is the velocity ε − x0, one σ per clip shared
by video and audio. σ is drawn uniformly and shifted towards 1, where the layout of a clip is decided.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
import torch
from diffusers import LTX2Pipeline
from diffusers.models.transformers import transformer_ltx2

from recorder import nano
from recorder.nano import clips, components, sound

Grid = tuple[int, int, int]
"""Latent frames, rows and columns."""

EMPTY_PROMPT_SHARE = 0.15
"""Share of the clips whose prompt is left out, so that classifier-free guidance has something to subtract."""
ISOLATED_SHARE = 0.15
"""Share of the batches in which the streams do not hear each other: the weak pass of modality guidance."""
PERTURBED_SHARE = 0.1
"""Share of the batches without the self-attention of one block: the weak pass of spatio-temporal guidance."""
SHIFT = 3.0
"""How far noise levels are shifted towards 1."""


class Conditioning:
    """Frozen text-encoder states of every prompt and of the empty one, so that training never runs Gemma."""

    def __init__(self, pipe: LTX2Pipeline) -> None:
        prompts = [*clips.all_prompts(), ""]
        with torch.no_grad():
            states, mask, _, _ = pipe.encode_prompt(
                prompts, do_classifier_free_guidance=False, max_sequence_length=components.TEXT_LENGTH
            )
        self.states, self.mask = states, mask
        self.row = {p: i for i, p in enumerate(prompts)}

    def __call__(self, pipe: LTX2Pipeline, prompts: list[str]) -> tuple[torch.Tensor, ...]:
        rows = [self.row[p] for p in prompts]
        text: tuple[torch.Tensor, ...] = pipe.connectors(self.states[rows], self.mask[rows], padding_side="left")
        return text


@dataclass(frozen=True)
class Batch:
    """Clips of one grid with their noise: video tokens [B, F·H·W, 8], audio tokens [B, L, 128], σ [B]."""

    grid: Grid
    prompts: list[str]
    video: torch.Tensor
    audio: torch.Tensor
    video_noise: torch.Tensor
    audio_noise: torch.Tensor
    sigma: torch.Tensor


def draw_batch(
    grid: Grid, size: int, seed: int, step: int, sigma: float | None = None, cross_share: float = 1 / 3
) -> Batch:
    """The batch of a step: seed and step alone decide it, so that a training can stop and continue anywhere.

    `cross_share` is the share of crosses among the clips.
    """
    rng = np.random.default_rng([seed, step])
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    prompts = clips.all_prompts()
    crosses = np.array([" cross " in p for p in prompts])
    weights = np.where(crosses, cross_share / crosses.sum(), (1 - cross_share) / (~crosses).sum())
    chosen = [prompts[i] for i in rng.choice(len(prompts), size=size, p=weights)]
    drawn = [clips.draw(p, int(rng.integers(2**31)), *grid) for p in chosen]
    video = torch.from_numpy(np.stack([c.video for c in drawn])).flatten(2).transpose(1, 2).contiguous()
    audio = torch.from_numpy(np.stack([c.audio for c in drawn]))
    levels = draw_sigmas(size, SHIFT, generator) if sigma is None else torch.full((size,), sigma)
    return Batch(
        grid,
        [p if rng.random() > EMPTY_PROMPT_SHARE else "" for p in chosen],
        video,
        audio,
        torch.randn(video.shape, generator=generator),
        torch.randn(audio.shape, generator=generator),
        levels,
    )


def draw_sigmas(batch: int, shift: float, generator: torch.Generator) -> torch.Tensor:
    """One σ per clip: stratified over (0, 1), then shifted towards 1."""
    u = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch
    return shift * u / (1 + (shift - 1) * u)


def draw_pass(seed: int, step: int) -> dict[str, Any]:
    """How the transformer is called in a step: plainly, or as one of the weak passes of guidance, by their shares.

    Guidance extrapolates from the weak passes. What an untrained one leaves of the noise, it multiplies.
    """
    # The batch of the step is drawn from [seed, step].
    u = np.random.default_rng([seed, step, 1]).random()
    if u < ISOLATED_SHARE:
        return {"isolate_modalities": True}
    if u < ISOLATED_SHARE + PERTURBED_SHARE:
        return {"spatio_temporal_guidance_blocks": nano.CALL["spatio_temporal_guidance_blocks"]}
    return {}


PLAIN: Mapping[str, Any] = {}


def velocities(
    pipe: LTX2Pipeline, conditioning: Conditioning, batch: Batch, how: Mapping[str, Any] = PLAIN
) -> tuple[torch.Tensor, torch.Tensor]:
    """Predicted velocities of video and audio tokens, as a batch holds them, at one noise level per clip.

    `how` is what `draw_pass` gives.
    """
    s = batch.sigma[:, None, None]
    text_v, text_a, mask = conditioning(pipe, batch.prompts)
    frames, height, width = batch.grid
    video, audio = pipe.transformer(
        hidden_states=(1 - s) * batch.video + s * batch.video_noise,
        audio_hidden_states=(1 - s) * batch.audio + s * batch.audio_noise,
        encoder_hidden_states=text_v,
        audio_encoder_hidden_states=text_a,
        timestep=batch.sigma * 1000,
        sigma=batch.sigma * 1000,
        encoder_attention_mask=mask,
        audio_encoder_attention_mask=mask,
        num_frames=frames,
        height=height,
        width=width,
        fps=clips.FRAME_RATE,
        audio_num_frames=batch.audio.shape[1],
        use_cross_timestep=True,
        return_dict=False,
        **how,
    )
    return video, audio


def velocity_errors(
    pipe: LTX2Pipeline, conditioning: Conditioning, batch: Batch, how: Mapping[str, Any] = PLAIN
) -> tuple[torch.Tensor, ...]:
    """Squared velocity error of video, of audio, and of the audio's place, [B] each.

    The place is 4 of an audio token's 128 numbers, and what follows from the direction word is lost among them. A
    weight of its own does not change what is best, since a mean square is least at the same velocity in any weighting.
    """
    video, audio = velocities(pipe, conditioning, batch, how)
    off_video, off_audio = video - (batch.video_noise - batch.video), audio - (batch.audio_noise - batch.audio)
    off_place = off_audio @ torch.from_numpy(sound.place_spectra())
    return tuple(off.square().mean(dim=(1, 2)) for off in (off_video, off_audio, off_place))


def report(pipe: LTX2Pipeline, count: int = 24) -> dict[float, float]:
    """Mean squared velocity error of the video stream at a few noise levels, on home-size clips not trained on."""
    conditioning = Conditioning(pipe)
    found: dict[float, float] = {}
    with torch.no_grad():
        for level in (0.95, 0.8, 0.5, 0.2):
            batches = (draw_batch(clips.HOME_GRID, 4, 10**6, step, level) for step in range(count // 4))
            errors = [velocity_errors(pipe, conditioning, batch)[0].mean() for batch in batches]
            found[level] = float(torch.stack(errors).mean())
    return found


@contextmanager
def quick_rotation() -> Iterator[None]:
    """Rotary embedding in two products instead of slices written in place, whose gradients cost a tenth of a step."""
    tables: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}

    def rotate(x: torch.Tensor, freqs: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        cos, sin = freqs
        batch, heads, tokens, _ = cos.shape
        found = tables.get(id(cos))
        if found is None or found[0] is not cos:
            if len(tables) >= 8:  # those of steps before
                tables.clear()
            # The same in every clip of the batch: [1, tokens, heads · 2 · half].
            both = [torch.cat(pair, -1)[:1].transpose(1, 2).flatten(2) for pair in ((cos, cos), (-sin, sin))]
            found = tables[id(cos)] = (cos, both[0], both[1])
        swapped = x.view(batch, tokens, heads, 2, -1).flip(3).reshape(x.shape)
        return x * found[1] + swapped * found[2]

    with mock.patch.object(transformer_ltx2, "apply_split_rotary_emb", rotate):
        yield
