"""Arrays of one stream of a stage: rows wait until a block of them is written."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recorder.archive.decoded import DecodedWriter
from recorder.archive.tables import (
    BLOCK_ROWS,
    MOST_ROWS,
    TIME_UNITS,
    PreviewWriter,
    rows_per_chunk,
    snapshot_dims,
    trim,
)
from recorder.archive.zarr_writer import ArrayWriter, StoreWriter
from recorder.format import paths
from recorder.format.protocol import Message

LONG_ROWS = 8 * BLOCK_ROWS
"""A stream of more rows has its chunks merged at the end: thousands of small files would make opening slow."""
SNAPSHOT_LABELS = {paths.LATENTS: "sample before the step", paths.X0: "predicted clean sample"}


@dataclass
class StreamWriter:
    """A stream's arrays and the rows that wait to be written."""

    group: str
    arrays: list[tuple[ArrayWriter, slice, tuple[int, ...]]]
    """Of each metric: its array, its columns of a row, its shape."""
    time: ArrayWriter
    width: int
    """Values of a row."""
    capacity: int
    """Rows that the arrays have; `rows` of them are written."""
    rows: int = 0
    snapshots: dict[str, ArrayWriter] = field(default_factory=dict)
    previews: PreviewWriter | None = None
    decoded: DecodedWriter | None = None
    waiting: list[NDArray[np.float32]] = field(default_factory=list)
    times: list[NDArray[np.float64]] = field(default_factory=list)
    waiting_rows: int = 0

    @classmethod
    def create(cls, store: StoreWriter, group: str, declared: Message, capacity: int) -> StreamWriter:
        """Make the arrays that a `stream` message declares, in an existing group. Raises OSError."""
        arrays: list[tuple[ArrayWriter, slice, tuple[int, ...]]] = []
        at = 0
        for metric in declared["metrics"]:
            shape = tuple(metric["shape"])
            size = math.prod(shape)
            labels = {"units": metric["unit"], "long_name": metric["label"], "description": metric["description"]}
            path = f"{group}/{metric['name']}"
            chunk = rows_per_chunk(capacity, 4 * size)
            array = store.array(path, (capacity, *shape), "float32", metric["dims"], labels, rows=chunk)
            arrays.append((array, slice(at, at + size), shape))
            at += size
        for dimension, coordinate in declared["coordinates"].items():
            values = np.asarray(coordinate["values"])
            labels = dict(coordinate["attributes"])
            store.array(f"{group}/{dimension}", values.shape, str(values.dtype), (dimension,), labels, values=values)
        chunk, labels = rows_per_chunk(capacity, 8), {"units": TIME_UNITS}
        time = store.array(f"{group}/{paths.TIME}", (capacity,), "float64", (paths.STEP,), labels, rows=chunk)
        return cls(group, arrays, time, at, capacity)

    def add_rows(self, step: Message) -> None:
        """Take in the rows of a `step` message; they wait for `write_rows`."""
        count = int(step.get("count", 1))
        rows = np.frombuffer(step["data"], "<f4").reshape(count, self.width)
        times = np.frombuffer(step["time"], "<f8") if count > 1 else np.array([step["time"]])
        missing = int(step["step"]) - self.rows - self.waiting_rows
        if missing < 0:  # they already exist
            rows, times = rows[-missing:], times[-missing:]
        elif missing > 0:  # steps that could not be recorded keep their places, as readers of the journal do it
            rows = np.concatenate([np.full((missing, self.width), np.nan, np.float32), rows])
            times = np.concatenate([np.full(missing, np.nan), times])
        self.waiting.append(rows)
        self.times.append(times)
        self.waiting_rows += len(rows)

    def write_rows(self) -> None:
        """Write the rows that wait, of which there is at least one. Raises OSError when the disk does."""
        rows = np.concatenate(self.waiting)
        first, end = self.rows, self.rows + len(rows)
        if end > self.capacity:
            self.capacity = max(end, 2 * self.capacity)
            for array in self._step_arrays():
                # A loop that outruns a short plan must not leave hundreds of tiny chunks.
                array.resize(self.capacity, rows_per_chunk(self.capacity, array.row_bytes))
        by_column = np.ascontiguousarray(rows.T)  # once, instead of a walk through all rows for every metric
        for array, columns, shape in self.arrays:
            array.write(first, by_column[columns].T.reshape(len(rows), *shape))
        self.time.write(first, np.concatenate(self.times))
        self.rows = end
        self.waiting.clear()
        self.times.clear()
        self.waiting_rows = 0

    def add_snapshot(self, store: StoreWriter, stream: str, step: int, tensors: dict[str, NDArray[np.float16]]) -> None:
        """Write latents of one step, one chunk each; comes before the row of the same step is written."""
        for name, values in tensors.items():
            array = self.snapshots.get(name)
            if array is None:
                # Raw: the best codec saves 8 %, since mantissas are noise (benchmarks/snapshots.py).
                array = store.array(
                    f"{self.group}/{name}",
                    (self.capacity, *values.shape),
                    "float16",
                    (paths.STEP, *snapshot_dims(store, self.group, stream)),
                    {"units": "1", "long_name": SNAPSHOT_LABELS[name]},
                    rows=1,
                )
                self.snapshots[name] = array
            if step >= array.shape[0]:
                array.resize(max(step + 1, 2 * array.shape[0]))
            array.write(step, values[None])

    def add_decoded(self, store: StoreWriter, message: Message) -> None:
        """Take in a picture of a decoded frame; they are written once they are complete, or at the end."""
        if f"{self.group}/{paths.DECODED}" in store:
            return
        self.decoded = self.decoded or DecodedWriter.begun(message)
        self.decoded.add(message)
        if len(self.decoded.pictures) == self.decoded.count:
            self.decoded.write(store, self.group)

    def trim(self, rows: int) -> None:
        """Give the metrics their last number of rows; more may still follow."""
        for array in self._step_arrays():
            trim(array, rows, MOST_ROWS if rows > LONG_ROWS else rows_per_chunk(rows, array.row_bytes))
        self.capacity = rows

    def finish(self, store: StoreWriter) -> None:
        """Trim all arrays to the rows written, and write the coordinate `step`; nothing is added afterwards."""
        self.trim(self.rows)
        for array in self.snapshots.values():
            trim(array, self.rows, 1)
        if self.previews is not None:
            self.previews.trim(self.rows)
        if self.decoded is not None:
            self.decoded.write(store, self.group)
        labels: dict[str, Any] = {"units": "1"}
        steps = np.arange(self.rows)
        store.array(f"{self.group}/{paths.STEP}", steps.shape, "int64", (paths.STEP,), labels, values=steps)

    def _step_arrays(self) -> tuple[ArrayWriter, ...]:
        return (*(array for array, _, _ in self.arrays), self.time)
