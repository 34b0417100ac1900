"""A run in memory, built from messages: what a live socket, a journal and an archive all become.

Nothing here knows where the messages come from. Rows are kept as they travel, float32 vectors; a metric is a view of
their columns with its declared shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recorder import words
from recorder.words import Message

Array = NDArray[np.floating[Any]]


class NotARun(ValueError):
    """Messages that do not describe a run of a format this version reads."""


@dataclass(frozen=True)
class MetricInfo:
    """A metric as the run itself declares it; `shape` is that of one row, `columns` its place in the row vector."""

    name: str
    unit: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    label: str
    description: str
    columns: slice


MAX_PREVIEW_BYTES = 64 << 10


@dataclass(frozen=True)
class Preview:
    """A small picture of the predicted clean sample of one step; `frames` are the latent frames that it shows.

    `fit` counts how often the stage's colours had been fixed: where it changes, so may the hues.
    """

    shape: tuple[int, int, int, int]
    frames: tuple[int, ...]
    fit: int
    data: bytes | Callable[[], bytes]
    """The pixels, or what reads them: an archive's are not read before somebody looks at them."""

    @classmethod
    def declared(cls, message: Message) -> Preview:
        """From its `preview` message. Raises NotARun if its sizes do not fit together."""
        frames, rows, columns, rgb = (int(n) for n in message["shape"])
        made = cls(
            (frames, rows, columns, rgb), tuple(map(int, message["frames"])), int(message["fit"]), message["data"]
        )
        if min(made.shape) < 1 or rgb != 3 or len(made.frames) != frames or made.size > MAX_PREVIEW_BYTES:
            raise NotARun(f"a preview of shape {list(made.shape)} with {len(made.frames)} frames")
        if not callable(made.data) and (not isinstance(made.data, bytes) or len(made.data) != made.size):
            raise NotARun(f"a preview of shape {list(made.shape)} without the {made.size} bytes it needs")
        return made

    @property
    def size(self) -> int:
        """Bytes of the pixels."""
        frames, rows, columns, rgb = self.shape
        return frames * rows * columns * rgb

    def pixels(self) -> NDArray[np.uint8]:
        """Red, green and blue: [frames, rows, columns, 3]. Raises NotARun if an archive's are damaged."""
        data = self.data() if callable(self.data) else self.data
        return np.frombuffer(data, np.uint8).reshape(self.shape)


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
    previews: dict[int, Preview] = field(default_factory=dict)
    """Pictures of x0 by step; a step may lack one."""
    _width: int = 0
    _data: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    _times: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))

    @classmethod
    def declared(cls, message: Message) -> StreamData:
        """A stream without rows, from its `stream` message."""
        metrics: dict[str, MetricInfo] = {}
        at = 0
        for m in message["metrics"]:
            shape = tuple(int(n) for n in m["shape"])
            size = int(np.prod(shape, dtype=np.int64))
            metrics[m["name"]] = MetricInfo(
                m["name"], m["unit"], tuple(m["dims"]), shape, m["label"], m["description"], slice(at, at + size)
            )
            at += size
        if at * 4 > words.MAX_RECORDER_MESSAGE:
            raise NotARun(f"a stream whose rows would take {at * 4:,} bytes each")
        made = cls(
            stage=int(message["stage"]),
            name=str(message["stream"]),
            grid=tuple(message["grid"]),
            shape=tuple(message["shape"]),
            metrics=metrics,
            coordinates=dict(message["coordinates"]),
            declaration=message,
        )
        made._width = at
        made._data = np.empty((0, at), np.float32)
        return made

    def append(self, first: int, times: NDArray[np.float64], rows: NDArray[np.float32]) -> None:
        """Add rows from `first` on; rows already there are kept, a gap is filled with NaN."""
        skip = self.rows - first
        if skip >= len(rows):
            return
        if skip > 0:
            first, times, rows = self.rows, times[skip:], rows[skip:]
        end = first + len(rows)
        if end > len(self._data):
            capacity = max(64, end, 2 * len(self._data))
            grown = np.full((capacity, self._width), np.nan, np.float32)
            grown[: self.rows] = self._data[: self.rows]
            grown_times = np.full(capacity, np.nan)
            grown_times[: self.rows] = self._times[: self.rows]
            self._data, self._times = grown, grown_times
        self._data[first:end] = rows
        self._times[first:end] = times
        self.rows = end

    @property
    def width(self) -> int:
        """Values per row."""
        return self._width

    @property
    def data(self) -> NDArray[np.float32]:
        """All rows as they travel: [rows, width]."""
        return self._data[: self.rows]

    @property
    def times(self) -> NDArray[np.float64]:
        """Unix time of each row: [rows]."""
        return self._times[: self.rows]

    def values(self, metric: str) -> NDArray[np.float32]:
        """All rows of one metric: [rows, *shape]. Raises KeyError if the run does not have it."""
        info = self.metrics[metric]
        return self.data[:, info.columns].reshape(self.rows, *info.shape)

    def series(self, metric: str, item: int = 0) -> NDArray[np.float32]:
        """One scalar metric over the steps: [rows], of one batch item where there is a batch."""
        values = self.values(metric)
        return values if values.ndim == 1 else values[:, min(item, values.shape[1] - 1)]


