"""The latents of one sampling by stream: ComfyUI packs video and audio into one tensor [B, 1, N]. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from recorder.sampling.manual_loop import as_tokens

STREAMS: Final = ("video", "audio")


@dataclass(frozen=True)
class LatentShapes:
    """Shapes of the streams in a packed tensor: video [B, C, F, H, W], then audio [B, C, L, M] if there is any."""

    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, shapes: Sequence[Sequence[int]]) -> LatentShapes:
        """Raises ValueError for shapes that are not those of LTX."""
        found = tuple(tuple(int(side) for side in shape) for shape in shapes)
        sides = [len(shape) for shape in found]
        if sides not in ([5], [5, 4]):
            raise ValueError(
                f"the latents have shapes {[list(s) for s in found]}, which are not a video's and its audio's"
            )
        return cls(found)

    @property
    def streams(self) -> tuple[str, ...]:
        """Streams that have any latent."""
        return tuple(name for name, shape in zip(STREAMS, self.shapes, strict=False) if math.prod(shape))

    def split(self, latents: Tensor) -> dict[str, Tensor]:
        """Views by stream of a packed tensor, whose batch may be another one."""
        if len(self.shapes) == 1:
            return {STREAMS[0]: latents} if latents.numel() else {}
        if latents.ndim != 3:
            raise ValueError(f"packed latents [batch, 1, values] are needed, not {list(latents.shape)}")
        parts = latents.split([math.prod(shape[1:]) for shape in self.shapes], dim=-1)
        found = zip(STREAMS, parts, self.shapes, strict=False)
        return {name: part.reshape(part.shape[0], *shape[1:]) for name, part, shape in found if part.numel()}

    def joined(self, parts: dict[str, Tensor]) -> Tensor:
        """The packed tensor of all streams."""
        if len(self.shapes) == 1:
            return parts[STREAMS[0]]
        batch = next(iter(parts.values())).shape[0]
        return torch.cat([parts[name].reshape(batch, 1, -1) for name in self.streams], dim=-1)


def from_tokens(tokens: Tensor, like: Tensor) -> Tensor:
    """Tokens [B, S, C] in the shape of the latents that they were made of."""
    if like.ndim == 5:
        return tokens.transpose(1, 2).reshape(like.shape)
    return tokens.unflatten(2, (like.shape[1], like.shape[3])).transpose(1, 2).reshape(like.shape)


def token_mask(mask: Tensor, stream: str) -> Tensor:
    """1 − conditioning strength per token [B, S, 1], of a mask shaped as the latents: the least of its channels."""
    return as_tokens(mask, stream).amin(dim=2, keepdim=True)
