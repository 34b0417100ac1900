"""What is given to a denoising loop: frames, which must stay what they are, and latents to begin with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from recorder.metrics.spectra import mean_square, mean_square_
from recorder.sampling.tokens import Frames, runs


@dataclass
class GivenFrames:
    """Compares the given frames of every model call with those of the first one; never waits for the device.

    `frames` are the latent frames that are given entirely, on a `grid` (F, H, W) that the sequence begins with. One
    copy of them is kept while the loop runs.
    """

    frames: Frames = ()
    grid: tuple[int, ...] = ()
    _first: Tensor | None = field(default=None, repr=False)
    _change: Tensor | None = field(default=None, repr=False)

    def look(self, hidden: Tensor) -> None:
        """Take in the packed latents [B, S, C] that the model is called with; with guidance B may be doubled."""
        if not self.frames or hidden.ndim != 3 or hidden.shape[1] < math.prod(self.grid):
            return
        each = math.prod(self.grid[1:])
        with torch.no_grad():
            given = torch.cat([hidden[:, a * each : b * each] for a, b in runs(self.frames)], dim=1).float()
            if self._first is None:
                self._first = given
            batch = min(len(given), len(self._first))
            first = self._first[-batch:]
            moved = mean_square_(given[-batch:] - first)
            self._change = (moved / mean_square(first).clamp_(min=1e-12)).sqrt_()

    def change(self, batch: int) -> Tensor | None:
        """√mean((g − g_1)²) / √mean(g_1²) of the last call [batch]; None without given frames or calls."""
        found = self._change
        return found[-batch:] if found is not None and len(found) >= batch else None


def given_std(latents: Mapping[str, Any]) -> dict[str, float]:
    """Standard deviations of given latents by their names. Waits for the device: for the time before a loop."""
    tensors = {name: value for name, value in latents.items() if isinstance(value, Tensor) and value.numel() > 1}
    found = {name: float(value.detach().float().std()) for name, value in tensors.items()}
    return {name: std for name, std in found.items() if math.isfinite(std)}
