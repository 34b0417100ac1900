"""The peers, each used offline as its documentation shows: open, log one step, close, read all back."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from benchmarks.peers import LENGTH, NAMES, SCALARS, VECTORS, WIDTH
from benchmarks.peers.ours import Ours, OursPacked, Rows
from benchmarks.peers.record_files import leveldb_records, tf_records
from benchmarks.peers.rows import named, stacked, unnamed


class Tool(Protocol):
    """One way to store metrics. `read` returns the readable rows in order, also of a truncated file."""

    distribution: str
    """The name of its distribution; empty for this recorder."""
    modules: ClassVar[tuple[str, ...]]
    """Imported before anything is timed; the tool is installed if the first one is."""

    def open(self, folder: Path, steps: int) -> None: ...
    def log(self, step: int, row: Rows) -> None: ...
    def close(self) -> None: ...
    def read(self, folder: Path) -> Rows: ...


class Mcap:
    """One channel, one binary message a step; chunks of 1 MB compressed with zstd, as the library does by default."""

    distribution = "mcap"
    modules = ("mcap.writer", "mcap.stream_reader")
    chunked = True

    def open(self, folder: Path, steps: int) -> None:
        from mcap.writer import Writer

        self._file = (folder / "run.mcap").open("wb")
        self._writer = Writer(self._file, use_chunking=self.chunked)
        self._writer.start()
        schema = self._writer.register_schema("row", "jsonschema", json.dumps({"names": NAMES}).encode())
        self._channel = self._writer.register_channel("/metrics", "float32", schema)

    def log(self, step: int, row: Rows) -> None:
        self._writer.add_message(self._channel, log_time=step, publish_time=step, sequence=step, data=row.tobytes())

    def close(self) -> None:
        self._writer.finish()
        self._file.close()

    def read(self, folder: Path) -> Rows:
        from mcap.exceptions import McapError
        from mcap.records import Message
        from mcap.stream_reader import StreamReader

        rows: list[Rows] = []
        with (folder / "run.mcap").open("rb") as file:
            try:
                for record in StreamReader(file).records:
                    if isinstance(record, Message):
                        rows.append(np.frombuffer(record.data, np.float32))
            except (McapError, struct.error, ValueError, EOFError):
                return stacked(rows)  # truncated: the rows before are what is left
        return stacked(rows)


class McapFlushed(Mcap):
    """Without chunks, flushed to the operating system after every message: the durable way to use it."""

    chunked = False

    def log(self, step: int, row: Rows) -> None:
        super().log(step, row)
        self._file.flush()


class TensorBoard:
    """tensorboardX: `add_scalar` for every scalar, a tensor summary for every vector."""

    distribution = "tensorboardX"
    modules = ("tensorboardX", "tensorboardX.proto.event_pb2")

    def open(self, folder: Path, steps: int) -> None:
        from tensorboardX import SummaryWriter
        from tensorboardX.proto import summary_pb2, tensor_pb2, tensor_shape_pb2

        self._summary, self._tensor, self._shape = summary_pb2.Summary, tensor_pb2.TensorProto, tensor_shape_pb2
        self._writer = SummaryWriter(str(folder))

    def log(self, step: int, row: Rows) -> None:
        for name, value in zip(NAMES, row, strict=False):
            self._writer.add_scalar(name, value, step)
        shape = self._shape.TensorShapeProto(dim=[self._shape.TensorShapeProto.Dim(size=LENGTH)])
        for i in range(VECTORS):
            part = row[SCALARS + i * LENGTH : SCALARS + (i + 1) * LENGTH]
            tensor = self._tensor(dtype=1, tensor_shape=shape, tensor_content=part.tobytes())
            value = self._summary.Value(tag=f"vector_{i}", tensor=tensor)
            self._writer.file_writer.add_summary(self._summary(value=[value]), step)

    def close(self) -> None:
        self._writer.close()

    def read(self, folder: Path) -> Rows:
        from tensorboardX.proto import event_pb2

        columns = {name: slice(i, i + 1) for i, name in enumerate(NAMES)}
        for i in range(VECTORS):
            columns[f"vector_{i}"] = slice(SCALARS + i * LENGTH, SCALARS + (i + 1) * LENGTH)
        rows: list[Rows] = []
        for path in sorted(folder.glob("events*")):
            for data in tf_records(path.read_bytes()):
                event = event_pb2.Event.FromString(data)
                for value in event.summary.value:
                    while event.step >= len(rows):
                        rows.append(np.full(WIDTH, np.nan, np.float32))
                    content = value.tensor.tensor_content
                    what = np.frombuffer(content, np.float32) if content else value.simple_value
                    rows[event.step][columns[value.tag]] = what
        whole = [row for row in rows if np.isfinite(row).all()]
        return stacked(whole)


class WandB:
    """`run.log` of a dictionary, offline, with vectors as lists."""

    distribution = "wandb"
    modules = ("wandb", "wandb.proto.wandb_internal_pb2")

    def open(self, folder: Path, steps: int) -> None:
        import wandb

        settings = wandb.Settings(mode="offline", silent=True, console="off", x_disable_stats=True, disable_git=True)
        self._run = wandb.init(project="peers", dir=str(folder), settings=settings)

    def log(self, step: int, row: Rows) -> None:
        self._run.log(named(row), step=step)

    def close(self) -> None:
        self._run.finish()

    def read(self, folder: Path) -> Rows:
        from wandb.proto import wandb_internal_pb2

        rows: list[Any] = []
        for path in folder.rglob("*.wandb"):
            for data in leveldb_records(path.read_bytes()):
                record = wandb_internal_pb2.Record.FromString(data)
                if record.WhichOneof("record_type") == "history":
                    items = {i.key or "/".join(i.nested_key): i.value_json for i in record.history.item}
                    if NAMES[0] in items:
                        rows.append(unnamed({k: json.loads(v) for k, v in items.items() if not k.startswith("_")}))
        return stacked(rows)


class Trackio:
    """`trackio.log` of a dictionary into its local database."""

    distribution = "trackio"
    modules = ("trackio", "sqlite3")

    def open(self, folder: Path, steps: int) -> None:
        import trackio

        self._trackio = trackio
        trackio.init(project="peers", name="run", embed=False, auto_log_gpu=False, auto_log_cpu=False)

    def log(self, step: int, row: Rows) -> None:
        self._trackio.log(named(row), step=step)

    def close(self) -> None:
        self._trackio.finish()

    def read(self, folder: Path) -> Rows:
        import sqlite3

        for path in folder.rglob("*.db"):
            connection = sqlite3.connect(path)
            try:
                found = connection.execute("SELECT metrics FROM metrics ORDER BY step").fetchall()
            except sqlite3.OperationalError:
                continue
            finally:
                connection.close()
            if found:
                return stacked([unnamed(json.loads(text)) for (text,) in found])
        return stacked([])


class Rerun:
    """Three `Scalars` a step: all scalars together, and each vector; saved to a file."""

    distribution = "rerun-sdk"
    modules = ("rerun", "rerun.chunk", "pyarrow")
    parts: ClassVar[list[tuple[str, slice]]] = [
        ("scalars", slice(0, SCALARS)),
        *((f"vector_{i}", slice(SCALARS + i * LENGTH, SCALARS + (i + 1) * LENGTH)) for i in range(VECTORS)),
    ]

    def open(self, folder: Path, steps: int) -> None:
        import rerun

        self._scalars = rerun.Scalars
        self._stream = rerun.RecordingStream("peers")
        self._stream.save(str(folder / "run.rrd"))

    def log(self, step: int, row: Rows) -> None:
        self._stream.set_time("step", sequence=step)
        for name, columns in self.parts:
            self._stream.log(name, self._scalars(row[columns]))

    def close(self) -> None:
        self._stream.flush()
        self._stream.disconnect()

    def read(self, folder: Path) -> Rows:
        from rerun.chunk import RrdReader

        found: dict[str, dict[int, Rows]] = {name: {} for name, _ in self.parts}
        try:
            for chunk in RrdReader(folder / "run.rrd").stream():
                name = str(chunk.entity_path).strip("/")
                if name in found:
                    batch = chunk.to_record_batch()
                    column = next(n for n in batch.schema.names if "Scalars" in n)
                    values = batch.column(column)
                    steps = batch.column("step").to_numpy()
                    flat = values.flatten().to_numpy().astype(np.float32).reshape(len(steps), -1)
                    found[name].update(zip(steps.tolist(), flat, strict=True))
        except (OSError, RuntimeError, ValueError):
            return self._joined(found)
        return self._joined(found)

    def _joined(self, found: dict[str, dict[int, Rows]]) -> Rows:
        whole = sorted(set.intersection(*(set(v) for v in found.values())))
        return stacked([np.concatenate([found[name][s] for name, _ in self.parts]) for s in whole])


class PlainZarr:
    """zarr-python alone: three arrays that grow by a row a step, in chunks of 128 rows."""

    distribution = "zarr"
    modules = ("zarr",)

    def open(self, folder: Path, steps: int) -> None:
        import zarr

        group = zarr.open_group(str(folder / "run.zarr"), mode="w")
        self._arrays = [
            (columns, group.create_array(name, shape=(0, columns.stop - columns.start),
                                         chunks=(128, columns.stop - columns.start), dtype="float32"))
            for name, columns in Rerun.parts
        ]  # fmt: skip

    def log(self, step: int, row: Rows) -> None:
        for columns, array in self._arrays:
            array.append(row[None, columns])

    def close(self) -> None:
        """Every row is written already."""

    def read(self, folder: Path) -> Rows:
        import zarr

        group: Any = zarr.open_group(str(folder / "run.zarr"), mode="r")
        parts = [np.asarray(group[name][:]) for name, _ in Rerun.parts if name in group]
        if len(parts) < len(Rerun.parts):
            return stacked([])
        rows = min(len(p) for p in parts)
        joined = np.concatenate([p[:rows] for p in parts], axis=1)
        # A row that was begun and never filled reads as zeros.
        return joined[: int(np.flatnonzero(joined.any(axis=1))[-1]) + 1] if joined.any() else joined[:0]


TOOLS: dict[str, type[Tool]] = {
    "ours": Ours,
    "ours packed": OursPacked,
    "MCAP": Mcap,
    "MCAP flushed": McapFlushed,
    "rerun": Rerun,
    "TensorBoard": TensorBoard,
    "trackio": Trackio,
    "W&B offline": WandB,
    "plain Zarr": PlainZarr,
}
SLOW = ("plain Zarr",)
"""Measured once, regardless of `--repeats`."""
