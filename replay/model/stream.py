"""One stream of a stage in memory: its declaration, rows and pictures.

Rows are kept as they travel, float32 vectors; a metric is a view of their columns with its declared shape. Rows of an
archive, and the older ones of a long live run, are read metric by metric, when they are used.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from recorder.format.protocol import Message
from replay.model import evaluations
from replay.model.colours import DecodedFrame, Palette
from replay.model.declarations import MetricInfo, Preview, StreamDeclaration
from replay.model.spill_file import SpilledRows, SpillFile

_FIRST_BYTES: Final = 256 << 10
"""Memory that is taken for the first row of a stream at most, beyond the row itself."""
MEMORY_BYTES: Final = 32 << 20
"""Rows of one live stream that are kept in memory at most; older ones go to a file without a name."""


@runtime_checkable
class Rows(Protocol):
    """The first rows of a stream, which are not in memory: they are read when they are used."""

    @property
    def rows(self) -> int: ...

    def times(self) -> NDArray[np.float64]:
        """Unix time of each row [rows]."""
        ...

    def column(self, metric: str) -> NDArray[np.float32]:
        """All rows of one metric [rows, …], complete along its other axes."""
        ...

    def block(self, first: int, end: int) -> NDArray[np.float32]:
        """Rows as they travel [end − first, width]."""
        ...


@dataclass
class StreamData:
    """One stream of one stage: its declaration and its rows so far."""

    stage: int
    name: str
    grid: tuple[int, ...]
    shape: tuple[int, ...]
    metrics: dict[str, MetricInfo]
    coordinates: dict[str, dict[str, Any]]
    declaration: Message
    rows: int = 0
    previews: Mapping[int, Preview] = field(default_factory=dict)
    """Pictures of x0 by step; a step may lack one."""
    palette: Palette | None = None
    """True colours of those pictures, once a clip was decoded."""
    decoded: dict[int, DecodedFrame] = field(default_factory=dict)
    """Pictures of the decoded clip by their index, in the order of their frames."""
    _stored: Rows | None = None
    _spills: bool = True
    _width: int = 0
    _widest: int = 8
    _data: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    _times: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @classmethod
    def declared(cls, message: Message) -> StreamData:
        """A stream without rows, from its `stream` message."""
        return cls.of(StreamDeclaration.read(message), message)

    @classmethod
    def of(cls, found: StreamDeclaration, message: Message) -> StreamData:
        """A stream without rows, of a message that was read already."""
        made = cls(found.stage, found.name, found.grid, found.shape, found.metrics, found.coordinates, dict(message))
        made._width = sum(m.columns.stop - m.columns.start for m in found.metrics.values())
        made._widest = max([8, *(4 * (m.columns.stop - m.columns.start) for m in found.metrics.values())])
        made._data = np.empty((0, made._width), np.float32)
        return made

    def attach(self, archived: Rows) -> None:
        """Take rows that are read when they are used; existing rows stay."""
        if self.rows:
            if archived.rows > self.rows:
                self.append(self.rows, archived.times()[self.rows :], archived.block(self.rows, archived.rows))
            return
        self._stored, self.rows = archived, archived.rows

    def append(
        self,
        first: int,
        times: NDArray[np.float64],
        rows: NDArray[np.float32],
        file: Callable[[], SpillFile] = SpillFile,
    ) -> None:
        """Add rows from `first` on; existing rows are kept, a gap is filled with NaN.

        Args:
            first: the number of the first of them.
            times: Unix time of each row [n].
            rows: as they travel [n, width].
            file: gives the file for rows that leave memory; asked for when some do.
        """
        skip = self.rows - first
        if skip >= len(rows):
            return
        if skip > 0:
            first, times, rows = self.rows, times[skip:], rows[skip:]
        before, held = self._before, self.rows - self._before
        at, end = first - before, first - before + len(rows)
        if end > len(self._data):
            few = min(64, 1 + _FIRST_BYTES // max(1, 4 * self._width))
            capacity = max(few, end, 2 * len(self._data))
            grown = np.full((capacity, self._width), np.nan, np.float32)
            grown[:held] = self._data[:held]
            grown_times = np.full(capacity, np.nan)
            grown_times[:held] = self._times[:held]
            self._data, self._times = grown, grown_times
        self._data[at:end] = rows
        self._times[at:end] = times
        self.rows = before + end
        if self._spills and end * max(8, 4 * self._width) > MEMORY_BYTES:
            self._spill(file, whole=True)

    def spill(self, file: Callable[[], SpillFile]) -> None:
        """Move all rows in memory to the file, as far as it takes them."""
        if self._spills:
            self._spill(file, whole=False)

    def _spill(self, file: Callable[[], SpillFile], *, whole: bool) -> None:
        """Move blocks of the oldest rows in memory to a file; with `whole` only those of the largest size."""
        held, done = self.rows - self._before, 0
        try:
            if self._stored is None:
                self._stored = SpilledRows({n: m.columns for n, m in self.metrics.items()}, self._width, file())
            stored = self._stored
            # Nothing can be added to an archive; rows that follow one are few.
            self._spills = isinstance(stored, SpilledRows)
            while isinstance(stored, SpilledRows) and held - done >= (stored.block_rows if whole else 1):
                end = min(held, done + stored.block_rows)
                stored.add(self._times[done:end], self._data[done:end])
                done = end
        except OSError:
            self._spills = False  # no room there: what is in memory stays there
        self._data = self._data[done:held].copy()
        self._times = self._times[done:held].copy()

    @property
    def memory_bytes(self) -> int:
        """Bytes of the rows in memory, with the room for more that was taken with them."""
        return int(self._data.nbytes + self._times.nbytes)

    @property
    def widest_bytes(self) -> int:
        """Bytes of a row's longest part, which is read on its own: its time or a metric."""
        return self._widest

    @property
    def _before(self) -> int:
        """Rows that are not in memory; those that are follow them."""
        return 0 if self._stored is None else self._stored.rows

    @property
    def width(self) -> int:
        """Values per row."""
        return self._width

    @property
    def data(self) -> NDArray[np.float32]:
        """All rows as they travel: [rows, width]. This reads everything, also what is not in memory."""
        held = self._data[: self.rows - self._before]
        return held if self._stored is None else np.concatenate([self._stored.block(0, self._before), held])

    @property
    def times(self) -> NDArray[np.float64]:
        """Unix time of each row: [rows]."""
        held = self._times[: self.rows - self._before]
        if self._stored is None:
            return held
        return np.concatenate([self._stored.times(), held]) if len(held) else self._stored.times()

    def recent_times(self, count: int, end: int) -> NDArray[np.float64]:
        """Unix time of the last `count` rows before `end`; of those in memory nothing else is read."""
        before, end = self._before, min(end, self.rows)
        first = max(0, end - count)
        return self.times[first:end] if first < before else self._times[first - before : end - before]

    def recent(self, metric: str, count: int, end: int) -> NDArray[np.float32]:
        """The last `count` rows of one metric before `end`: [rows, *shape]. Raises KeyError if the run lacks it."""
        info, before, end = self.metrics[metric], self._before, min(end, self.rows)
        first = max(0, end - count)
        if first < before:
            return self.values(metric)[first:end]
        held = self._data[first - before : end - before, info.columns]
        return held.reshape(len(held), *info.shape)

    def values(self, metric: str) -> NDArray[np.float32]:
        """All rows of one metric: [rows, *shape]. Raises KeyError if the run does not have it."""
        info = self.metrics[metric]
        held = self._data[: self.rows - self._before, info.columns]
        if self._stored is None:
            return held.reshape(self.rows, *info.shape)
        stored = self._stored.column(metric).reshape(self._before, *info.shape)
        return np.concatenate([stored, held.reshape(len(held), *info.shape)]) if len(held) else stored

    @property
    def evaluations(self) -> NDArray[np.int64]:
        """Model evaluations that each step took [rows]; see `replay.model.evaluations`."""
        info = self.metrics.get(evaluations.METRIC)
        known = info is not None and info.shape == ()
        return evaluations.per_step(self.rows, self.values(evaluations.METRIC) if known else None)

    def at(self, metric: str, row: int) -> NDArray[np.float32]:
        """One row of one metric [*shape]; of rows in a file nothing else is read. Raises KeyError, IndexError."""
        info, held = self.metrics[metric], row - self._before
        if held >= 0:
            return self._data[: self.rows - self._before][held, info.columns].reshape(info.shape)
        if isinstance(self._stored, SpilledRows):
            return self._stored.block(row, row + 1)[0, info.columns].reshape(info.shape)
        found: NDArray[np.float32] = self.values(metric)[row]
        return found

    def series(self, metric: str, item: int = 0) -> NDArray[np.float32]:
        """One scalar metric over the steps: [rows], of one batch item where there is a batch."""
        values = self.values(metric)
        return values if values.ndim == 1 else values[:, min(item, values.shape[1] - 1)]
