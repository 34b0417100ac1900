"""Distillation: the sound learns to bring into the picture what the sound of the first nano brought.

In the first nano the direction word acts through the sound, whose tokens were four numbers: sines and cosines of the
shape's place. The video part of a model that begins with its weights (`start`) fits that sound, so the lesson is known
block by block: the output of the attention to the sound. The audio weights alone learn it, as the squared error
relative to the teacher's power, together with the velocity of their own stream. During this training the video stream
continues with the teacher's output, so that every block gets the input it has once all blocks have learned.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import LTX2Pipeline

from recorder.nano import denoiser, flow, sound
from recorder.nano.timed_training import TimedTraining, advance_until

RATE = 2e-3
DECAY_SHARE = 0.5
GRIDS: tuple[tuple[flow.Grid, int], ...] = (((9, 10, 12), 3), ((5, 10, 12), 4), ((9, 10, 12), 3), ((9, 8, 8), 4))
"""Grids and batch sizes, in turn."""
OTHER_CLIPS = 77
"""Added to the seed, so that the training that follows draws other clips."""
TEACHER_GAIN = 1.4
"""How loud the sound of the first nano held the shape's place."""


class NotATeacher(ValueError):
    """A model that is not of the first nano's kind."""


def load_teacher(folder: Path) -> LTX2Pipeline:
    """The first nano. Raises NotATeacher for any other model."""
    pipe = LTX2Pipeline.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    found = pipe.transformer.config.audio_in_channels
    if found != sound.PLACES:
        raise NotATeacher(
            f"{folder} is not the first nano: an audio token has {found} numbers, not {sound.PLACES}; see docs/nano.md"
        )
    for part in (pipe.transformer, pipe.connectors):
        part.eval().requires_grad_(False)
    return pipe


def as_the_teacher_hears(batch: flow.Batch) -> flow.Batch:
    """The same clips and noise with the audio tokens of the first nano, [B, L, 4]."""
    spectra = torch.from_numpy(sound.place_spectra())
    gain = TEACHER_GAIN / torch.from_numpy(sound.place_strengths())
    return replace(batch, audio=batch.audio @ spectra * gain, audio_noise=batch.audio_noise @ spectra)


class Distillation(TimedTraining):
    """The audio weights of a pipeline and their teacher. `unlearned` is the smoothed relative error of each block."""

    def __init__(self, pipe: LTX2Pipeline, teacher: LTX2Pipeline, minutes: float, seed: int) -> None:
        super().__init__(minutes)
        self.pipe, self.teacher, self.seed = pipe, teacher, seed
        self.conditioning, self.teacher_conditioning = flow.Conditioning(pipe), flow.Conditioning(teacher)
        self.modules = torch.nn.ModuleList([pipe.transformer, pipe.connectors]).train()
        for name, parameter in self.modules.named_parameters():
            parameter.requires_grad_("audio" in name)
        self.trained = [p for p in self.modules.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(self.trained, lr=RATE, betas=(0.9, 0.99), weight_decay=0.01)
        self.unlearned = torch.ones(len(pipe.transformer.transformer_blocks))
        self._own: dict[int, torch.Tensor] = {}
        self._taught: dict[int, torch.Tensor] = {}

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Let the video stream go on with the teacher's sound for as long as the block lasts."""
        hooks = []
        for model, seen in ((self.teacher, self._taught), (self.pipe, self._own)):
            for i, block in enumerate(model.transformer.transformer_blocks):

                def keep(_: Any, __: Any, out: torch.Tensor, i: int = i, seen: dict[int, torch.Tensor] = seen) -> Any:
                    seen[i] = out
                    return self._taught[i]

                hooks.append(block.audio_to_video_attn.register_forward_hook(keep))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def advance(self) -> None:
        """One step; only inside `listening`."""
        for group in self.optimiser.param_groups:
            group["lr"] = RATE * self.pace(50, DECAY_SHARE)
        grid, size = GRIDS[self.step % len(GRIDS)]
        batch = flow.draw_batch(grid, size, self.seed + OTHER_CLIPS, self.step)
        with torch.no_grad():
            flow.velocities(self.teacher, self.teacher_conditioning, as_the_teacher_hears(batch))
        _, audio, place = flow.velocity_errors(self.pipe, self.conditioning, batch)
        errors = torch.stack([_relative(self._own[i], self._taught[i]) for i in sorted(self._own)])
        loss = errors.mean() + denoiser.AUDIO_WEIGHT * (audio.mean() + place.mean())
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.optimiser.step()
        self.unlearned = self.unlearned.lerp(errors.detach(), max(0.02, 1 / (self.step + 1)))
        self.count(loss)

    def state(self) -> dict[str, Any]:
        """Weights, optimiser and errors."""
        return {
            "modules": self.modules.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "unlearned": self.unlearned,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        self.modules.load_state_dict(state["modules"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.unlearned = state["unlearned"]


def _relative(own: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
    # A block through which no sound passes has nothing to teach, and must not divide by nothing.
    return (own - taught).square().mean() / (taught.square().mean() + 1e-6)


def distil(pipe: LTX2Pipeline, teacher: LTX2Pipeline, minutes: float, seed: int, state: Path | None) -> Distillation:
    """Teach a pipeline that begins with the teacher's weights, in place; it continues from `state` if that exists."""
    training = Distillation(pipe, teacher, minutes, seed)
    if state and state.exists():
        training.load(state)
    with flow.quick_rotation(), training.listening():
        advance_until(training, 1.0, "distillation", state)
    training.modules.eval().requires_grad_(False)
    return training
