"""Reads an archive as the messages its run was streamed as; rows and pictures are read on use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from recorder.format import paths, protocol, stored_findings
from recorder.format.protocol import Message
from replay.archive.lazy_rows import ArchivedPreviews, ArchivedRows, ChunkCache, decoded_frames
from replay.archive.open_storage import attributes_of, storage_of
from replay.archive.safe_files import Damaged, Missing
from replay.archive.storage import Storage
from replay.archive.store import ArrayReader, StoreReader
from replay.model import validation
from replay.model.checked import ChangedPlan, Checked, LeftOut, Missed, StageEnd, check
from replay.model.declarations import MetricInfo, StreamDeclaration
from replay.model.memory_limits import fingerprint
from replay.model.validation import NotARun

_SPARE: Final = 16
"""Gap allowed between stage numbers, beyond twice the number of stages."""
_MAX_QUANTITIES: Final = 32
"""Of the machine's load; recorders measure ten."""
_MAX_SHARED: Final = 64
"""Declarations of metrics that streams share; an archive of a recorder has one or two."""
_SAMPLES: Final = 4096
"""Samples that are read at a time: they are not needed in memory all at once."""


def root_attributes(path: Path) -> dict[str, Any]:
    """The root attributes of an archive.

    Raises:
        NotARun: if `path` is not an archive of a run in a format that this version reads.
        OSError: if it cannot be read.
    """
    return _checked_root(open_storage(path))


def open_storage(path: Path) -> Storage:
    """The files of an archive that exists, as a folder or packed.

    Raises:
        NotARun: if there is none, or it is packed and that cannot be read.
        OSError: if it cannot be read.
    """
    if not path.exists():
        raise NotARun(f"{path} does not exist")
    try:
        return storage_of(path)
    except Missing:
        raise NotARun(f"{path} is not a recorded run (it has no zarr.json)") from None
    except Damaged as error:
        raise NotARun(f"{path} cannot be read: the zip file {error}") from error


def _checked_root(storage: Storage) -> dict[str, Any]:
    path = storage.path
    try:
        attributes = attributes_of(storage)
    except Missing:
        raise NotARun(f"{path} is not a recorded run (it has no zarr.json)") from None
    except Damaged as error:
        raise NotARun(f"{path} has damaged metadata: {paths.DOCUMENT} {error}") from error
    try:
        validation.check_header(attributes)
        for key in ("rows", "missed", "previews"):
            for name, count in validation.read_table(attributes.get(key, {}), f"its {key}").items():
                validation.read_int(count, f"its number of {key} of {name[:40]}")
    except NotARun as error:
        raise NotARun(f"{path}: {error}") from error
    if "rows" not in attributes:
        raise NotARun(f"{path} has damaged metadata: the number of valid rows is missing")
    return attributes


