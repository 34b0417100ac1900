"""Training for a planned time: the schedule follows the clock, and a training can stop and continue anywhere."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

SAVE_SECONDS = 600.0
LONGEST_STEP_SECONDS = 20.0
"""A step that takes longer by the clock was suspended meanwhile; the rest is not counted as training."""


class TimedTraining(ABC):
    """A training that takes a given number of minutes, and its progress."""

    def __init__(self, minutes: float) -> None:
        self.minutes = minutes
        self.step, self.seconds, self.loss = 0, 0.0, math.nan

    @property
    def progress(self) -> float:
        """The share of the planned time that has passed."""
        return self.seconds / (self.minutes * 60)

    @abstractmethod
    def advance(self) -> None:
        """One step, ended by `count`."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Weights and optimisers, as `torch.save` writes them."""

    @abstractmethod
    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""

    def pace(self, warmup: int, decay_share: float) -> float:
        """Share of the peak rate: it rises over `warmup` steps, is held, and falls over the last share of the time."""
        return min(1.0, (self.step + 1) / warmup) * min(1.0, 0.02 + (1 - self.progress) / decay_share)

    def count(self, loss: torch.Tensor) -> None:
        """Count a step, and smooth its loss."""
        self.step += 1
        self.loss = loss.item() if math.isnan(self.loss) else 0.98 * self.loss + 0.02 * loss.item()

    def save(self, path: Path) -> None:
        """Everything needed to continue, written whole or not at all."""
        state = {**self.state(), "step": self.step, "seconds": self.seconds, "loss": self.loss}
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        torch.save(state, part)
        part.replace(path)

    def load(self, path: Path) -> None:
        """Continue from what `save` wrote."""
        state: dict[str, Any] = torch.load(path, weights_only=True)
        self.restore(state)
        self.step, self.seconds, self.loss = state["step"], state["seconds"], state["loss"]


def advance_until(
    training: TimedTraining,
    until: float,
    name: str,
    state: Path | None = None,
    passed: Callable[[float, float], None] | None = None,
) -> None:
    """Train up to a share of the planned time, with a bar of this name.

    `state` is written every ten minutes and at the end. After each step `passed` is called with the progress before
    and after it.
    """
    before, saved = time.monotonic(), training.seconds
    with tqdm(total=round(training.minutes * 60), unit="s", desc=name) as bar:
        while training.progress < until:
            training.advance()
            now = time.monotonic()
            reached = training.progress
            training.seconds, before = training.seconds + min(now - before, LONGEST_STEP_SECONDS), now
            if passed is not None:
                passed(reached, training.progress)
            if state and training.seconds - saved > SAVE_SECONDS:
                training.save(state)
                saved = training.seconds
            bar.n = min(bar.total, round(training.seconds))
            bar.set_postfix(step=training.step, loss=f"{training.loss:.3f}")
    if state:
        training.save(state)
