"""CUDA's rules for computing alongside a sampler: nothing during a capture, and order between CUDA streams."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

CAPTURED = (
    "a CUDA graph is being captured: what is captured is not recorded, and neither is what the graph replays; "
    "call run.step outside of the graph"
)


_cannot_tell: Callable[[], bool] | None = None
"""The function that failed to report a capture: torch without CUDA, or a machine without its driver."""


def capturing() -> bool:
    """Whether a CUDA graph is being captured on the current stream: copies to the host would break the capture."""
    global _cannot_tell
    ask = torch.cuda.is_current_stream_capturing
    if ask is _cannot_tell:
        return False
    try:
        return bool(ask())
    except RuntimeError:
        _cannot_tell = ask
        return False


class CudaOrder:
    """Keeps the steps of one stream of a stage in order, on whatever CUDA streams they are taken.

    A step is compared with tensors of the previous one. On another CUDA stream these may not have been written yet, and
    after they are freed their memory may be reused while it is still read.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._last: Any = None
        self._done = torch.cuda.Event()

    def begin(self, *held: object) -> None:
        """Before a step: let the current CUDA stream wait for the last step, if that was taken on another.

        Args:
            held: objects whose tensors the last step left.
        """
        now = torch.cuda.current_stream(self._device)
        if self._last is None or now == self._last:
            return
        now.wait_event(self._done)
        for thing in held:
            for tensor in _tensors(thing):
                tensor.record_stream(now)

    def end(self) -> None:
        """After a step."""
        self._last = torch.cuda.current_stream(self._device)
        self._done.record(self._last)

    def last(self) -> contextlib.AbstractContextManager[Any]:
        """Work on the CUDA stream of the last step; the end of a stage may come from another one."""
        return contextlib.nullcontext() if self._last is None else torch.cuda.stream(self._last)


def _tensors(thing: object) -> Iterator[Tensor]:
    """The tensors that an object holds, its own and those in its containers."""
    if isinstance(thing, Tensor):
        if thing.is_cuda:
            yield thing
    elif isinstance(thing, Mapping):
        for value in thing.values():
            yield from _tensors(value)
    elif isinstance(thing, list | tuple):
        for value in thing:
            yield from _tensors(value)
    elif thing is not None and hasattr(thing, "__dict__"):
        for value in vars(thing).values():
            if isinstance(value, Tensor | Mapping | list | tuple):
                yield from _tensors(value)
