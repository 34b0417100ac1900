"""From the device to the host without making the sampling thread wait: copies, and times of the GPU."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


class GpuClock:
    """Time between the steps of a stream on the GPU, and the allocator's peak; neither makes the host wait."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._last: torch.cuda.Event | None = None

    def lap(self) -> tuple[Callable[[], float], float]:
        """What tells the milliseconds since the last lap, once the row's copy has arrived; and bytes at the peak."""
        last, self._last = self._last, torch.cuda.Event(enable_timing=True)
        now = self._last
        now.record()
        peak = float(torch.cuda.max_memory_allocated(self._device))
        torch.cuda.reset_peak_memory_stats(self._device)
        if last is None:
            return no_time, peak

        def elapsed() -> float:
            now.synchronize()  # in the pump's thread, which has waited for this row already
            return float(last.elapsed_time(now))

        return elapsed, peak


def no_time() -> float:
    """Where nothing can be told yet."""
    return math.nan


def to_host(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], Callable[[], None]]:
    """Start copying tensors to the host; returns the copies and what to call before they are read."""
    if all(t.device.type != "cuda" for t in tensors.values()):  # also where there is nothing to copy
        return {name: t.cpu() for name, t in tensors.items()}, _ready
    host = {name: torch.empty(t.shape, dtype=t.dtype, pin_memory=True) for name, t in tensors.items()}
    for name, tensor in tensors.items():
        host[name].copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()
    return host, copied.synchronize


def _ready() -> None:
    """Nothing to wait for: the tensors are on the host already."""
