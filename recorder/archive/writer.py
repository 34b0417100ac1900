"""Writes the Zarr archive of a run from its messages. Light: neither torch nor zarr-python."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recorder.archive.tables import (
    BLOCK_ROWS,
    MOST_ROWS,
    TIME_UNITS,
    PreviewWriter,
    create_previews,
    rows_per_chunk,
    snapshot_dims,
    to_json_value,
    trim,
    write_events,
    write_kept,
    write_system,
)
from recorder.archive.zarr_writer import ArrayWriter, StoreWriter
from recorder.format import paths, protocol
from recorder.format.protocol import Message
from recorder.system.open_folders import Tree

LONG_ROWS = 8 * BLOCK_ROWS
"""A stream of more rows has its chunks merged at the end: thousands of small files would make opening slow."""
SNAPSHOT_LABELS = {paths.LATENTS: "sample before the step", paths.X0: "predicted clean sample"}


@dataclass
class _Stream:
    """A stream's arrays and the rows that wait to be written."""

    group: str
    arrays: list[tuple[ArrayWriter, slice, tuple[int, ...]]]
    time: ArrayWriter
    width: int
    capacity: int
    rows: int = 0
    snapshots: dict[str, ArrayWriter] = field(default_factory=dict)
    previews: PreviewWriter | None = None
    waiting: list[NDArray[np.float32]] = field(default_factory=list)
    times: list[NDArray[np.float64]] = field(default_factory=list)
    waiting_rows: int = 0


