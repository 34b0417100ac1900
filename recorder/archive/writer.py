"""Writes the Zarr archive of a run from its messages. Light: neither torch nor zarr-python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recorder.archive.packed_writer import PackedStoreWriter
from recorder.archive.stream_writer import SNAPSHOT_LABELS, StreamWriter
from recorder.archive.tables import (
    BLOCK_ROWS,
    create_previews,
    to_json_value,
    write_events,
    write_kept,
    write_system,
)
from recorder.archive.zarr_writer import StoreWriter
from recorder.findings.document import FindingsWriter
from recorder.format import paths, protocol, stored_findings
from recorder.format.protocol import Message
from recorder.system.open_folders import Tree


class ArchiveWriter:
    """Writes one archive from one run's messages, in their order.

    Arrays are allocated at the planned number of steps; full blocks are written; the number of rows that count is
    published last, in the root attributes, by an atomic replace. `finish` trims, consolidates and sets the status.
    The folder is made when the first stream is declared: a run without a row leaves no archive.
    """

    def __init__(self, path: Path, *, sync: bool = False, empty: bool = False, pack: bool = False) -> None:
        """
        Args:
            path: of the archive, which must not exist.
            sync: force all that is written onto the disk at once, not only at the end.
            empty: make an archive of a run without a row too.
            pack: make one file of it at the end, `<run>.zarr.zip`; a short run has no folder before that.
        """
        self.path = path
        self._sync = sync
        self._empty = empty
        self._pack = pack
        self._store: StoreWriter | None = None
        self._waiting: list[Message] = []
        """Stages that were declared before there was an archive."""
        self._attributes: dict[str, Any] = {}
        self._planned: dict[int, int] = {}
        self._streams: dict[tuple[int, str], StreamWriter] = {}
        self._events: list[Message] = []
        self._system: list[Message] = []
        self._findings = FindingsWriter()

    def feed(self, message: Message) -> None:
        """Take in one message; rows are written in blocks. Raises OSError when the disk does."""
        kind = message["t"]
        if kind != protocol.END:
            self._findings.feed(message)
        if kind == protocol.HEADER:
            self._begin(message)
        elif kind == protocol.STAGE:
            self._begin_stage(message)
        elif kind == protocol.STREAM:
            self._begin_stream(message)
        elif kind == protocol.STEP:
            self._add_rows(message)
        elif kind == protocol.MISSED:
            # At the root, next to the rows that count, so that a list of runs can show it.
            missed, key = self._attributes["missed"], paths.stream(message["stage"], message["stream"])
            missed[key] = max(missed.get(key, 0), int(message["count"]))
        elif kind == protocol.EVENT:
            self._events.append(message)
            if message["kind"] == "stage_end":
                # Also at the root, so that a list of runs can show it.
                summary = to_json_value(message["payload"].get("summary", {}))
                self._attributes.setdefault("summary", {})[paths.stage(message["stage"])] = summary
                if self._findings.stage_ends():
                    self._keep_findings()
                self._end_stage(int(message["stage"]))
        elif kind == protocol.SYSTEM:
            self._system.append(message)
        elif kind == protocol.PREVIEW:
            self._add_preview(message)
        elif kind in (protocol.DECODED, protocol.PALETTE):
            self._add_colours(message)
        elif kind == protocol.END:
            self.finish(message)

    def _begin(self, header: Message) -> None:
        self._attributes = {**_without_type(header), "status": "recording", "rows": {}, "missed": {}, "previews": {}}

    def _make(self) -> StoreWriter:
        """The archive's folder, made when it is needed first."""
        if self._store is None:
            self._store = (PackedStoreWriter if self._pack else StoreWriter)(self.path, self._attributes)
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
        self._streams[index, name] = StreamWriter.create(store, group, stream, capacity)

    def _add_rows(self, step: Message) -> None:
        stream = self._streams[int(step["stage"]), str(step["stream"])]
        stream.add_rows(step)
        if stream.waiting_rows >= BLOCK_ROWS:
            self.write_rows()

    def _add_preview(self, message: Message) -> None:
        stream = self._streams[int(message["stage"]), str(message["stream"])]
        picture = np.frombuffer(message["data"], np.uint8).reshape(message["shape"])
        if stream.previews is None:
            stream.previews = create_previews(self.store, stream.group, stream.capacity, message)
        stream.previews.add(int(message["step"]), int(message["fit"]), picture)

    def _add_colours(self, message: Message) -> None:
        stream = self._streams.get((int(message["stage"]), str(message["stream"])))
        if stream is None:
            return
        if message["t"] == protocol.DECODED:
            stream.add_decoded(self.store, message)
            return
        palette = {k: to_json_value(v) for k, v in message.items() if k not in ("t", "stage", "stream")}
        self.store.update(stream.group, attributes={**self.store.attributes(stream.group), paths.PALETTE: palette})

    def add_snapshot(self, stage: int, stream: str, step: int, tensors: dict[str, NDArray[np.float16]]) -> None:
        """Write latents of one step, one chunk each; comes before the row of the same step is written."""
        self.store.need_folder()
        self._streams[stage, stream].add_snapshot(self.store, stream, step, tensors)

    def keep(
        self,
        stage: int,
        stream: str,
        step: int,
        sigma: float,
        frames: tuple[int, ...] | None,
        tensors: dict[str, NDArray[np.float32]],
    ) -> None:
        """Write one stream's share of a snapshot that a viewer asked for, in its own group."""
        self.store.need_folder()
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
        """Remove the archive as far as it was written, but nothing that has replaced it."""
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
        """Write all waiting rows, then publish the number of complete rows.

        Raises:
            OSError: if a write fails, or if the archive is no longer at its path.
        """
        if self._store is None:
            return
        self._store.check_place()
        for (index, name), stream in self._streams.items():
            if stream.waiting:
                stream.write_rows()
                self._attributes["rows"][paths.stream(index, name)] = stream.rows
            if stream.previews is not None:
                stream.previews.write()
                # Apart from the rows: a row's picture follows it, so the last one may still be on its way.
                self._attributes["previews"][paths.stream(index, name)] = min(stream.previews.end, stream.rows)
        self.store.update("", attributes=self._attributes)
        if self._sync:
            self._store.sync()

    def _end_stage(self, index: int) -> None:
        """Trim the arrays to the rows of the stage, then write those that wait: rows are then written once."""
        for (stage, _), stream in self._streams.items():
            if stage == index:
                stream.trim(stream.rows + stream.waiting_rows)
        self.write_rows()

    def _keep_findings(self) -> None:
        """Keep them at the root, so that a list of runs can show them; without rules that work there are none."""
        if self._findings.document is None:
            self._attributes.pop(stored_findings.ATTRIBUTE, None)
        else:
            self._attributes[stored_findings.ATTRIBUTE] = self._findings.document

    def finish(self, end: Message) -> None:
        """Write the rows that wait, trim arrays to their rows, write the tables, consolidate, and set the final status.

        It may not be on the disk yet: see `sync`. Without a row there is an archive only to say why no step could be
        recorded.
        """
        self._sync = False  # everything is forced onto the disk after this
        self.write_rows()
        failed = self._attributes["missed"] or any(e["kind"] == "error" for e in self._events)
        if not (self._empty or failed or any(s.rows for s in self._streams.values())):
            self.discard()
            return
        self._make()
        for stream in self._streams.values():
            stream.finish(self.store)
        if self._events:
            write_events(self.store, self._events)
        if self._system:
            write_system(self.store, self._system)
        if end["status"] != "recording":  # an archive with this status is a copy of a run that continues
            self._findings.feed({**end, "t": protocol.END})
        self._findings.update()
        self._keep_findings()
        self._attributes.update(status=end["status"], error=end["error"], ended=end["time"])
        self.store.consolidate(self._attributes)
        self.store.check_place()
        self.store.seal()


def _without_type(message: Message) -> dict[str, Any]:
    return {k: to_json_value(v) for k, v in message.items() if k != "t"}
