"""Copies from the device to the host, and GPU times, without blocking the sampling thread.

CUDA and ROCm copy into pinned memory behind an event, and so do other accelerators with events (XPU, MPS). Without
events, or if pinned memory is refused, the sampling thread waits for one packed copy.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

Report = Callable[[Exception], None]
"""Takes the reason why the sampling thread had to wait for a copy; the copy was made in any case."""


def recorded(device: torch.device, timing: bool = False) -> Any:
    """An event behind all work that is queued on the device's current stream.

    A thread that waits for it sleeps; without `blocking`, waiting for CUDA keeps a core busy. The stream is given
    explicitly: by default an event records on the stream of the *current* device, which may be another GPU.

    Raises:
        RuntimeError, NotImplementedError: if the device has no events.
    """
    event: Any
    if device.type == "cuda":
        event = torch.cuda.Event(enable_timing=timing, blocking=True)
        event.record(torch.cuda.current_stream(device))
    else:
        event = torch.Event(device, enable_timing=timing, blocking=True)
        event.record(torch.accelerator.current_stream(device))
    return event


def has_events(device: torch.device) -> bool:
    """Whether a copy from the device can be waited for later, by another thread."""
    if device.type == "cuda":
        return True
    accelerator = torch.accelerator.current_accelerator()
    return accelerator is not None and accelerator.type == device.type


class GpuClock:
    """Time between steps on one CUDA device, and its allocator's peak; neither makes the host wait.

    The streams of a stage share it: the first one to take a row marks its time, the others use the same mark.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._last: dict[str, Any] = {}
        self._mark: tuple[int, Any] = (-1, None)
        self._peak = (-1, math.nan)

    def lap(self, stream: str, row: int) -> Callable[[], float]:
        """A function for the milliseconds since the stream's last lap, to call once the row's copy has arrived."""
        if row != self._mark[0] or self._last.get(stream) is self._mark[1]:
            self._mark = row, recorded(self._device, timing=True)
        last, now = self._last.get(stream), self._mark[1]
        self._last[stream] = now
        return no_time if last is None else partial(_elapsed, last, now)

    def peak(self, row: int) -> float:
        """Peak of the bytes that the process has allocated so far.

        The user may read the same counter, so it is never reset.

        Raises:
            KeyError, RuntimeError: if the allocator has no such counter.
        """
        if row != self._peak[0]:
            # Ten times as fast as `max_memory_allocated`, which flattens and sorts all counters first.
            counters = torch.cuda.memory_stats_as_nested_dict(self._device)
            self._peak = row, float(counters["allocated_bytes"]["all"]["peak"])
        return self._peak[1]


def _elapsed(last: Any, now: Any) -> float:
    now.synchronize()  # in the pump's thread, which has waited for this row already
    return float(last.elapsed_time(now))


def no_time() -> float:
    """NaN, which stands for a time that was not measured."""
    return math.nan


def pinned(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Pinned host memory, which a device copies to and from without the CPU.

    Raises:
        RuntimeError: if the system refuses it.
    """
    # Explicitly on the CPU: `torch.set_default_device("cuda")` must not apply to host memory.
    return torch.empty(shape, dtype=dtype, device="cpu", pin_memory=True)


def staging(shape: Sequence[int], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, bool]:
    """Host memory to fill for a device, and whether it can be copied there without waiting."""
    if device.type == "cuda":
        with contextlib.suppress(RuntimeError):  # such as no more locked memory: an ordinary copy works, but waits
            return pinned(shape, dtype), True
    return torch.empty(shape, dtype=dtype, device="cpu"), False


def to_host(tensors: dict[str, Tensor], report: Report | None = None) -> tuple[dict[str, Tensor], Callable[[], None]]:
    """Start copying tensors to the host.

    Returns:
        The copies, and a function to call, in any thread, before they are read.
    """
    host: dict[str, Tensor] = {}
    events: list[Any] = []
    for device in dict.fromkeys(t.device for t in tensors.values()):
        group = {name: t for name, t in tensors.items() if t.device == device}
        if device.type == "cpu":
            host |= group
        elif not has_events(device):
            host |= _at_once(group)
        else:
            try:
                copies = {name: pinned(t.shape, t.dtype) for name, t in group.items()}
                for name, tensor in group.items():
                    copies[name].copy_(tensor, non_blocking=True)
                events.append(recorded(device))
            except Exception as error:  # noqa: BLE001 - such as no pinned memory left: an ordinary copy works, but waits
                if report is not None:
                    report(error)
                copies = _at_once(group)
            host |= copies
    return {name: host[name] for name in tensors}, partial(_wait, events) if events else _ready


def _at_once(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies of the tensors of one device, packed: each separate copy would wait for the device."""
    if len(tensors) == 1:
        return {name: t.cpu() for name, t in tensors.items()}
    # The widest first, so that each begins at a multiple of its own width.
    order = sorted(tensors, key=lambda name: -tensors[name].element_size())
    packed = torch.cat([tensors[name].contiguous().reshape(-1).view(torch.uint8) for name in order]).cpu()
    pieces = packed.split([tensors[name].nbytes for name in order])
    return {n: p.view(tensors[n].dtype).view(tensors[n].shape) for n, p in zip(order, pieces, strict=True)}


def _wait(events: list[Any]) -> None:
    for event in events:
        event.synchronize()


def _ready() -> None:
    """Do nothing: the tensors are on the host."""