class ArchiveWriter:
    """Writes one archive from one run's messages, in their order.

    Arrays are allocated at the planned number of steps; whole blocks are written; the number of rows that count is
    published last, in the root attributes, by an atomic replace. `finish` trims, consolidates and sets the status.
    The folder is made when the first stream is declared: a run without a row leaves no archive.
    """

    def __init__(self, path: Path, *, sync: bool = False, empty: bool = False) -> None:
        """
        Args:
            path: of the archive, which must not exist.
            sync: force all that is written onto the disk at once, not only at the end.
            empty: make an archive of a run without a row too.
        """
        self.path = path
        self._sync = sync
        self._empty = empty
        self._store: StoreWriter | None = None
        self._waiting: list[Message] = []
        """Stages that were declared before there was an archive."""
        self._attributes: dict[str, Any] = {}
        self._planned: dict[int, int] = {}
        self._streams: dict[tuple[int, str], _Stream] = {}
        self._events: list[Message] = []
        self._system: list[Message] = []

    def feed(self, message: Message) -> None:
        """Take in one message; rows are written in blocks. Raises OSError when the disk does."""
        kind = message["t"]
        if kind == protocol.HEADER:
            self._begin(message)
        elif kind == protocol.STAGE:
            self._begin_stage(message)
        elif kind == protocol.STREAM:
            self._begin_stream(message)
        elif kind == protocol.STEP:
            self._add_rows(message)
        elif kind == protocol.MISSED:
            # At the root, beside the rows that count, so that a list of runs can show it.
            missed, key = self._attributes["missed"], paths.stream(message["stage"], message["stream"])
            missed[key] = max(missed.get(key, 0), int(message["count"]))
        elif kind == protocol.EVENT:
            self._events.append(message)
            if message["kind"] == "stage_end":
                # Also at the root, so that a list of runs can show it.
                summary = to_json_value(message["payload"].get("summary", {}))
                self._attributes.setdefault("summary", {})[paths.stage(message["stage"])] = summary
                self._end_stage(int(message["stage"]))
        elif kind == protocol.SYSTEM:
            self._system.append(message)
        elif kind == protocol.PREVIEW:
            self._add_preview(message)
        elif kind == protocol.END:
            self.finish(message)

    def _begin(self, header: Message) -> None:
        self._attributes = {**_without_type(header), "status": "recording", "rows": {}, "missed": {}, "previews": {}}

    def _make(self) -> StoreWriter:
        """The archive's folder, made when it is needed first."""
        if self._store is None:
            self._store = StoreWriter(self.path, self._attributes)
            for stage in self._waiting:
                self._store.group(paths.stage(stage["stage"]), _without_type(stage))
            self._waiting.clear()
        return self._store

    @property
    def written(self) -> int:
        """Files written so far."""
        return 0 if self._store is None else self._store.written

    @property
    def made(self) -> bool:
        """Whether there is an archive, finished or not."""
        return self._store is not None

    @property
    def store(self) -> StoreWriter:
        """Raises ValueError if there is none: an archive begins with a header, and is made for a stream."""
        if self._store is None:
            raise ValueError("an archive begins with a header and a stream")
        return self._store

    def _begin_stage(self, stage: Message) -> None:
        if not self._attributes:
            raise ValueError("an archive begins with a header")
        index = int(stage["stage"])
        self._planned[index] = len(stage["sigmas"])
        # Also at the root, so that a list of runs reads one small file per run.
        self._attributes["planned"] = sum(self._planned.values())
        self._attributes.setdefault("prompt", to_json_value(stage["metadata"].get("prompt")))
        if self._store is None:
            self._waiting.append(stage)
        else:
            self._store.group(paths.stage(index), _without_type(stage))

    def _begin_stream(self, stream: Message) -> None:
        index, name = int(stream["stage"]), str(stream["stream"])
        capacity = self._planned[index] or BLOCK_ROWS
        group, store = paths.stream(index, name), self._make()
        store.group(group, _without_type(stream))
        arrays: list[tuple[ArrayWriter, slice, tuple[int, ...]]] = []
        at = 0
        for metric in stream["metrics"]:
            shape = tuple(metric["shape"])
            size = math.prod(shape)
            labels = {"units": metric["unit"], "long_name": metric["label"], "description": metric["description"]}
            path = f"{group}/{metric['name']}"
            chunk = rows_per_chunk(capacity, 4 * size)
            array = store.array(path, (capacity, *shape), "float32", metric["dims"], labels, rows=chunk)
            arrays.append((array, slice(at, at + size), shape))
            at += size
        for dimension, coordinate in stream["coordinates"].items():
            values = np.asarray(coordinate["values"])
            labels = dict(coordinate["attributes"])
            store.array(f"{group}/{dimension}", values.shape, str(values.dtype), (dimension,), labels, values=values)
        chunk = rows_per_chunk(capacity, 8)
        time = store.array(
            f"{group}/{paths.TIME}", (capacity,), "float64", (paths.STEP,), {"units": TIME_UNITS}, rows=chunk
        )
        self._streams[index, name] = _Stream(group, arrays, time, at, capacity)

    def _add_rows(self, step: Message) -> None:
        stream = self._streams[int(step["stage"]), str(step["stream"])]
        count = int(step.get("count", 1))
        rows = np.frombuffer(step["data"], "<f4").reshape(count, stream.width)
        times = np.frombuffer(step["time"], "<f8") if count > 1 else np.array([step["time"]])
        missing = int(step["step"]) - stream.rows - stream.waiting_rows
        if missing < 0:  # they are there already
            rows, times = rows[-missing:], times[-missing:]
        elif missing > 0:  # steps that could not be recorded keep their places, as readers of the journal do it
            rows = np.concatenate([np.full((missing, stream.width), np.nan, np.float32), rows])
            times = np.concatenate([np.full(missing, np.nan), times])
        stream.waiting.append(rows)
        stream.times.append(times)
        stream.waiting_rows += len(rows)
        if stream.waiting_rows >= BLOCK_ROWS:
            self.write_rows()

    def _add_preview(self, message: Message) -> None:
        stream = self._streams[int(message["stage"]), str(message["stream"])]
        picture = np.frombuffer(message["data"], np.uint8).reshape(message["shape"])
        if stream.previews is None:
            stream.previews = create_previews(self.store, stream.group, stream.capacity, message)
        stream.previews.add(int(message["step"]), int(message["fit"]), picture)

    def add_snapshot(self, stage: int, stream: str, step: int, tensors: dict[str, NDArray[np.float16]]) -> None:
        """Write latents of one step, one chunk each; comes before the row of the same step is written."""
        into = self._streams[stage, stream]
        for name, values in tensors.items():
            array = into.snapshots.get(name)
            if array is None:
                # Raw: the best codec saves 8 %, since mantissas are noise (benchmarks/snapshots.py).
                array = self.store.array(
                    f"{into.group}/{name}",
                    (into.capacity, *values.shape),
                    "float16",
                    (paths.STEP, *snapshot_dims(self.store, into.group, stream)),
                    {"units": "1", "long_name": SNAPSHOT_LABELS[name]},
                    rows=1,
                )
                into.snapshots[name] = array
            if step >= array.shape[0]:
                array.resize(max(step + 1, 2 * array.shape[0]))
            array.write(step, values[None])

    def keep(
        self,
        stage: int,
        stream: str,
        step: int,
        sigma: float,
        frames: tuple[int, ...] | None,
        tensors: dict[str, NDArray[np.float32]],
    ) -> None:
        """Write one stream's share of a snapshot that a viewer asked for, in a group of its own."""
        write_kept(self.store, stage, stream, step, sigma, frames, tensors)

    def carry(self, older: Tree) -> None:
        """Take over from another archive of this run what its messages do not hold: latents of steps, snapshots."""
        self.write_rows()
        for stream in self._streams.values():
            for name in (*SNAPSHOT_LABELS, paths.GENERATED_FRAME):
                array = self.store.adopt(f"{stream.group}/{name}", older)
                if array is not None and name in SNAPSHOT_LABELS:
                    stream.snapshots[name] = array
        for node in older.nodes(paths.SNAPSHOTS):
            self.store.adopt(node, older)

    def make_room(self) -> None:
        """Give a full disk back what the journal has too: an unfinished archive, if it holds nothing else."""
        only_rows = not any(s.snapshots for s in self._streams.values()) and paths.SNAPSHOTS not in (self._store or ())
        if only_rows:
            self.discard()

    def discard(self) -> None:
        """Remove the archive, as far as it was made, and nothing that is in its place by now."""
        if self._store is not None:
            self._store.discard()

    def sync(self) -> None:
        """Force the archive onto the disk: its files, its folders, its entry. Raises OSError when the disk does."""
        if self._store is not None:
            self._store.sync()

    def close(self) -> None:
        """Let go of the archive's folder; nothing can be written any more. May be called twice."""
        if self._store is not None:
            self._store.close()

    def write_rows(self) -> None:
        """Write all waiting rows, then publish how many rows count.

        Raises:
            OSError: when the disk does, or the archive is no longer where it was.
        """
        if self._store is None:
            return
        self._store.check_place()
        for (index, name), stream in self._streams.items():
            if stream.waiting:
                self._write(stream)
                self._attributes["rows"][paths.stream(index, name)] = stream.rows
            if stream.previews is not None:
                stream.previews.write()
                # Apart from the rows: a row's picture follows it, so the last one may still be on its way.
                self._attributes["previews"][paths.stream(index, name)] = min(stream.previews.end, stream.rows)
        self.store.update("", attributes=self._attributes)
        if self._sync:
            self._store.sync()

    def _write(self, stream: _Stream) -> None:
        rows = np.concatenate(stream.waiting)
        first, end = stream.rows, stream.rows + len(rows)
        if end > stream.capacity:
            stream.capacity = max(end, 2 * stream.capacity)
            for array in (*(a for a, _, _ in stream.arrays), stream.time):
                # A loop that outruns a short plan must not leave hundreds of tiny chunks.
                array.resize(stream.capacity, rows_per_chunk(stream.capacity, array.row_bytes))
        for array, columns, shape in stream.arrays:
            array.write(first, rows[:, columns].reshape(len(rows), *shape))
        stream.time.write(first, np.concatenate(stream.times))
        stream.rows = end
        stream.waiting.clear()
        stream.times.clear()
        stream.waiting_rows = 0

    def _end_stage(self, index: int) -> None:
        """Trim the arrays to the rows of the stage, then write those that wait: rows are then written once."""
        for (stage, _), stream in self._streams.items():
            if stage == index:
                self._trim(stream, stream.rows + stream.waiting_rows)
        self.write_rows()

    def _trim(self, stream: _Stream, rows: int) -> None:
        """Give a stream's metrics their last number of rows; more may follow all the same."""
        for array in (*(a for a, _, _ in stream.arrays), stream.time):
            trim(array, rows, MOST_ROWS if rows > LONG_ROWS else rows_per_chunk(rows, array.row_bytes))
        stream.capacity = rows

    def finish(self, end: Message) -> None:
        """Write the rows that wait, trim arrays to their rows, write the tables, consolidate, and set the final status.

        It may not be on the disk yet: see `sync`. Without a row there is an archive only to say why no step could be
        recorded.
        """
        self._sync = False  # the whole is forced onto the disk after this
        self.write_rows()
        failed = self._attributes["missed"] or any(e["kind"] == "error" for e in self._events)
        if not (self._empty or failed or any(s.rows for s in self._streams.values())):
            self.discard()
            return
        self._make()
        for stream in self._streams.values():
            self._trim(stream, stream.rows)
            for array in stream.snapshots.values():
                trim(array, stream.rows, 1)
            if stream.previews is not None:
                stream.previews.trim(stream.rows)
            name, steps = f"{stream.group}/{paths.STEP}", np.arange(stream.rows)
            self.store.array(name, steps.shape, "int64", (paths.STEP,), {"units": "1"}, values=steps)
        if self._events:
            write_events(self.store, self._events)
        if self._system:
            write_system(self.store, self._system)
        self._attributes.update(status=end["status"], error=end["error"], ended=end["time"])
        self.store.consolidate(self._attributes)
        self.store.check_place()


def _without_type(message: Message) -> dict[str, Any]:
    return {k: to_json_value(v) for k, v in message.items() if k != "t"}
