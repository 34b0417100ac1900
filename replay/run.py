"""A run in memory, built from messages: what a live socket, a journal and an archive all become.

Nothing here knows where the messages come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from recorder import words
from recorder.standing import missed_steps, standing
from recorder.words import Message
from replay import format
from replay.format import NotARun as NotARun
from replay.format import check_header as check_header
from replay.stream import MAX_PREVIEW_BYTES as MAX_PREVIEW_BYTES
from replay.stream import MetricInfo as MetricInfo
from replay.stream import Preview as Preview
from replay.stream import Rows
from replay.stream import StreamData as StreamData

MAX_GAP_BYTES: Final = 64 << 20
"""Rows that were lost are NaN; so much memory is taken for them at most, over a whole run."""
MAX_PREVIEWS: Final = 4096
"""Pictures of one live stream that are kept; beyond that every second one goes. The archive has them all."""
MAX_SAMPLES: Final = 1 << 14
"""Samples of the machine's load that are kept, likewise: two hours at first, then less and less dense."""


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
        self.missed: dict[str, int] = {}
        """Steps that were taken and not recorded, by stage and stream such as `stage_0/video`."""
        self.version = 0
        self.skipped = 0
        """Events and samples that are not as the format says: markers less, nothing else."""
        self._gap_bytes = 0

    @property
    def name(self) -> str:
        return str(self.header.get("run", ""))

    @property
    def metadata(self) -> dict[str, Any]:
        """What was known when the run began: host, device, versions, and the user's own."""
        return format.table_or_empty(self.header.get("metadata"))

    @property
    def steps(self) -> int:
        """Steps over all stages."""
        return sum(stage.steps for stage in self.stages)

    @property
    def standing(self) -> str:
        """The status, `unfinished` before the end, and what is not recorded of the steps that were taken."""
        status = str(self.end.get("status", "ended")) if self.end else "unfinished"
        return standing(status, self.steps, missed_steps(self.missed))

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
        index = format.whole(message["stage"], "the stage")
        if index < len(self.stages):
            return
        if index > len(self.stages):
            raise NotARun(f"stage {index} follows stage {len(self.stages) - 1}")
        tile = message.get("tile")
        self.stages.append(
            StageData(
                index=index,
                call=format.whole(message["call"], "the call"),
                tile=tile if type(tile) is int else None,
                time=format.number(message["time"], "the stage's time"),
                sigmas=format.numbers(message["sigmas"], "the planned σ"),
                metadata=format.table_or_empty(message.get("metadata")),
                declaration=message,
            )
        )

    def _on_stream(self, message: Message) -> None:
        stage = self._stage(message)
        if message["stream"] not in stage.streams:
            made = StreamData.declared(message)
            stage.streams[made.name] = made

    def _on_step(self, message: Message) -> None:
        stream = self._stage(message).streams[message["stream"]]
        data, first = message["data"], format.whole(message["step"], "the step")
        if not isinstance(data, bytes) and isinstance(data, Rows):
            stream.attach(data)
            return
        count = format.whole(message.get("count", 1), "the number of rows", 1)
        rows = np.frombuffer(data, "<f4")
        if rows.size != count * stream.width:
            raise NotARun(f"{rows.size} values for {count} rows of {stream.width}")
        if count > 1:
            times = np.frombuffer(message["time"], "<f8")
        else:
            times = np.array([format.number(message["time"], "the time")])
        if times.size != count:
            raise NotARun(f"{times.size} times for {count} rows")
        self._gap(first - stream.rows, stream.width)
        stream.append(first, times, rows.reshape(count, stream.width))

    def _gap(self, rows: int, width: int) -> None:
        """Rows come in order; a gap can only come from lost messages, and its size is not to be believed blindly."""
        if rows > 0:
            self._gap_bytes += rows * (4 * width + 8)
            if self._gap_bytes > MAX_GAP_BYTES:
                raise NotARun(f"{rows:,} rows are missing, more than are taken for lost")

    def _on_event(self, message: Message) -> None:
        try:
            format.check_event(message)
        except NotARun:
            self.skipped += 1
            return
        if message["kind"] == "stage_end":
            stage = self._stage(message)
            stage.summary = format.summary(message["payload"].get("summary", {}))
            stage.ended = True
        elif message["kind"] == "shock" and "sigmas" in message["payload"]:
            # Decided in the run, so the levels that are still to come are others than those announced.
            self._stage(message).sigmas = format.numbers(message["payload"]["sigmas"], "the planned σ")
        self.events.append(message)

    def _on_missed(self, message: Message) -> None:
        stage = format.whole(message["stage"], "the stage", 0, len(self.stages))  # it may have failed to begin
        key = f"stage_{stage}/{format.name(message['stream'], 'a stream')}"
        count = format.whole(message["count"], "the number of missed steps")
        if key in self.missed or len(self.missed) < len(words.STREAMS) * (len(self.stages) + 1):
            self.missed[key] = max(self.missed.get(key, 0), count)

    def _on_system(self, message: Message) -> None:
        try:
            format.check_system(message)
        except NotARun:
            self.skipped += 1
            return
        self.system.append(message)
        if len(self.system) > MAX_SAMPLES:
            del self.system[1::2]

    def _on_preview(self, message: Message) -> None:
        stream = self._stage(message).streams[message["stream"]]
        known, given = stream.previews, message["data"]
        if isinstance(given, Mapping) and not isinstance(given, dict):  # all those of an archive
            stream.previews = {**given, **known} if known else given
            return
        step = format.whole(message["step"], "a preview's step")
        if step > stream.rows + words.MAX_RECORDER_MESSAGE:
            raise NotARun(f"a preview of row {step} after {stream.rows} rows")
        made = Preview.declared(message)
        if not isinstance(known, dict):
            stream.previews = known = dict(known)
        if made.shape != next(iter(known.values()), made).shape:
            raise NotARun(f"a preview of shape {list(made.shape)} among others")
        known.setdefault(step, made)
        if len(known) > MAX_PREVIEWS:
            for gone in list(known)[1::2]:
                del known[gone]

    def _on_end(self, message: Message) -> None:
        self.end = format.end(message)

    def _stage(self, message: Message) -> StageData:
        index = format.whole(message["stage"], "the stage")
        if index >= len(self.stages):
            raise NotARun(f"stage {index} was never declared")
        return self.stages[index]


_KNOWN = {
    words.HEADER,
    words.STAGE,
    words.STREAM,
    words.STEP,
    words.MISSED,
    words.EVENT,
    words.SYSTEM,
    words.PREVIEW,
    words.END,
}
