"""The items that the sampling thread hands over: rows, ends of stages, snapshots."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from recorder.format import protocol
from recorder.format.protocol import Message

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RequestedSnapshot:
    """One stream of a snapshot that a viewer requested; its tensors arrive with the row of the same step.

    `done` is called in the archivist's thread once the snapshot is in the archive, or writing it has failed.
    """

    stage: int
    stream: str
    step: int
    sigma: float
    frames: tuple[int, ...] | None
    tensors: dict[str, Tensor]
    done: Callable[[], None]


@dataclass(slots=True)  # not frozen: that would cost 2 µs a row in the sampling thread
class RowItem:
    """The row of one step: numbers from the host, and a small vector that may still be on its way to it.

    `wait` returns once `measured` may be read: at once on the CPU, after a CUDA event otherwise. `watch` takes the
    complete row in the pump's thread and returns events about it. `picture` makes the `preview` message. Like the
    snapshots it is left out if too many rows wait, and a failure in it does not cost the row.
    """

    stage: int
    stream: str
    step: int
    time: float
    schedule: tuple[float | Callable[[], float], ...]
    measured: Tensor
    wait: Callable[[], None]
    watch: Callable[[int, NDArray[np.float32]], list[Message]]
    snapshot: dict[str, Tensor] | None = None
    kept: RequestedSnapshot | None = None
    picture: Callable[[], Message] | None = None

    def message(self, values: NDArray[np.float32]) -> Message:
        """Its message with the values of the complete row; see `joined_rows` for those of several."""
        return {
            "t": protocol.STEP,
            "stage": self.stage,
            "stream": self.stream,
            "step": self.step,
            "time": self.time,
            "data": values.astype("<f4", copy=False).tobytes(),
        }


@dataclass(frozen=True)
class ClipItem:
    """A decoded clip of a stage, reduced; it may still be on its way to the host. See `recorder.metrics.colours`.

    `wait` returns once it has arrived. `messages` fits colours and makes the messages in the pump's thread.
    """

    wait: Callable[[], None]
    messages: Callable[[], Iterator[Message]]


class Summarises(Protocol):
    """Follows a stream's rows and summarises them."""

    stream: str

    def summary(self, measured: dict[str, NDArray[np.float32]]) -> dict[str, list[float | None]]: ...

    def ended(self) -> list[Message]: ...


@dataclass(frozen=True)
class StageEndItem:
    """The end of a stage: its event, and the measurements of each stream, which may still be on their way."""

    event: Message
    streams: Sequence[tuple[Summarises, dict[str, Tensor], Callable[[], None]]]

    def message(self) -> Message:
        """The event with the summaries of all streams in its payload."""
        summary = {}
        for watch, measured, wait in self.streams:
            wait()
            summary[watch.stream] = watch.summary({name: tensor.numpy() for name, tensor in measured.items()})
        return {**self.event, "payload": {"summary": summary}}
