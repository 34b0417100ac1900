"""The archivist's thread: writes the messages of the journal into the archive, apart from latency-critical work."""

from __future__ import annotations

import errno
import logging
import queue
import threading
import time
from collections.abc import Callable

from recorder.archive.journal_removal import Settlement
from recorder.archive.writer import ArchiveWriter
from recorder.format import protocol
from recorder.format.events import event, reason_of
from recorder.format.protocol import Message
from recorder.writing.items import RequestedSnapshot, RowItem

logger = logging.getLogger(__name__)

MAX_WAITING_SNAPSHOTS = 8
MAX_BACKLOG = 1 << 16
"""Messages that may wait for the archive; beyond that, the archive is rebuilt from the journal at the end."""
MAX_PATIENCE_SECONDS = 20.0
"""How long to wait at the end for a disk that does not answer."""


def ended(
    thread: threading.Thread, progress: Callable[[], object], elsewhere: Callable[[], bool] = lambda: False
) -> bool:
    """Wait for a thread as long as it makes progress; False after `MAX_PATIENCE_SECONDS` without any.

    `elsewhere` is true while the thread waits for the device rather than for the disk; that time is not counted.
    """
    seen, since = progress(), time.monotonic()
    began, warned = since, False
    while thread.is_alive():
        thread.join(0.5)
        if (away := elsewhere()) and not warned and time.monotonic() - began > MAX_PATIENCE_SECONDS:
            logger.warning("the run ends once the device has computed its last steps; interrupt to leave it unfinished")
            warned = True
        if (now := progress()) != seen or away:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > MAX_PATIENCE_SECONDS:
            return not thread.is_alive()
    return True


class Archivist:
    """One thread that writes messages into the archive, apart from the pump, since making arrays is slow.

    Rows are never dropped. Snapshots of latents are dropped, and counted, if more than `MAX_WAITING_SNAPSHOTS` wait.
    """

    def __init__(self, archive: ArchiveWriter, report: Callable[[Message], None]) -> None:
        """`report` takes an event about a failure; it is called in the archivist's thread."""
        self._archive = archive
        self._report = report
        self._queue: queue.SimpleQueue[RowItem | RequestedSnapshot | Message | None] = queue.SimpleQueue()
        self._waiting_snapshots = 0
        self._done = 0
        self.dropped_snapshots = 0
        self.lost_latents = 0
        """Latents of one step and stream each that came after a failure; only the archive would hold them."""
        self.error: Exception | None = None
        """The failure after which nothing more is written; the journal then has what is missing."""
        self.ended = False
        """Whether the run's end was written: only then is the archive complete."""
        self._thread = threading.Thread(target=self._write_all, name="ltxtui-archivist", daemon=True)
        self._thread.start()

    def put(self, message: Message) -> None:
        """Hand over a message that is in the journal."""
        if self.error is not None:
            return
        if self._queue.qsize() >= MAX_BACKLOG:
            self._fail(RuntimeError(f"{MAX_BACKLOG:,} messages wait for the disk"))
        self._queue.put(message)

    def put_snapshot(self, row: RowItem) -> None:
        """Hand over a row's latents, to be written before the row itself; dropped if too many wait."""
        if self._waiting_snapshots >= MAX_WAITING_SNAPSHOTS:
            self.dropped_snapshots += 1
            return
        self._waiting_snapshots += 1
        self._queue.put(row)

    def put_kept(self, kept: RequestedSnapshot) -> None:
        """Hand over a requested snapshot; `sampling.commands` limits how many wait."""
        self._queue.put(kept)

    def close(self, discard: bool = False) -> bool:
        """Write everything that was put before, then end the thread; False if the disk does not answer.

        With `discard` an archive that has no end is removed.
        """
        self._queue.put(None)
        over = ended(self._thread, lambda: (self._done, self._archive.written))
        if over and not self.ended:
            if discard:
                self._archive.discard()
            self._archive.close()
        return over

    def losses(self) -> list[str]:
        """What is missing from the archive, one text for each kind of loss."""
        texts = []
        if self.dropped_snapshots:
            texts.append(f"{self.dropped_snapshots} snapshots of latents were dropped: the disk is too slow")
        if self.lost_latents:
            texts.append(f"latents were not kept {self.lost_latents} times: the archive could not be written")
        return texts

    def on_disk(self, seconds: float) -> bool:
        """Force a complete archive onto the disk; False if that takes longer or fails. Call it after `close`.

        If it takes longer, the journal is removed in the background once the archive is on the disk.
        """
        return not self._archive.made or Settlement(self._archive).within(seconds)

    def _write_all(self) -> None:
        while (item := self._queue.get()) is not None:
            self._done += 1
            try:
                if self.error is None:
                    self._take(item)
                elif not isinstance(item, dict):
                    self.lost_latents += 1
            except Exception as error:  # noqa: BLE001 - the journal has everything
                self._fail(error)
                self.lost_latents += not isinstance(item, dict)
                if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                    self._archive.make_room()
            finally:
                if isinstance(item, RowItem):
                    self._waiting_snapshots -= 1
                elif isinstance(item, RequestedSnapshot):
                    item.done()

    def _take(self, item: RowItem | RequestedSnapshot | Message) -> None:
        if isinstance(item, RowItem):
            arrays = {name: tensor.numpy() for name, tensor in (item.snapshot or {}).items()}
            self._archive.add_snapshot(item.stage, item.stream, item.step, arrays)
        elif isinstance(item, RequestedSnapshot):
            arrays = {name: tensor.numpy() for name, tensor in item.tensors.items()}
            self._archive.keep(item.stage, item.stream, item.step, item.sigma, item.frames, arrays)
        else:
            self._archive.feed(item)
            self.ended = self.ended or item["t"] == protocol.END

    def _fail(self, error: Exception) -> None:
        self.error = error
        text = f"the archive cannot be written ({reason_of(error)}); the journal keeps everything but latents"
        logger.warning("%s", text)
        self._report(event("degraded", text))
