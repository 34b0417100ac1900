"""A decoded clip reduced to what its colours need: latents and mean pixels of cells, and small pictures.

This runs in the thread that decodes. It reads no number, so nothing waits for the device, and it keeps nothing of the
decoded clip itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from recorder.metrics.preview import frames_of

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_CELLS: Final = 1 << 15
"""Cells that colours are fitted to."""
MAX_THUMBNAILS: Final = 33
MAX_ROWS: Final = 96
MAX_COLUMNS: Final = 192
"""Pixels of a thumbnail: one message holds it, and readers accept up to 64 KiB."""


@dataclass(frozen=True)
class LatentStatistics:
    """How a decoder's latents follow from those that are denoised: `latents · std / scale + mean`, per channel [C]."""

    mean: Tensor
    std: Tensor
    scale: float


@dataclass(frozen=True)
class ClipGeometry:
    """What a decoded clip consists of: latent frames of rows × columns cells, each of several pixels."""

    frames: int
    rows: int
    columns: int
    per_frame: int
    """Pixel frames of every latent frame but the first, which has one."""
    height: int
    width: int
    """Pixels of a cell."""

    @classmethod
    def of(cls, latents: Tensor, video: Tensor) -> ClipGeometry:
        """Of latents [B, C, F, H, W] and the clip they became [B, 3, frames, height, width].

        Raises:
            ValueError: if cells are not whole pixels.
        """
        if latents.ndim != 5 or video.ndim != 5 or video.shape[1] != 3 or len(latents) != len(video):
            raise ValueError(f"latents {list(latents.shape)} were decoded to {list(video.shape)}")
        frames, rows, columns = latents.shape[2:]
        pixel_frames, height, width = video.shape[2:]
        per_frame = (pixel_frames - 1) // (frames - 1) if frames > 1 else 1
        made = cls(frames, rows, columns, per_frame, height // rows, width // columns)
        if (1 + made.per_frame * (frames - 1), made.height * rows, made.width * columns) != (
            pixel_frames,
            height,
            width,
        ):
            raise ValueError(f"{list(video.shape[2:])} pixels are not whole cells of {list(latents.shape[2:])} latents")
        return made

    def pixel_frames(self, frame: int) -> slice:
        """The pixel frames of a latent frame."""
        return slice(0, 1) if frame == 0 else slice(1 + self.per_frame * (frame - 1), 1 + self.per_frame * frame)


def reduced(latents: Tensor, video: Tensor, statistics: LatentStatistics) -> tuple[dict[str, Tensor], Sequence[int]]:
    """The first clip of a batch, reduced on its device.

    Returns:
        `latents` as they are denoised [frames, H, W, C] in float16 and the mean `pixels` of their cells
        [frames, H, W, 3] from 0 to 1, of evenly spaced latent frames; `thumbnails` [n, rows, columns, 3] in uint8.
        Then the pixel frame of every thumbnail.

    Raises:
        ValueError: if latents and pixels do not fit together.
    """
    geometry = ClipGeometry.of(latents, video)
    most = max(1, MAX_CELLS // (geometry.rows * geometry.columns))
    shown = frames_of(tuple(range(geometry.frames)))
    chosen = shown if len(shown) <= most else [shown[i * len(shown) // most] for i in range(most)]
    clip, pixels = latents[0], video[0]
    # Frame by frame: the means of a whole clip would take a copy of it in float32.
    cells = torch.stack([clip[:, f].movedim(0, -1).float() for f in chosen])
    mean, std = (t.detach().to(cells.device, torch.float32) for t in (statistics.mean, statistics.std))
    cells = (cells - mean) * (statistics.scale / std)
    means = torch.stack([_cell_means(pixels[:, geometry.pixel_frames(f)], geometry) for f in chosen])
    count = min(MAX_THUMBNAILS, pixels.shape[1])
    small = [round(i * (pixels.shape[1] - 1) / max(1, count - 1)) for i in range(count)]
    thumbnails = torch.stack([_thumbnail(pixels[:, n]) for n in small])
    found = {"latents": cells.half(), "pixels": (means * 0.5 + 0.5).clamp(0, 1), "thumbnails": thumbnails}
    return {name: tensor.contiguous() for name, tensor in found.items()}, small


def _cell_means(pixels: Tensor, geometry: ClipGeometry) -> Tensor:
    """Mean over the pixels of each cell: [3, n, height, width] gives [H, W, 3]. Views only, so nothing is copied."""
    cells = pixels.unflatten(-2, (geometry.rows, geometry.height)).unflatten(-1, (geometry.columns, geometry.width))
    return cells.mean(dim=(1, 3, 5), dtype=torch.float32).movedim(0, -1)


def _thumbnail(frame: Tensor) -> Tensor:
    """A frame [3, height, width] of values from −1 to 1 as bytes [rows, columns, 3]."""
    factor = max(-(-frame.shape[1] // MAX_ROWS), -(-frame.shape[2] // MAX_COLUMNS))
    small = torch.nn.functional.avg_pool2d(frame[None].float(), factor, ceil_mode=True, count_include_pad=False)[0]
    return (small.nan_to_num() * 0.5 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8).movedim(0, -1)
