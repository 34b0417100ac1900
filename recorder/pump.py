"""The pump thread: takes rows and messages from the sampling thread, writes the journal, feeds socket and archive."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from recorder import words
from recorder.archive import ArchiveWriter
from recorder.journal import Journal
from recorder.messages import MessageTooLong, encode
from recorder.words import Message

if TYPE_CHECKING:
    from torch import Tensor

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Kept:
    """One stream's share of a snapshot that a viewer asked for; its tensors arrive with the row of the same step.

    `written` is called once it is in the archive, in the archivist's thread.
    """

    stage: int
    stream: str
    step: int
    sigma: float
    frames: tuple[int, ...] | None
    tensors: dict[str, Tensor]
    written: Callable[[], None]


@dataclass(frozen=True)
class Row:
    """What one step hands over: numbers the host knows, and a small vector that may still be on its way to it.

    `wait` returns once `measured` may be read: at once on the CPU, after a CUDA event otherwise. `watch` is shown the
    whole row in the pump's thread and says what events it gives rise to.
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
    kept: Kept | None = None

    def values(self) -> NDArray[np.float32]:
        """The whole row, once it has arrived."""
        self.wait()
        known = [v() if callable(v) else v for v in self.schedule]
        return np.concatenate([np.array(known, np.float32), self.measured.numpy()])

    def message(self, values: NDArray[np.float32]) -> Message:
        return {
            "t": words.STEP,
            "stage": self.stage,
            "stream": self.stream,
            "step": self.step,
            "time": self.time,
            "data": values.astype("<f4", copy=False).tobytes(),
        }


class Summarises(Protocol):
    """Who has followed a stream's rows and can say what they come to."""

    stream: str

    def summary(self, measured: dict[str, NDArray[np.float32]]) -> dict[str, list[float | None]]: ...


@dataclass(frozen=True)
class StageEnd:
    """The end of a stage: its event, and for each stream what was measured over it, maybe still on its way."""

    event: Message
    streams: Sequence[tuple[Summarises, dict[str, Tensor], Callable[[], None]]]

    def message(self) -> Message:
        """The event with the summaries of all streams in its payload."""
        summary = {}
        for watch, measured, wait in self.streams:
            wait()
            summary[watch.stream] = watch.summary({name: tensor.numpy() for name, tensor in measured.items()})
        return {**self.event, "payload": {"summary": summary}}


MAX_WAITING_SNAPSHOTS = 8


class Archivist:
    """One thread that folds messages into the archive, apart from the pump since making arrays takes a while.

    Rows are never dropped. Snapshots of latents are, when more than `MAX_WAITING_SNAPSHOTS` of them wait, and counted.
    """

    def __init__(self, archive: ArchiveWriter) -> None:
        self._archive = archive
        self._queue: queue.SimpleQueue[Row | Kept | Message | None] = queue.SimpleQueue()
        self._waiting_snapshots = 0
        self.dropped_snapshots = 0
        self.error: Exception | None = None
        """The failure after which nothing more is folded; the journal then stays."""
        self._thread = threading.Thread(target=self._fold, name="ltxtui-archivist", daemon=True)
        self._thread.start()

    def put(self, message: Message) -> None:
        """Hand over a message that has been written to the journal."""
        self._queue.put(message)

    def put_snapshot(self, row: Row) -> None:
        """Hand over a row's latents, to be written before the row itself; dropped if too many wait."""
        if self._waiting_snapshots >= MAX_WAITING_SNAPSHOTS:
            self.dropped_snapshots += 1
            return
        self._waiting_snapshots += 1
        self._queue.put(row)

    def put_kept(self, kept: Kept) -> None:
        """Hand over a snapshot that a viewer asked for; whoever takes the command bounds how many wait."""
        self._queue.put(kept)

    def close(self) -> None:
        """Fold everything that was put before, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _fold(self) -> None:
        while (item := self._queue.get()) is not None:
            if self.error is not None:
                continue
            try:
                if isinstance(item, Row):
                    self._write_snapshot(item)
                elif isinstance(item, Kept):
                    arrays = {name: tensor.numpy() for name, tensor in item.tensors.items()}
                    self._archive.keep(item.stage, item.stream, item.step, item.sigma, item.frames, arrays)
                    item.written()
                else:
                    self._archive.feed(item)
            except Exception as error:  # noqa: BLE001 - whatever fails here, the journal has everything
                self.error = error
                logger.warning("the archive cannot be written (%s); the journal keeps everything", error)

    def _write_snapshot(self, row: Row) -> None:
        arrays = {name: tensor.numpy() for name, tensor in (row.snapshot or {}).items()}
        self._archive.add_snapshot(row.stage, row.stream, row.step, arrays)
        self._waiting_snapshots -= 1


class Pump:
    """One thread between the sampler and everything that does I/O.

    `put` never waits. `written` is called in the pump's thread after each message that has reached the journal.
    """

    def __init__(self, journal: Journal, archivist: Archivist, written: Callable[[], None], sync: bool = False) -> None:
        self._journal = journal
        self._archivist = archivist
        self._written = written
        self._sync = sync
        self._queue: queue.SimpleQueue[Row | StageEnd | Message | None] = queue.SimpleQueue()
        self._degraded = False
        self._thread = threading.Thread(target=self._pump, name="ltxtui-pump", daemon=True)
        self._thread.start()

    def put(self, item: Row | StageEnd | Message) -> None:
        """Hand over a row, the end of a stage or a message."""
        self._queue.put(item)

    def close(self) -> None:
        """Write everything that was put before, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _pump(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                self._take(item)
            except Exception:
                # Telemetry never kills a run: what went wrong is logged, and the next item gets its chance.
                logger.exception("a message could not be recorded")

    def _take(self, item: Row | StageEnd | Message) -> None:
        if isinstance(item, StageEnd):
            self._write(item.message())
            return
        if not isinstance(item, Row):
            self._write(item)
            return
        values = item.values()
        if item.snapshot is not None:
            self._archivist.put_snapshot(item)
        if item.kept is not None:
            self._archivist.put_kept(item.kept)
        self._write(item.message(values))
        for found in item.watch(item.step, values):
            self._write(found)

    def _write(self, message: Message) -> None:
        try:
            data = encode(message)
        except MessageTooLong as error:
            data = encode(message := event("warning", f"a message was left out: {error}"))
        self._journal.append(data)
        if self._sync and self._journal.error is None:
            self._journal.sync()
        self._archivist.put(message)
        self._written()
        self._watch_disk()

    def _watch_disk(self) -> None:
        failing = self._journal.error is not None
        if failing == self._degraded:
            return
        self._degraded = failing
        if failing:
            text = f"recording degraded: the journal cannot be written ({self._journal.error}); kept in memory"
        else:
            text = f"recording recovered; {self._journal.dropped} messages were lost"
        logger.warning("%s", text)
        self._write(event("degraded", text))


def event(
    kind: words.EventKind,
    text: str,
    *,
    stage: int | None = None,
    step: int | None = None,
    stream: str | None = None,
    payload: dict[str, Any] | None = None,
) -> Message:
    """An `event` message as of now."""
    return {
        "t": words.EVENT,
        "time": time.time(),
        "stage": stage,
        "step": step,
        "stream": stream,
        "kind": kind,
        "text": text,
        "payload": payload or {},
    }
