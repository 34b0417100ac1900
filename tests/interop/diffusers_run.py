"""A recorded diffusers run of the nano model, and what its denoising began with: other codes repeat it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recorder import nano, record
from recorder.shocks.spec import Shock

if TYPE_CHECKING:
    import torch

SIZE = {"height": 192, "width": 224, "num_frames": 25}
GRID = (4, 6, 7)
STEPS = 8
RESTART = Shock("restart", at=0.93, strength_db=6.0, seed=11)
"""Of a run with a shock."""


@dataclass(frozen=True)
class Call:
    """What a diffusers call began with: tokens of noise, levels with the closing 0, contexts [unconditional, prompt].

    Without guidance the contexts hold the prompt alone.
    """

    video: torch.Tensor
    audio: torch.Tensor
    sigmas: torch.Tensor
    video_context: torch.Tensor
    audio_context: torch.Tensor


def recorded(
    pipe: Any, runs: Path, guidance: dict[str, Any], name: str = "diffusers", shocks: Sequence[Shock] = (), **more: Any
) -> tuple[Path, Call]:
    """A recorded diffusers run, and what its denoising began with; further arguments are those of the call."""
    import torch

    calls: list[dict[str, Any]] = []
    levels: list[torch.Tensor] = []

    def keep(_: Any, __: Any, arguments: dict[str, Any]) -> None:
        calls.append(arguments)
        levels.append(pipe.scheduler.sigmas.float().clone())

    hook = pipe.transformer.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        with record(pipe, runs_dir=runs, name=name, shocks=list(shocks)) as run:
            pipe(
                prompt="a red ball moving right",
                num_inference_steps=STEPS,
                generator=torch.Generator().manual_seed(5),
                output_type="latent",
                **{**SIZE, **nano.CALL, **guidance, **more},
            )
    finally:
        hook.remove()
    first = calls[0]
    return run.path, Call(
        first["hidden_states"][:1].float(),
        first["audio_hidden_states"][:1].float(),
        levels[0],
        first["encoder_hidden_states"],
        first["audio_encoder_hidden_states"],
    )
