"""Training the nano model's transformer and text connectors, in pieces: a training can stop and continue anywhere."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import LTX2Pipeline

from recorder.nano import flow
from recorder.nano.timed_training import TimedTraining, advance_until

SHORT: tuple[tuple[flow.Grid, int], ...] = (((3, 10, 12), 6), ((5, 10, 12), 4), ((4, 8, 8), 6))
"""Grids and batch sizes, in turn, of the first part of a training: attention over a few frames costs little."""
LONG: tuple[tuple[flow.Grid, int], ...] = (((9, 10, 12), 4), ((5, 10, 12), 4), ((9, 10, 12), 4), ((9, 8, 8), 4))
"""Those of the rest; the first is the home size."""
DECAY_SHARE = 0.4
"""The rate is held, then decays over this last share of the time."""
AUDIO_WEIGHT = 0.25
KEPT_SHARES = (0.05, 0.15, 0.4)
"""Shares of the time after which the average so far is kept: models that drift more than the finished one."""


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how fast to train: `rate` is AdamW's, `matrix_rate` Muon's."""

    minutes: float
    rate: float
    matrix_rate: float
    seed: int
    short_share: float
    """Share of the time that goes to clips of a few frames at the beginning."""
    cross_share: float = 1 / 3
    """Share of crosses among the clips, the shape that is learned last."""


def is_matrix_of_the_video(name: str, parameter: torch.Tensor) -> bool:
    """Whether Muon trains it: weights of the blocks through which video tokens pass.

    Muon (orthogonalised momentum) needs fewer steps than AdamW, and costs matrix products of its own: where many
    tokens share a matrix they are hardly felt, but those of the wide audio part would take longer than the few audio
    tokens do.
    """
    audio_only = ".audio_ff" in name or ".audio_attn" in name
    return "transformer_blocks" in name and parameter.ndim == 2 and min(parameter.shape) > 9 and not audio_only


class Training(TimedTraining):
    """Modules, their moving average and optimisers, and how far a training has come."""

    def __init__(self, pipe: LTX2Pipeline, plan: TrainingPlan) -> None:
        super().__init__(plan.minutes)
        self.pipe, self.plan = pipe, plan
        self.conditioning = flow.Conditioning(pipe)
        self.modules = torch.nn.ModuleList([pipe.transformer, pipe.connectors]).train().requires_grad_(True)
        self.average = copy.deepcopy(self.modules).requires_grad_(False)
        named = [(n, p) for n, p in self.modules.named_parameters()]
        matrices = [p for n, p in named if is_matrix_of_the_video(n, p)]
        others = [p for n, p in named if not is_matrix_of_the_video(n, p)]
        self.optimisers: list[tuple[torch.optim.Optimizer, float]] = [
            (torch.optim.AdamW(others, lr=plan.rate, betas=(0.9, 0.99), weight_decay=0.01), plan.rate),
            (
                torch.optim.Muon(
                    matrices, lr=plan.matrix_rate, weight_decay=0.01, momentum=0.95, adjust_lr_fn="match_rms_adamw"
                ),
                plan.matrix_rate,
            ),
        ]

    def state(self) -> dict[str, Any]:
        """Weights, their average and the optimisers."""
        return {
            "modules": self.modules.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": [o.state_dict() for o, _ in self.optimisers],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self.modules.load_state_dict(state["modules"])
        self.average.load_state_dict(state["average"])
        for (optimiser, _), saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)

    def averaged(self) -> Iterator[tuple[torch.nn.Module, torch.nn.Module]]:
        """Each module of the pipeline with its average."""
        return zip(self.modules, self.average, strict=True)

    def advance(self) -> None:
        """One step."""
        pace = self.pace(100, DECAY_SHARE)
        for optimiser, rate in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = rate * pace
        table = SHORT if self.progress < self.plan.short_share else LONG
        grid, size = table[self.step % len(table)]
        video, audio, place = flow.velocity_errors(
            self.pipe,
            self.conditioning,
            flow.draw_batch(grid, size, self.plan.seed, self.step, cross_share=self.plan.cross_share),
            flow.draw_pass(self.plan.seed, self.step),
        )
        loss = video.mean() + AUDIO_WEIGHT * (audio.mean() + place.mean())
        self.modules.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.modules.parameters(), 1.0)
        for optimiser, _ in self.optimisers:
            optimiser.step()
        keep = min(0.998, self.step / (self.step + 50))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.modules.parameters()), 1 - keep)
        self.count(loss)


def train(training: Training, state: Path | None, until: float, keep: Callable[[float], None]) -> None:
    """Train in place up to a share of the planned time, and leave the average in the pipeline once it is all over.

    `state` is written every ten minutes and at the end; `keep` is called as each of KEPT_SHARES passes, with the
    average in the pipeline.
    """

    def passed(before: float, after: float) -> None:
        for share in KEPT_SHARES:
            if before < share <= after:
                with averages_in(training):
                    keep(share)

    with flow.quick_rotation():
        advance_until(training, until, "denoiser", state, passed)
    for module, average in training.averaged():
        module.load_state_dict(average.state_dict())
        module.eval().requires_grad_(False)


@contextmanager
def averages_in(training: Training) -> Iterator[None]:
    """The average in the pipeline's place for as long as the block lasts."""
    own = {name: value.clone() for name, value in training.modules.state_dict().items()}
    training.modules.load_state_dict(training.average.state_dict())
    try:
        yield
    finally:
        training.modules.load_state_dict(own)