@dataclass
class StageData:
    """One denoising loop: what was planned and its streams so far."""

    index: int
    call: int
    tile: int | None
    time: float
    sigmas: tuple[float, ...]
    """The planned noise levels, one per step, without the closing 0."""
    metadata: dict[str, Any]
    declaration: Message
    streams: dict[str, StreamData] = field(default_factory=dict)
    ended: bool = False
    summary: dict[str, dict[str, list[float | None]]] = field(default_factory=dict)
    """By stream and name, one value per batch item, once the stage has ended: `declarations.SUMMARIES`."""

    @property
    def steps(self) -> int:
        """Rows of the stream that is furthest."""
        return max((s.rows for s in self.streams.values()), default=0)


class Run:
    """Everything known of one run; grows with every message fed to it.

    `version` changes with every message that changed something, so that a screen knows when to redraw.
    """

    def __init__(self) -> None:
        self.header: Message = {}
        self.stages: list[StageData] = []
        self.events: list[Message] = []
        self.system: list[Message] = []
        self.end: Message | None = None
        self.version = 0

    @property
    def name(self) -> str:
        return str(self.header.get("run", ""))

    @property
    def metadata(self) -> dict[str, Any]:
        """What was known when the run began: host, device, versions, and the user's own."""
        return dict(self.header.get("metadata", {}))

    @property
    def steps(self) -> int:
        """Steps over all stages."""
        return sum(stage.steps for stage in self.stages)

    def feed(self, message: Message) -> None:
        """Take in one message; types that this version does not know are skipped.

        Raises:
            NotARun: if the message contradicts the format or what came before.
        """
        handler = getattr(self, f"_on_{message['t']}", None) if message["t"] in _KNOWN else None
        if handler is None:
            return
        if not self.header and message["t"] != words.HEADER:
            raise NotARun("a run begins with its header")
        try:
            handler(message)
        except NotARun:
            raise
        except (KeyError, ValueError, TypeError, IndexError, AttributeError, OverflowError) as error:
            raise NotARun(f"a {message['t']!r} message that is not as the format says: {error!r}") from error
        self.version += 1

    def _on_header(self, message: Message) -> None:
        check_header(message)
        if not self.header:
            self.header = message

    def _on_stage(self, message: Message) -> None:
        index = int(message["stage"])
        if index < len(self.stages):
            return
        if index > len(self.stages):
            raise NotARun(f"stage {index} follows stage {len(self.stages) - 1}")
        self.stages.append(
            StageData(
                index=index,
                call=int(message["call"]),
                tile=message["tile"],
                time=float(message["time"]),
                sigmas=tuple(float(s) for s in message["sigmas"]),
                metadata=dict(message["metadata"]),
                declaration=message,
            )
        )

    def _on_stream(self, message: Message) -> None:
        stage = self._stage(message)
        stage.streams.setdefault(str(message["stream"]), StreamData.declared(message))

    def _on_step(self, message: Message) -> None:
        stream = self._stage(message).streams[message["stream"]]
        count = int(message.get("count", 1))
        rows = np.frombuffer(message["data"], "<f4")
        if count < 1 or rows.size != count * stream.width:
            raise NotARun(f"{rows.size} values for {count} rows of {stream.width}")
        times = np.frombuffer(message["time"], "<f8") if count > 1 else np.array([float(message["time"])])
        first = int(message["step"])
        # Rows come in order; a gap could only come from lost messages, and its size is not to be believed blindly.
        if first < 0 or first > stream.rows + words.MAX_RECORDER_MESSAGE or times.size != count:
            raise NotARun(f"row {first} after {stream.rows} rows")
        stream.append(first, times, rows.reshape(count, stream.width))

    def _on_event(self, message: Message) -> None:
        if message["kind"] == "stage_end":
            stage = self._stage(message)
            stage.ended = True
            stage.summary = dict(message["payload"].get("summary", {}))
        elif message["kind"] == "shock" and "sigmas" in message["payload"]:
            # Decided in the run, so the levels that are still to come are others than those announced.
            self._stage(message).sigmas = tuple(float(s) for s in message["payload"]["sigmas"])
        self.events.append(message)

    def _on_system(self, message: Message) -> None:
        self.system.append(message)

    def _on_preview(self, message: Message) -> None:
        stream = self._stage(message).streams[message["stream"]]
        step = int(message["step"])
        if step < 0 or step > stream.rows + words.MAX_RECORDER_MESSAGE:
            raise NotARun(f"a preview of row {step} after {stream.rows} rows")
        stream.previews.setdefault(step, Preview.declared(message))

    def _on_end(self, message: Message) -> None:
        self.end = message

    def _stage(self, message: Message) -> StageData:
        index = int(message["stage"])
        if not 0 <= index < len(self.stages):
            raise NotARun(f"stage {index} was never declared")
        return self.stages[index]


_KNOWN = (words.HEADER, words.STAGE, words.STREAM, words.STEP, words.EVENT, words.SYSTEM, words.PREVIEW, words.END)


def check_header(message: Message) -> None:
    """Refuse what is not a run, or one of a newer format.

    Raises:
        NotARun: with what to do about it.
    """
    if message.get("format") != words.FORMAT:
        raise NotARun("not a run recorded by ltxtui")
    version = message.get("version")
    if not isinstance(version, int) or version > words.FORMAT_VERSION:
        raise NotARun(
            f"recorded in format version {version}, newer than this program's {words.FORMAT_VERSION}; "
            "upgrade with: pip install -U ltxtui"
        )
