"""Tensors that every step needs, made once per shape and device. They must not be written to."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor


@lru_cache(maxsize=64)
def nans(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """NaN in a shape."""
    return torch.full(shape, math.nan, device=device)


@lru_cache(maxsize=64)
def nothing(shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Zeros in a shape."""
    return torch.zeros(shape, device=device)


@lru_cache(maxsize=64)
def fixed_places(batch: int, count: int, device: torch.device) -> Tensor:
    """Index [batch, at most 4,096] into clips of `count` values each: the same places of every clip, drawn at random.

    Whatever moves values moves some of these.
    """
    most = 4096
    places = np.arange(count) if count <= most else np.random.default_rng(0).integers(count, size=most)
    return torch.from_numpy(places + count * np.arange(batch)[:, None]).to(device)


@lru_cache(maxsize=64)
def frame_index(frames: int, generated: tuple[int, ...], device: torch.device) -> Tensor:
    """Index [5·frames] into the values of `Step.by_frame`: of each of the five metrics, one for every latent frame."""
    count = len(generated)
    starts = (0, count, 2 * count, 3 * count - 1, 4 * count - 2)
    unknown = 2 * count + 2 * max(0, count - 1) + max(0, count - 2)
    index = []
    for start, reach in zip(starts, (0, 0, 1, 1, 2), strict=True):
        ends = {
            generated[i + reach]: start + i
            for i in range(count - reach)
            if generated[i + reach] - generated[i] == reach
        }
        index += [ends.get(frame, unknown) for frame in range(frames)]
    return torch.tensor(index, device=device)


@lru_cache(maxsize=64)
def time_weights(length: int, device: torch.device) -> Tensor:
    """Weights that turn the mean square of both parts of an FFT over `length` frames into one-sided power.

    The mean of both parts is half their sum. Every frequency except the first and Nyquist also stands for its mirror.
    """
    weights = torch.full((length // 2 + 1,), 4.0 / length**2)
    weights[0] = 2.0 / length**2
    if length % 2 == 0:
        weights[-1] = 2.0 / length**2
    return weights.to(device)