class Archive:
    """One archive, opened. `notes` grows as damage is met; what is damaged is left out or NaN, the rest is read."""

    def __init__(self, place: Path | Storage, skip: Mapping[str, frozenset[str]] | None = None) -> None:
        """Read the root attributes.

        Args:
            place: the archive, a folder or packed, or where its files are read.
            skip: by array, keys of chunks that are known to be damaged; if that is not given, chunks of rows are looked
                at when the messages are read.

        Raises:
            NotARun, OSError: as `root_attributes`.
        """
        storage = open_storage(place) if isinstance(place, Path) else place
        self.attributes = _checked_root(storage)
        self.store = StoreReader(storage)
        self._skip = skip or {}
        self._look = skip is None
        self._cache = ChunkCache()
        self._declared_stages = 0
        self._metrics: dict[bytes, dict[str, MetricInfo]] = {}
        """By their fingerprint, so that equal streams share them."""

    @property
    def ended(self) -> bool:
        return "ended" in self.attributes

    @property
    def notes(self) -> list[str]:
        """What is missing or damaged, as far as it has been looked at."""
        return list(self.store.notes.values())

    @property
    def lost(self) -> list[str]:
        """The same without documents of which there is a copy."""
        return [note for name, note in self.store.notes.items() if name not in self.store.recovered]

    def messages(self, *, system: bool = True) -> Iterator[Message]:
        """All messages, checked, in an order that a reader of a live run accepts; on request without `system`."""
        attributes = self.attributes
        own = {"status", "rows", "previews", "error", "ended", "planned", "prompt", "summary", "missed"}
        own.add(stored_findings.ATTRIBUTE)
        known = {k: v for k, v in attributes.items() if k not in own}
        yield from self._accepted("", {**known, "t": protocol.HEADER})
        for index in self._stages():
            yield from self._stage(index)
        yield from self._missed()
        yield from self._events()
        if system:
            yield from self.system()
        if self.ended:
            end = {"time": attributes["ended"], **{k: attributes.get(k) for k in ("status", "error")}}
            yield from self._accepted("", {"t": protocol.END, **end})

    # Inside

    def _accepted(self, name: str, message: Message) -> Iterator[Checked]:
        """The message, checked, if it is one that a run takes; else a note."""
        try:
            found = check(message)
            self._check_order(found)
        except LeftOut:
            self.store.note(f"{name}/messages", "do not all follow the format; some are left out")
        except NotARun as error:
            self.store.note(name or message["t"], f"is damaged: {error}")
        else:
            yield found

    def _check_order(self, message: Checked) -> None:
        """Refuse a message that names a stage that the archive does not have."""
        facts, stages = message.facts, self._declared_stages
        if (isinstance(facts, StageEnd | ChangedPlan) and facts.stage >= stages) or (
            isinstance(facts, Missed) and facts.stage > stages
        ):
            raise NotARun(f"stage {facts.stage} was never declared")

    def _stages(self) -> range:
        """Numbers of stages, also of those between that are gone."""
        named = [*self.store.names(""), *(key.partition("/")[0] for key in self.attributes["rows"])]
        there = sorted({node.stage for n in named if (node := paths.parse(n)) is not None})
        most = 2 * len(there) + _SPARE
        return range(max((n for n in there if n < most), default=-1) + 1)

    def _missed(self) -> Iterator[Message]:
        for key, count in self.attributes.get("missed", {}).items():
            stage, _, stream = key.partition("/")
            if (node := paths.parse(stage)) is not None:
                missed = {"t": protocol.MISSED, "stage": node.stage, "stream": stream, "count": count}
                yield from self._accepted("missed", missed)

    def _stage(self, index: int) -> Iterator[Message]:
        name = paths.stage(index)
        try:
            found = list(self._accepted(name, {**self.store.attributes(name), "t": protocol.STAGE, "stage": index}))
        except Damaged as error:
            found = []
            self.store.note(name, str(error))
        if not found:  # its streams may still be readable, and stages behind it are counted from it
            given = self.attributes.get("time")
            bare = {"t": protocol.STAGE, "stage": index, "call": index, "tile": None, "sigmas": []}
            bare["time"] = given if isinstance(given, float) else 0.0
            found = list(self._accepted(name, {**bare, "metadata": {}}))
        if not found:
            return
        self._declared_stages = index + 1
        yield from found
        for stream in protocol.STREAMS:
            key = paths.stream(index, stream)
            if self.store.folder(key) or key in self.attributes["rows"]:
                yield from self._stream(index, stream)

    def _stream(self, index: int, stream: str) -> Iterator[Message]:
        key = paths.stream(index, stream)
        place = {"stage": index, "stream": stream}
        try:
            declaration = {**self.store.attributes(key), "t": protocol.STREAM, **place}
            palette = declaration.pop(paths.PALETTE, None)
        except Damaged as error:
            self.store.note(key, str(error))
            return
        accepted = list(self._accepted(key, declaration))
        yield from accepted
        declared = accepted[0].facts if accepted else None
        if not isinstance(declared, StreamDeclaration):
            return
        count = self._count(key)
        if count < 1:
            return
        rows = ArchivedRows(self.store, self._cache, key, self._shared(declared, declaration), count, self._skip)
        rows.check_documents(look=self._look)
        if rows.rows:
            yield from self._accepted(key, {"t": protocol.STEP, **place, "step": 0, "count": rows.rows, "data": rows})
            yield from self._previews(key, place, rows.rows)
        if isinstance(palette, dict):
            yield from self._accepted(f"{key}/{paths.PALETTE}", {**palette, "t": protocol.PALETTE, **place})
        yield from self._decoded(key, place)

    def _shared(self, declared: StreamDeclaration, declaration: Message) -> dict[str, MetricInfo]:
        mark = fingerprint(declaration["metrics"])
        if len(self._metrics) >= _MAX_SHARED:
            self._metrics.clear()
        return self._metrics.setdefault(mark, declared.metrics)

    def _count(self, key: str) -> int:
        """Rows of a stream that count; a finished archive that has lost the number has as many as times."""
        found = self.attributes["rows"].get(key)
        if found is None and self.ended:
            try:
                found = self.store.array(f"{key}/{paths.TIME}").rows
            except Damaged:
                found = 0
            if found:
                self.store.note(f"{key}/rows", f"are not counted in the root attributes; there are {found:,}")
                self.store.recovered.add(f"{key}/rows")
        return int(found or 0)

    def _previews(self, key: str, place: Message, rows: int) -> Iterator[Message]:
        count = min(self.attributes.get("previews", {}).get(key, 0), rows)
        if count < 1:
            return
        try:
            pictures = ArchivedPreviews(self.store, key, count, self._skip)
        except (Damaged, NotARun) as error:
            self.store.note(f"{key}/{paths.PREVIEW}", str(error))
            return
        yield from self._accepted(key, {"t": protocol.PREVIEW, **place, "step": 0, "data": pictures})

    def _decoded(self, key: str, place: Message) -> Iterator[Message]:
        if not self.store.folder(f"{key}/{paths.DECODED}"):
            return
        try:
            frames = decoded_frames(self.store, key, self._skip)
        except Damaged as error:
            self.store.note(f"{key}/{paths.DECODED}", str(error))
            return
        for frame in frames:
            yield from self._accepted(f"{key}/{paths.DECODED}", {"t": protocol.DECODED, **place, **frame})

    def _events(self) -> Iterator[Message]:
        try:
            found = self.store.attributes(paths.EVENTS).get("messages")
        except Missing:
            return
        except Damaged as error:
            self.store.note(paths.EVENTS, str(error))
            return
        if not isinstance(found, list):
            self.store.note(paths.EVENTS, "has no list of messages")
            return
        for event in found:
            if isinstance(event, dict):
                yield from self._accepted(paths.EVENTS, {**event, "t": protocol.EVENT})

    def system(self) -> Iterator[Message]:
        """The samples of the machine's load."""
        if not self.store.folder(paths.SYSTEM):
            return
        names = sorted(self.store.names(paths.SYSTEM), key=lambda n: n != paths.TIME)
        if len(names) > _MAX_QUANTITIES + 1:
            self.store.note(paths.SYSTEM, f"has {len(names) - 1:,} quantities; {_MAX_QUANTITIES} are shown")
        arrays: dict[str, ArrayReader] = {}
        samples = 0
        for name in names[: _MAX_QUANTITIES + 1]:
            try:
                array = self.store.array(f"{paths.SYSTEM}/{name}")
                if array.dtype.name != "float64" or len(array.shape) != 1 or not validation.NAME.fullmatch(name):
                    raise Damaged(f"is {array.dtype.name} {list(array.shape)}")
                samples = array.held() if name == paths.TIME else samples
                if array.rows and not array.covered():
                    raise Damaged("is incomplete: none of its chunks can be read")
                arrays[name] = array
            except Damaged as error:
                self.store.note(f"{paths.SYSTEM}/{name}", str(error))
        for first in range(0, samples if paths.TIME in arrays else 0, _SAMPLES):
            yield from self._samples(arrays, first, min(first + _SAMPLES, samples))

    def _samples(self, arrays: Mapping[str, ArrayReader], first: int, end: int) -> Iterator[Message]:
        columns: dict[str, list[float]] = {}
        for name, array in arrays.items():
            try:
                columns[name] = array.read(first, end, self._skip.get(f"{paths.SYSTEM}/{name}", frozenset())).tolist()
            except Damaged as error:
                self.store.note(f"{paths.SYSTEM}/{name}", str(error))
        for i, time in enumerate(columns.pop(paths.TIME, [])):
            values = {name: column[i] for name, column in columns.items() if i < len(column) and column[i] == column[i]}
            yield from self._accepted(paths.SYSTEM, {"t": protocol.SYSTEM, "time": time, "values": values})
