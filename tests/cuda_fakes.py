"""Stand-ins for CUDA devices where there are none: what they copy arrives only once its event was waited for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from recorder.metrics import device_copy


@lru_cache
def _elsewhere(device: torch.device) -> type[torch.Tensor]:
    class Elsewhere(torch.Tensor):
        @property
        def device(self) -> torch.device:
            return device

        def cpu(self, *_: Any) -> torch.Tensor:
            return self.as_subclass(torch.Tensor).clone()

    return Elsewhere


def on(device: torch.device, values: torch.Tensor) -> torch.Tensor:
    """A tensor that says it lies on a device."""
    return values.as_subclass(_elsewhere(device))


@dataclass
class Cuda:
    """Several devices: what each was given and has not done yet, and every event that was made."""

    current: torch.device = field(default_factory=lambda: torch.device("cuda", 0))
    waiting: dict[torch.device, list[Callable[[], None]]] = field(default_factory=dict)
    events: list[Any] = field(default_factory=list)
    clock: float = 0.0

    def give(self, device: torch.device, work: Callable[[], None]) -> None:
        self.waiting.setdefault(device, []).append(work)

    def installed(self, patch: pytest.MonkeyPatch) -> Cuda:
        patch.setattr(torch.cuda, "Event", self.event)
        patch.setattr(torch.cuda, "current_stream", lambda device=None: SimpleNamespace(device=device or self.current))
        patch.setattr(device_copy, "pinned", self.pinned)
        return self

    def event(self, enable_timing: bool = False, blocking: bool = False) -> Any:
        made = Event(self, enable_timing, blocking)
        self.events.append(made)
        return made

    def pinned(self, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
        cuda = self

        class Pinned(torch.Tensor):
            def copy_(self, source: torch.Tensor, non_blocking: bool = False) -> Any:  # type: ignore[override]
                assert non_blocking
                target, values = self.as_subclass(torch.Tensor), source.as_subclass(torch.Tensor)

                def arrive() -> None:
                    target.copy_(values)

                cuda.give(source.device, arrive)
                return self

        return torch.full(tuple(shape), 99, dtype=dtype).as_subclass(Pinned)


@dataclass
class Event:
    """As CUDA's: without a stream it records on the current device."""

    cuda: Cuda
    timing: bool
    blocking: bool
    device: torch.device | None = None
    before: list[Callable[[], None]] = field(default_factory=list)
    time: float = 0.0

    def record(self, stream: Any = None) -> None:
        self.device = self.cuda.current if stream is None else stream.device
        self.before = list(self.cuda.waiting.get(self.device, []))
        self.time = self.cuda.clock

    def synchronize(self) -> None:
        for work in self.before:
            work()

    def elapsed_time(self, other: Event) -> float:
        if self.device != other.device:
            raise RuntimeError("events of two devices")
        return other.time - self.time
