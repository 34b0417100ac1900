"""Rows and pictures of an archive that are read when they are looked at, so that opening does not read them all."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recorder.format import paths, protocol
from recorder.format.protocol import Message
from replay.archive.safe_files import Awaited, Damaged
from replay.archive.store import ArrayReader, StoreReader, Values
from replay.model.colours import MAX_DECODED
from replay.model.declarations import MetricInfo, Preview
from replay.model.validation import NotARun

CACHE_BYTES: Final = 256 << 20
"""Columns of one archive that are kept in memory; the last one read always is."""


class ChunkCache:
    """Columns of all streams of an archive; the least recently used are dropped."""

    def __init__(self, limit: int = CACHE_BYTES) -> None:
        self._limit = limit
        self._held: OrderedDict[str, Values] = OrderedDict()
        self._bytes = 0

    def get(self, name: str) -> Values | None:
        found = self._held.get(name)
        if found is not None:
            self._held.move_to_end(name)
        return found

    def put(self, name: str, values: Values) -> None:
        self._held[name] = values
        self._bytes += _memory(values)
        while self._bytes > self._limit and len(self._held) > 1:
            _, gone = self._held.popitem(last=False)
            self._bytes -= _memory(gone)


def _memory(values: Values) -> int:
    return 0 if 0 in values.strides else values.nbytes


class ArchivedRows:
    """The rows of one stream of an archive; damaged or missing values are NaN, and reported in the store's notes."""

    def __init__(
        self,
        store: StoreReader,
        cache: ChunkCache,
        group: str,
        metrics: Mapping[str, MetricInfo],
        rows: int,
        skip: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        """
        Args:
            store: of the archive.
            cache: for its columns.
            group: such as `stage_0/video`.
            metrics: of the stream, as it declares them.
            rows: that count.
            skip: by array, keys of chunks that are known to be damaged.
        """
        self._store, self._cache, self._group, self._skip = store, cache, group, skip or {}
        self._metrics = metrics
        self.rows = min(rows, self._there(rows))
        if self.rows < rows:
            store.note(group, f"has {self.rows:,} of {rows:,} rows")

    def _there(self, rows: int) -> int:
        """Rows that any of the arrays has, so that a number alone takes no memory; `time` is asked first."""
        most = 0
        for name in (paths.TIME, *self._metrics):
            try:
                most = max(most, self._array(name).held())
            except Damaged as error:
                self._store.note(f"{self._group}/{name}", str(error))
            if most >= rows:
                break
        return most

    def check_documents(self, *, look: bool = False) -> None:
        """Note every array that is missing or not as declared; also what `StoreReader.look` finds, if it is to look."""
        for name in (paths.TIME, *self._metrics):
            try:
                array = self._declared(name, self._metrics.get(name))
                if look:
                    self._store.look(array, self.rows)
            except Damaged as error:
                self._store.note(f"{self._group}/{name}", str(error))

    def times(self) -> NDArray[np.float64]:
        """Unix time of each row [rows]."""
        return self._column(paths.TIME, None, "float64", ())

    def column(self, metric: str) -> NDArray[np.float32]:
        """All rows of one metric [rows, *shape]; not to be written to."""
        info = self._metrics[metric]
        return self._column(metric, info, "float32", info.shape)

    def block(self, first: int, end: int) -> NDArray[np.float32]:
        """Rows as they travel [end − first, width]."""
        width = sum(m.columns.stop - m.columns.start for m in self._metrics.values())
        found = np.empty((end - first, width), np.float32)
        for name, info in self._metrics.items():
            found[:, info.columns] = self.column(name)[first:end].reshape(end - first, -1)
        return found

    # Inside

    def _array(self, name: str) -> ArrayReader:
        return self._store.array(f"{self._group}/{name}")

    def _declared(self, name: str, info: MetricInfo | None) -> ArrayReader:
        array = self._array(name)
        kind, shape = ("float64", ()) if info is None else ("float32", info.shape)
        if array.dtype.name != kind or array.shape[1:] != shape:
            raise Damaged(f"is {array.dtype.name} {list(array.shape)}, and should be {kind} {['rows', *shape]}")
        if array.rows < self.rows:
            self._store.note(f"{self._group}/{name}", f"has {array.rows:,} of {self.rows:,} rows")
        return array

    def _column(self, name: str, info: MetricInfo | None, kind: str, shape: tuple[int, ...]) -> Values:
        path = f"{self._group}/{name}"
        known = self._cache.get(path)
        if known is not None:
            return known
        try:
            found = self._declared(name, info).read(0, self.rows, self._skip.get(path, frozenset()))
            if len(found) < self.rows:
                absent = np.full((self.rows - len(found), *shape), np.nan, kind)
                found = np.concatenate([found, absent])
            found.flags.writeable = False
        except Awaited:
            return np.broadcast_to(np.array(np.nan, kind), (self.rows, *shape))
        except (Damaged, OSError) as error:
            self._store.note(path, str(error))
            found = np.broadcast_to(np.array(np.nan, kind), (self.rows, *shape))
        self._cache.put(path, found)
        return found


class ArchivedPreviews(Mapping[int, Preview]):
    """The pictures of a stream by step; their pixels are read when they are drawn."""

    def __init__(
        self, store: StoreReader, group: str, count: int, skip: Mapping[str, frozenset[str]] | None = None
    ) -> None:
        """Raises Damaged or NotARun if they cannot be read or do not fit together."""
        skip = skip or {}
        self._skip = skip.get(f"{group}/{paths.PREVIEW}", frozenset())
        self._pixels = store.array(f"{group}/{paths.PREVIEW}")
        fits = store.array(f"{group}/{paths.PREVIEW_FIT}")
        shown = store.array(f"{group}/{paths.PREVIEW_FRAME}")
        for array, axes in ((fits, 1), (shown, 1), (self._pixels, 5)):
            if len(array.shape) != axes:
                raise Damaged(f"previews: {array.name} has the shape {list(array.shape)}")
        if not {fits.dtype.kind, shown.dtype.kind} <= {"u", "i"}:
            raise Damaged("previews are not counted in integers")
        if shown.rows != self._pixels.shape[1] or shown.rows > 1 << 10:
            raise Damaged(f"previews show {shown.rows:,} frames in pictures of {self._pixels.shape[1]:,}")
        self._fits = fits.read(0, min(count, self._pixels.rows), skip.get(f"{group}/{paths.PREVIEW_FIT}", frozenset()))
        self._frames = [int(n) for n in shown.read(0, None, skip.get(f"{group}/{paths.PREVIEW_FRAME}", frozenset()))]
        self._colours = store.document(f"{group}/{paths.PREVIEW}").get("attributes", {}).get("colours")
        self._steps = np.flatnonzero(self._fits)
        if len(self._steps):
            Preview.declared(self.message(int(self._steps[0])))

    def __len__(self) -> int:
        return len(self._steps)

    def __iter__(self) -> Iterator[int]:
        return iter(self._steps.tolist())

    def __contains__(self, step: object) -> bool:
        return isinstance(step, int) and 0 <= step < len(self._fits) and bool(self._fits[step])

    def __getitem__(self, step: int) -> Preview:
        if step not in self:
            raise KeyError(step)
        return Preview.declared(self.message(step))

    def from_step(self, first: int) -> ArchivedPreviews:
        """Those of them from a step on."""
        found = copy.copy(self)
        found._steps = self._steps[self._steps >= first]
        found._fits = np.where(np.arange(len(self._fits)) < first, 0, self._fits)
        return found

    def message(self, step: int) -> Message:
        """The `preview` message of a step, without its stage and stream; `data` reads the pixels."""
        return {
            "step": step,
            "shape": list(self._pixels.shape[1:]),
            "frames": self._frames,
            "fit": int(self._fits[step]),
            "colours": self._colours if isinstance(self._colours, str) else protocol.FALSE_COLOURS,
            "data": functools.partial(_pixels, self._pixels, step, self._skip),
        }


def _pixels(array: ArrayReader, step: int, skip: frozenset[str]) -> bytes:
    try:
        if array.dtype.name != "uint8":
            raise Damaged(f"is of type {array.dtype.name}")
        return array.read_whole(step, step + 1, skip).tobytes()
    except Awaited:
        raise NotARun(f"the preview of step {step} is being fetched") from None
    except (Damaged, OSError) as error:
        array.store.note(array.name, f"is incomplete: {array.key(step // array.chunk_rows)} {error}")
        raise NotARun(f"the preview of step {step} is damaged: {error}") from error


def decoded_frames(store: StoreReader, group: str, skip: Mapping[str, frozenset[str]] | None = None) -> list[Message]:
    """The `decoded` messages of a stream, without its stage and stream; `data` reads the pixels.

    Raises:
        Damaged: if they cannot be read or do not fit together.
    """
    skip = skip or {}
    pixels, shown = store.array(f"{group}/{paths.DECODED}"), store.array(f"{group}/{paths.DECODED_FRAME}")
    if len(pixels.shape) != 4 or len(shown.shape) != 1 or shown.dtype.kind not in "ui":
        raise Damaged(f"decoded frames have the shapes {list(pixels.shape)} and {list(shown.shape)}")
    if pixels.rows != shown.rows or pixels.rows > MAX_DECODED:
        raise Damaged(f"there are {pixels.rows:,} decoded frames with {shown.rows:,} numbers")
    frames = shown.read(0, None, skip.get(f"{group}/{paths.DECODED_FRAME}", frozenset()))
    return [
        {
            "index": i,
            "count": pixels.rows,
            "frame": int(frame),
            "shape": list(pixels.shape[1:]),
            "data": functools.partial(_pixels, pixels, i, skip.get(pixels.name, frozenset())),
        }
        for i, frame in enumerate(frames)
    ]


def as_recorded(message: Message) -> Iterator[dict[str, Any]]:
    """The messages that a recorder would have sent for one of an archive, whose rows and pictures are not read yet.

    Damaged pictures are left out.
    """
    data = message.get("data")
    if isinstance(data, ArchivedRows):
        times = data.times()
        for first in range(int(message["step"]), data.rows, 1024):
            end = min(first + 1024, data.rows)
            time = times[first:end].tobytes() if end - first > 1 else float(times[first])
            data_bytes = data.block(first, end).tobytes()
            yield {**message, "step": first, "count": end - first, "time": time, "data": data_bytes}
    elif isinstance(data, ArchivedPreviews):
        for step in data:
            found = data.message(step)
            try:
                yield {**message, **found, "data": found["data"]()}
            except NotARun:
                continue
    elif callable(data):
        with contextlib.suppress(NotARun):
            yield {**message, "data": data()}
    else:
        yield message
