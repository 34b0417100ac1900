"""What goes along with a row (latents, a picture, what a viewer asked to keep), and rests when memory runs out."""

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
    """Tells that something could not be recorded; see `Stages.trouble`."""

    def __call__(
        self, what: str, error: Exception, stage: int | None = None, step: int | None = None, not_done: str = ...
    ) -> None: ...


@dataclass(frozen=True)
class Attempts:
    """Does what must not cost a step's row if it fails: that is told then, and memory let go of if there is too little.

    `short` is called where the device has no memory left.
    """

    trouble: Trouble
    short: Callable[[], None]
    stage: int
    step: int

    def __call__(self, what: str, make: Callable[[], T], otherwise: T) -> T:
        """What is made, or `otherwise`."""
        try:
            return make()
        except Exception as error:  # noqa: BLE001 - the row is worth more than whatever failed beside it
            if out_of_memory(error):
                self.short()
            self.trouble(what, error, self.stage, self.step)
            return otherwise

    def to_host(self, tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], Callable[[], None]]:
        """`host.to_host`; why the sampling thread had to wait for the copy, if it had, is told."""
        told = partial(self.trouble, stage=self.stage, step=self.step, not_done="copied without waiting")
        return to_host(tensors, partial(told, "rows"))


def along(step: Step, attempt: Attempts, *, latents: bool, picture: bool, keep: bool) -> dict[str, Tensor]:
    """Tensors that are sent beside a step's row, on its device. Each is tried by itself: none may cost the row."""
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
    """What a viewer asked to keep of a step, taken out of what goes to the host."""
    tensors = {name: host.pop(f"kept_{name}") for name in ("x", "x0")}
    frames = layout.generated_frames if layout.stream == "video" else None
    return RequestedSnapshot(stage, layout.stream, step, sigma, frames, tensors, done)


def picture_of(
    filmstrip: Filmstrip | None, step: int, sigma: float, picture: Tensor | None
) -> Callable[[], Message] | None:
    """What makes a step's `preview` message in the pump's thread, once the picture has arrived; None without one."""
    if filmstrip is None or picture is None:
        return None
    return lambda: filmstrip.message(step, sigma, picture.numpy())


def did(action: Callable[..., None], *arguments: Any) -> Callable[[], bool]:
    """An action as something to attempt, which says True if it was done."""

    def do() -> bool:
        action(*arguments)
        return True

    return do


def out_of_memory(error: BaseException) -> bool:
    """Whether a device has no memory left; MPS says so in a plain RuntimeError."""
    return isinstance(error, torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and "out of memory" in str(error)
    )


@dataclass
class Rest:
    """Steps that are left out after the device ran out of memory: 2, then 4, then 8 for as long as it lasts.

    Every failed attempt makes the allocator give all its cached blocks back, and slows down the user's next step.
    """

    left: int = 0
    length: int = 0

    def begin(self) -> None:
        """Memory ran out in this step."""
        self.left = self.length = min(8, 2 * self.length or 2)

    def skips(self) -> bool:
        """Whether the step at hand is left out; counts it."""
        self.left -= (resting := self.left > 0)
        return resting

    def over(self) -> None:
        """A step was measured."""
        if not self.left:
            self.length = 0
