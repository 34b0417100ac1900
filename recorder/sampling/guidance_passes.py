"""The model's raw velocities of one step, pass by pass: conditional, unconditional, perturbed, isolated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from recorder.format import protocol
from recorder.metrics.latent_layout import LatentLayout
from recorder.sampling.tokens import take


def kind_of(arguments: Mapping[str, Any]) -> str:
    """The kind of a model call by its arguments: `stg`, `modality`, or `plain` (with or without a prompt)."""
    if arguments.get("spatio_temporal_guidance_blocks"):
        return "stg"
    return "modality" if arguments.get("isolate_modalities") else "plain"


def outputs_of(result: Any) -> dict[str, Tensor]:
    """The velocities in the result of a transformer, by stream: video first, as in `STREAMS`."""
    pair = result if isinstance(result, tuple) else (result.sample, result.audio_sample)
    return {stream: value for stream, value in zip(protocol.STREAMS, pair, strict=False) if isinstance(value, Tensor)}


def named(plain: list[Tensor], batch: int) -> dict[str, Tensor]:
    """Plain calls as `conditional` and `cfg` (the unconditional one); empty if they cannot be distinguished.

    The pipelines put both into one batch, without a prompt first; the modular blocks make two calls, with the prompt
    first.
    """
    sizes = [p.shape[0] for p in plain]
    if sizes == [batch]:
        return {"conditional": plain[0]}
    if sizes == [2 * batch]:
        without, prompted = plain[0].chunk(2)
        return {"conditional": prompted, "cfg": without}
    if sizes == [batch, batch]:
        return {"conditional": plain[0], "cfg": plain[1]}
    return {}


class Passes:
    """Collects the model's results since the last step, in the model's own precision to save memory."""

    def __init__(self) -> None:
        self._plain: dict[str, list[Tensor]] = {}
        self._perturbed: dict[str, dict[str, Tensor]] = {}
        self._stepped = False

    def clear(self) -> None:
        """Drop all passes, so that no latents are kept in memory."""
        self._plain, self._perturbed, self._stepped = {}, {}, False

    def add(self, arguments: Mapping[str, Any], result: Any, layouts: Mapping[str, LatentLayout]) -> None:
        """Keep the generated tokens of one model call, as a copy: a CUDA graph's next run overwrites its output."""
        if self._stepped:
            self.clear()  # also drops the passes of a stream that is never stepped
        kind = kind_of(arguments)
        for stream, velocity in outputs_of(result).items():
            if (layout := layouts.get(stream)) is None:
                continue
            copied = take(velocity, layout).clone()
            if kind == "plain":
                self._plain.setdefault(stream, []).append(copied)
            else:
                self._perturbed.setdefault(stream, {})[kind] = copied

    def of_step(self, stream: str, batch: int, shape: torch.Size) -> dict[str, Tensor]:
        """The passes of the step that is being taken, each in the shape of its sample."""
        self._stepped = True
        found = named(self._plain.pop(stream, []), batch)
        perturbed = self._perturbed.pop(stream, {})
        if "conditional" not in found:
            return {}
        return {name: v if v.shape == shape else v.reshape(shape) for name, v in {**found, **perturbed}.items()}
