"""The pump thread: takes rows and messages from the sampling thread, writes the journal, feeds socket and archive."""

from __future__ import annotations

import logging
import queue
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from recorder.format import protocol
from recorder.format.events import event, reason_of
from recorder.format.protocol import Message
from recorder.journal.journal import Journal
from recorder.writing.archive_thread import MAX_WAITING_SNAPSHOTS, Archivist, ended
from recorder.writing.group_writer import MAX_GROUP, GroupWriter
from recorder.writing.items import ClipItem, RowItem, StageEndItem
from recorder.writing.joined_rows import follows, joined, most_together, values_of
from recorder.writing.tally import Tally

logger = logging.getLogger(__name__)

T = TypeVar("T")

Item = RowItem | StageEndItem | ClipItem | Message

MAX_WAITING_ROWS = 1 << 16
"""Rows that may wait to be written, some 3 KB each: a disk that hangs must not fill the memory."""
MAX_WAITING_PICTURES = 64
"""If this many rows wait, further ones wait without their pictures: up to 1.5 MiB each, pinned if there is a GPU."""

FEW_WAITING = 16
"""Fewer items are written one by one: the next row may still be on its way from the device."""


class Pump:
    """One thread between the sampler and everything that does I/O.

    `put` never waits. `written` is called in the pump's thread after messages have reached the journal; when many wait,
    they are written together. The thread ends with the run's last message; later items are ignored.
    """

    def __init__(
        self,
        journal: Journal,
        archivist: Archivist,
        written: Callable[[], None],
        sync: bool = False,
        also: Callable[[Message], None] | None = None,
    ) -> None:
        """`also` is given every message that is written; it must not wait or raise."""
        self._archivist = archivist
        self._out = GroupWriter(journal, archivist, written, sync, also)
        self._queue: queue.SimpleQueue[Item] = queue.SimpleQueue()
        self._off = False
        self._done = 0
        self._dropped: Counter[tuple[int, str]] = Counter()
        """Rows that were dropped because too many waited, by stage and stream; the sampling threads count them."""
        self._reported: Counter[tuple[int, str]] = Counter()
        self._dropped_pictures = 0
        self._reported_pictures = 0
        self._device_waits = False
        self._writing = threading.Lock()
        """Held by the pump's thread, except while it waits for the device."""
        self._failed: set[tuple[str, str]] = set()
        self._thread = threading.Thread(target=self._pump, name="ltxtui-pump", daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Hand over a row, the end of a stage or a message."""
        if self._off:
            return
        if isinstance(item, RowItem) and (waiting := self._queue.qsize()) >= MAX_WAITING_SNAPSHOTS:
            if waiting >= MAX_WAITING_ROWS:
                self._dropped[item.stage, item.stream] += 1
                return
            if item.snapshot is not None and waiting >= 4 * MAX_WAITING_SNAPSHOTS:
                self._archivist.dropped_snapshots += 1
                item = replace(item, snapshot=None)
            if item.picture is not None and waiting >= MAX_WAITING_PICTURES:
                self._dropped_pictures += 1
                item = replace(item, picture=None)
        if not (self._device_waits and isinstance(item, dict) and item["t"] == protocol.SYSTEM and self._beat(item)):
            self._queue.put(item)

    def _beat(self, sample: Message) -> bool:
        """Write a sample of the machine's load while the pump waits for the device; False if it does not wait.

        Viewers take samples as the heartbeat of the recorder. Behind a row that the GPU takes a minute for, they would
        come too late to distinguish a slow step from a stopped recorder.
        """
        if not self._writing.acquire(blocking=False):
            return False
        try:
            if not self._device_waits:
                return False
            self._out.write(sample)
            self._out.flush()
        except Exception as error:  # noqa: BLE001 - as in the pump's thread; the next sample is tried again
            self._report(error)
        finally:
            self._writing.release()
        return True

    def turn_off(self) -> None:
        """Ignore items from now on: in a forked child no thread would take them from the queue."""
        self._off = True

    @property
    def tally(self) -> Tally:
        """What has been written so far."""
        return self._out.tally

    def close(self, end: Message) -> bool:
        """Write everything that was put before, then the run's last message; False if the disk does not answer.

        Time that the device takes to compute the last rows is not counted as the disk's. A run that is still idle has
        no archive, so that its end is not given to the archivist.
        """
        self._queue.put(end)
        self._off = True
        return ended(self._thread, lambda: self._done, lambda: self._device_waits)

    def join(self) -> None:
        """Wait for the last message to be written, however long the disk takes."""
        self._thread.join()

    def _pump(self) -> None:
        with self._writing:
            self._take_all()

    def _take_all(self) -> None:
        over = False
        following: Item | None = None
        while not over:
            item = following or self._queue.get()
            following, rows = None, list[RowItem]()
            self._done += 1
            over = isinstance(item, dict) and item["t"] == protocol.END
            try:
                self._report_dropped()
                if isinstance(item, RowItem):
                    rows, following = self._rows_with(item)
                    self._take_rows(rows)
                else:
                    self._take(item)
            except Exception as error:  # noqa: BLE001 - telemetry never ends a run; the next item is tried
                self._report(error, rows)
            if over or self._queue.qsize() < FEW_WAITING:
                try:
                    self._out.flush()
                except Exception as error:  # noqa: BLE001 - as above: without this thread the run has no end
                    self._report(error)

    def _report(self, error: Exception, lost: Sequence[RowItem] = (), what: str = "a message") -> None:
        """Report a failure, once per type of error, and count the rows of one stream that were lost with it."""
        kind, text = (what, type(error).__name__), f"{what} could not be recorded: {reason_of(error)}"
        if kind not in self._failed:
            logger.error("%s", text, exc_info=error if logger.isEnabledFor(logging.DEBUG) else None)
        try:
            if kind not in self._failed:
                self._failed.add(kind)
                self._out.write(event("error", text))
            if lost:
                self._out.miss((lost[0].stage, lost[0].stream), len(lost))
        except Exception as again:  # noqa: BLE001 - the report fails too; the log has it
            logger.debug("that failure could not be recorded either: %s", again)

    def _take(self, item: StageEndItem | ClipItem | Message) -> None:
        if isinstance(item, StageEndItem):
            self._end_stage(item)
        elif isinstance(item, ClipItem):
            self._clip(item)
        elif item["t"] == protocol.MISSED:
            self._out.miss((item["stage"], item["stream"]), item["count"])
        else:
            self._out.write(item)

    def _rows_with(self, first: RowItem) -> tuple[list[RowItem], Item | None]:
        """A row and those that share its message, if many items wait; and an item that was taken and is not of them."""
        rows = [first]
        if self._queue.qsize() < FEW_WAITING or self._out.degraded:
            return rows, None
        most = min(MAX_GROUP, most_together(first))
        while len(rows) < most and not self._queue.empty():
            item = self._queue.get()
            if not follows(item, first, len(rows)):
                return rows, item
            self._done += 1
            rows.append(item)
        return rows, None

    def _take_rows(self, rows: list[RowItem]) -> None:
        """Take rows that follow each other as one message; what there is to report about a row comes right after it."""
        untimed: list[Exception] = []
        try:
            values = self._arrived(lambda: values_of(rows, untimed.append))
        except Exception as error:  # noqa: BLE001 - as in `_take_all`
            if len(rows) == 1:
                self._report(error, rows)
            for row in rows if len(rows) > 1 else ():  # the failure of one must not cost the others
                self._take_rows([row])
            return
        for failure in untimed:
            self._report(failure, what="the time of a step on the GPU")
        written = 0
        for end, row in enumerate(rows, 1):
            if row.snapshot is not None:
                self._archivist.put_snapshot(row)
            if row.kept is not None:
                self._archivist.put_kept(row.kept)
            failed: Exception | None = None
            try:
                events = row.watch(row.step, values[end - 1])
            except Exception as error:  # noqa: BLE001 - it must not cost the row
                events, failed = [], error
            if events or failed is not None or end == len(rows):
                self._out.write(joined(rows[written:end], values[written:end]))
                written = end
            for message in events:
                self._out.write(message)
            if failed is not None:
                self._report(failed, what="what happened in a step")
            if row.picture is not None:
                self._picture(row.picture)

    def _picture(self, picture: Callable[[], Message]) -> None:
        try:
            message = picture()
        except Exception as error:  # noqa: BLE001 - a picture must not cost the row
            self._report(error, what="a picture")
        else:
            self._out.write(message)

    def _clip(self, item: ClipItem) -> None:
        try:
            self._arrived(item.wait)
            for message in item.messages():
                self._out.write(message)
        except Exception as error:  # noqa: BLE001 - a picture must not cost the row
            self._report(error, what="the colours of a decoded clip")

    def _arrived(self, what: Callable[[], T]) -> T:
        """The result of a function that waits for the device first."""
        self._device_waits = True
        self._writing.release()
        try:
            return what()
        finally:
            self._device_waits = False  # first: from here on, waiting is for the disk
            self._writing.acquire()

    def _report_dropped(self) -> None:
        if not self._dropped and not self._dropped_pictures:
            return
        # Reported when the queue is shorter again; before that, each dropped row would be reported separately.
        waiting = self._queue.qsize()
        if self._dropped != self._reported and waiting < MAX_WAITING_ROWS // 2:
            all_ = self._dropped.copy()
            dropped, self._reported = all_ - self._reported, all_
            self._out.degrade(
                f"{dropped.total()} steps were not recorded: {MAX_WAITING_ROWS:,} were waiting to be written"
            )
            for stream, count in dropped.items():
                self._out.miss(stream, count)
        if self._dropped_pictures != self._reported_pictures and waiting < MAX_WAITING_PICTURES // 2:
            pictures, self._reported_pictures = self._dropped_pictures - self._reported_pictures, self._dropped_pictures
            self._out.degrade(f"{pictures} pictures were not recorded: {MAX_WAITING_PICTURES} rows or more waited")

    def _end_stage(self, item: StageEndItem) -> None:
        for watch, _, _ in item.streams:
            try:
                for found in watch.ended():
                    self._out.write(found)
            except Exception as error:  # noqa: BLE001 - the stage ends in any case
                self._report(error)
        try:
            message = self._arrived(item.message)
        except Exception:
            self._out.write(item.event)  # without its summary it is still the end of the stage
            raise
        self._out.write(message)
