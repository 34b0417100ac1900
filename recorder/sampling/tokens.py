"""The tokens of a sequence that are the generated clip. Pure functions over tensors and shapes."""

from __future__ import annotations

import math
from itertools import groupby

import torch
from torch import Tensor

from recorder.metrics.latent_layout import LatentLayout

Frames = tuple[int, ...]


def generated_frames(free: Tensor, grid: tuple[int, ...]) -> Frames:
    """Latent frames that are generated entirely, in every item of the batch. Waits for the device.

    Args:
        free: [B, S] booleans, true where a token has no conditioning at all. The clip comes first in the sequence;
            keyframes, references and keyframe slots are appended to it.
        grid: (F, H, W) of the clip.

    Raises:
        ValueError: if the sequence is too short for the grid, or no frame is generated entirely.
    """
    count = math.prod(grid)
    if free.shape[1] < count:
        raise ValueError(f"{free.shape[1]} tokens do not fill a grid of {' x '.join(map(str, grid))}")
    whole = free[:, :count].reshape(free.shape[0], grid[0], -1).all(dim=2).all(dim=0)
    frames = tuple(i for i, generated in enumerate(whole.tolist()) if generated)
    if not frames:
        raise ValueError("every frame of the clip is conditioned, at least in part; nothing to measure")
    return frames


def given_frames(free: Tensor, grid: tuple[int, ...]) -> Frames:
    """Latent frames that are given entirely, in every item of the batch; none if tokens do not fill the grid.

    Waits for the device. `free` is as `freedom` gives it, [B, S, 1].
    """
    count = math.prod(grid)
    if free.shape[1] < count:
        return ()
    whole = (free[:, :count] == 0).reshape(free.shape[0], grid[0], -1).all(dim=2).all(dim=0)
    return tuple(i for i, given in enumerate(whole.tolist()) if given)


def free_tokens(timestep: Tensor, level: Tensor) -> Tensor:
    """True where a token has the timestep of the step; that of a conditioned token is (1 − strength) times it."""
    return timestep == level.reshape(-1, 1)


def freedom(timestep: Tensor, level: Tensor) -> Tensor:
    """1 − conditioning strength of every token, [B, S, 1]: its own timestep [B, S] as part of the step's [B]."""
    return (timestep.float() / level.float().reshape(-1, 1)).unsqueeze(-1)


def clip_layout(stream: str, sample: Tensor, grid: tuple[int, ...], frames: Frames | None = None) -> LatentLayout:
    """The layout of a stream whose first step has this sample; `frames` None means all of them."""
    if frames is not None and len(frames) == grid[0]:
        frames = None
    layout = LatentLayout(stream, sample.shape[0], grid, frames)
    take(sample, layout)  # raises, before the stream is declared, if the tokens do not fill the grid
    return layout


def take(tokens: Tensor, layout: LatentLayout) -> Tensor:
    """The generated tokens of a clip: [B, F′·H·W, C], or [B, F′, H, W, C] of latents that were laid out already.

    Args:
        tokens: packed [B, S, C], beginning with the clip, audio [B, L, C], or latents [B, C, F″, H, W] of the last F″
            frames of the clip, as image-to-video steps them.
        layout: their positions; its batch size is ignored.

    Raises:
        ValueError: if the shape is not one of these.
    """
    if tokens.ndim == 5 and layout.stream == "video":
        first = layout.grid[0] - tokens.shape[2]
        # If every frame is stepped, none of them is given.
        fits = 0 < first <= layout.generated_frames[0] or (first == 0 and layout.frames is None)
        if tuple(tokens.shape[3:]) != layout.grid[1:] or not fits:
            raise ValueError(f"latents {list(tokens.shape)} are not the generated frames {list(layout.shape)}")
        laid = tokens.movedim(1, -1)
        if tokens.shape[2] == len(layout.generated_frames):
            return laid
        chosen = [laid[:, a - first : b - first] for a, b in runs(layout.generated_frames)]
        return chosen[0] if len(chosen) == 1 else torch.cat(chosen, dim=1)
    if tokens.ndim != 3:
        raise ValueError(f"packed latents [batch, tokens, channels] are needed, not {list(tokens.shape)}")
    count = math.prod(layout.grid)
    if tokens.shape[1] < count or (layout.stream == "audio" and tokens.shape[1] != count):
        grid = " x ".join(map(str, layout.grid))
        raise ValueError(f"{tokens.shape[1]} {layout.stream} tokens do not fill a grid of {grid}")
    if layout.frames is None:
        return tokens if tokens.shape[1] == count else tokens[:, :count]
    per_frame = math.prod(layout.grid[1:])
    # Slices, not an index: an index made on the host would have to be copied to the device at every step.
    pieces = [tokens[:, a * per_frame : b * per_frame] for a, b in runs(layout.frames)]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)


def runs(frames: Frames) -> list[tuple[int, int]]:
    """Half-open runs of consecutive frames: (1, 2, 4) gives [(1, 3), (4, 5)]."""
    found = []
    for _, group in groupby(enumerate(frames), key=lambda pair: pair[1] - pair[0]):
        members = [frame for _, frame in group]
        found.append((members[0], members[-1] + 1))
    return found
