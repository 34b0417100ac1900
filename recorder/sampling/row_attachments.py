"""Attachments of a row (latents, a picture, a requested snapshot), and pauses when memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from recorder.format.protocol import Message
from recorder.metrics.device_copy import to_host
from recorder.metrics.latent_layout import LatentLayout
from recorder.metrics.preview import Filmstrip, shrunk
from recorder.metrics.step import Step
from recorder.writing.items import RequestedSnapshot

T = TypeVar("T")


class Trouble(Protocol):
    """Reports that something could not be recorded; see `Stages.trouble`."""

    def __call__(
        self, what: str, error: Exception, stage: int | None = None, step: int | None = None, not_done: str = ...
    ) -> None: ...


@dataclass(frozen=True)
class Attempts:
    """Calls functions whose failure must not cost a step's row: a failure is reported, and memory freed if it is short.

    `short` is called if the device has no memory left.
    """

    trouble: Trouble
    short: Callable[[], None]
    stage: int
    step: int

    def __call__(self, what: str, make: Callable[[], T], otherwise: T) -> T:
        """The result of `make`, or `otherwise` if it fails."""
        try:
            return make()
        except Exception as error:  # noqa: BLE001 - an attachment must not cost the row
            if out_of_memory(error):
                self.short()
            self.trouble(what, error, self.stage, self.step)
            return otherwise

    def to_host(self, tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], Callable[[], None]]:
        """`device_copy.to_host`; reports the reason if the sampling thread had to wait for the copy."""
        report = partial(self.trouble, stage=self.stage, step=self.step, not_done="copied without waiting")
        return to_host(tensors, partial(report, "rows"))


def along(step: Step, attempt: Attempts, *, latents: bool, picture: bool, keep: bool) -> dict[str, Tensor]:
    """Attachments of a step's row, on its device. Each is attempted separately, since none may cost the row."""
    stream, found = step.layout.stream, dict[str, Tensor]()
    nothing: dict[str, Tensor] = {}
    if latents:
        found |= attempt(f"latents of {stream}", lambda: {"latents": step.x.half(), "x0": step.x0.half()}, nothing)
    if picture:
        found |= attempt(f"a picture of {stream}", lambda: {"picture": shrunk(step.x0, step.layout)}, nothing)
    if keep:
        found |= attempt(f"a snapshot of {stream}", partial(_snapshot, step), nothing)
    return found


def _snapshot(step: Step) -> dict[str, Tensor]:
    # A copy, since on the CPU the loop may write to its latents before the disk has taken them.
    return {"kept_x": step.x.to(torch.float32, copy=True), "kept_x0": step.x0}


def kept_of(
    host: dict[str, Tensor], layout: LatentLayout, stage: int, step: int, sigma: float, done: Callable[[], None]
) -> RequestedSnapshot:
    """The requested snapshot of a step, removed from the tensors on their way to the host."""
    tensors = {name: host.pop(f"kept_{name}") for name in ("x", "x0")}
    frames = layout.generated_frames if layout.stream == "video" else None
    return RequestedSnapshot(stage, layout.stream, step, sigma, frames, tensors, done)


def picture_of(
    filmstrip: Filmstrip | None, step: int, sigma: float, picture: Tensor | None
) -> Callable[[], Message] | None:
    """A function that makes a step's `preview` message once the picture has arrived; None without a picture."""
    if filmstrip is None or picture is None:
        return None
    return lambda: filmstrip.message(step, sigma, picture.numpy())


def did(action: Callable[..., None], *arguments: Any) -> Callable[[], bool]:
    """An action as a function for `Attempts`, which returns True when the action is done."""

    def do() -> bool:
        action(*arguments)
        return True

    return do


def out_of_memory(error: BaseException) -> bool:
    """Whether a device has no memory left; MPS raises a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "out of memory" in str(error)
    )


@dataclass
class Rest:
    """Steps that are skipped after the device ran out of memory: 2, then 4, then 8 until there is memory again.

    Every failed attempt makes the allocator release all its cached blocks, which slows down the next step.
    """

    left: int = 0
    length: int = 0

    def begin(self) -> None:
        """Memory ran out in this step."""
        self.left = self.length = min(8, 2 * self.length or 2)

    def skips(self) -> bool:
        """Whether the current step is skipped; counts it."""
        self.left -= (resting := self.left > 0)
        return resting

    def over(self) -> None:
        """A step was measured."""
        if not self.left:
            self.length = 0
