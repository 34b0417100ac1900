"""What is known of a sampling when it begins, and its evaluations until their step is reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from recorder.runners.comfyui.latents import LatentShapes
from recorder.runners.evaluation import DriftRule


@dataclass(frozen=True)
class Sampled:
    """What is known of a sampling when it begins.

    Attributes:
        levels: the sampler's list of levels, with the closing one.
        follows: whether the sampler's steps are those of the list. Others choose their levels between its first one and
            its lowest one above 0, and end there.
        shapes: those of its latents.
        free: 1 − conditioning strength in the shape of the latents; None without a mask.
        metadata: kept with the stage.
        cautions: warnings that the stage begins with.
        drift: the sampler's step without its own noise.
        guidance_scale: of classifier-free guidance; NaN if it is not known.
    """

    levels: tuple[float, ...]
    follows: bool
    shapes: LatentShapes
    free: Tensor | None
    metadata: Mapping[str, Any]
    cautions: tuple[str, ...]
    drift: DriftRule
    guidance_scale: float


@dataclass
class WaitingEvaluation:
    """An evaluation whose step is not reported yet. Copies: samplers may write to their latents meanwhile."""

    sigma: float
    sample: Tensor
    x0: Tensor
    passes: dict[str, Tensor] = field(default_factory=dict)
