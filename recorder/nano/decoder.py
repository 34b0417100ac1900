"""Training the nano model's video decoder on pieces of drawn clips, so that generated latents can be seen as pixels."""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from diffusers import LTX2Pipeline
from tqdm import tqdm

from recorder.nano import clips

GRIDS = ((4, (3, 4, 4)), (5, (2, 4, 5)), (3, (3, 5, 4)))
"""Pieces a step, and latent grid (frames, rows, columns) of each, that the decoder is trained on in turn."""
RATE = 4e-3


def train(pipe: LTX2Pipeline, minutes: float, seed: int) -> None:
    """Train the video decoder in place for a fixed time (mean absolute error of the pixels)."""
    decoder = pipe.vae.decoder.train().requires_grad_(True)
    optimiser = torch.optim.AdamW(decoder.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.0)
    rng = np.random.default_rng(seed)
    prompts = clips.all_prompts()
    start, step, smooth = time.monotonic(), 0, float("nan")
    with tqdm(total=round(minutes * 60), unit="s", desc="decoder") as bar:
        while (elapsed := time.monotonic() - start) < minutes * 60:
            pace = min(1.0, (step + 1) / 20) * min(1.0, 0.02 + (1 - elapsed / (minutes * 60)) / 0.5)
            for group in optimiser.param_groups:
                group["lr"] = RATE * pace
            # Several small pieces a step: the colour of a single one would pull the whole picture its way.
            count, grid = GRIDS[step % len(GRIDS)]
            drawn = [
                clips.draw_pixels(prompts[int(rng.integers(len(prompts)))], int(rng.integers(2**31)), *grid)
                for _ in range(count)
            ]
            latents, pixels = (torch.from_numpy(np.stack(part)) for part in zip(*drawn, strict=True))
            loss = (pipe.vae.decode(latents, return_dict=False)[0] - pixels).abs().mean()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(decoder.parameters(), 1.0)
            optimiser.step()
            step += 1
            smooth = loss.item() if math.isnan(smooth) else 0.95 * smooth + 0.05 * loss.item()
            bar.n = min(bar.total, round(elapsed))
            bar.set_postfix(step=step, loss=f"{smooth:.3f}")
    decoder.eval().requires_grad_(False)
