"""A run in memory, built from messages: what a live socket, a journal and an archive all become.

It does not depend on where the messages come from.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recorder.format import paths, protocol
from recorder.format.nonfinite import BrokenItems, broken_words
from recorder.format.protocol import Message
from recorder.format.run_status import missed_steps, noise_left_of, standing
from replay.model import memory_limits, validation
from replay.model.checked import (
    NOT_AS_DECLARED,
    ChangedPlan,
    Checked,
    End,
    LeftOut,
    Missed,
    SentPicture,
    SentRows,
    StageEnd,
    StoredRows,
    check,
    is_known,
)
from replay.model.declarations import MAX_PREVIEW_BYTES as MAX_PREVIEW_BYTES
from replay.model.declarations import MetricInfo as MetricInfo
from replay.model.declarations import Preview as Preview
from replay.model.declarations import StageDeclaration, StreamDeclaration
from replay.model.memory_limits import Budget, DeclarationBudget
from replay.model.picture_store import Pictures
from replay.model.row_memory import RowMemory
from replay.model.stream import StreamData as StreamData
from replay.model.validation import NotARun as NotARun
from replay.model.validation import check_header as check_header

MAX_GAP_BYTES: Final = 64 << 20
"""Rows that were lost are NaN; memory that is taken for them at most, over a complete run."""
MAX_PREVIEWS: Final = 4096
"""Pictures of one live stream that are kept; beyond that every second one is dropped. The archive has them all."""
MAX_SAMPLES: Final = 1 << 14
"""Samples of the machine's load that are kept: two hours at first, then at growing intervals."""
_WORDS: Final = {
    protocol.STAGE: "stages",
    protocol.STREAM: "streams",
    protocol.STEP: "rows",
    protocol.EVENT: "events",
    protocol.SYSTEM: "samples of the machine's load",
    protocol.PREVIEW: "pictures",
    protocol.PALETTE: "palettes",
    protocol.DECODED: "decoded frames",
}
"""Names in `Run.note` of messages that are not kept."""


class _NotKept(Exception):
    """A message that is valid and has no room in memory."""


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
    def furthest(self) -> StreamData | None:
        """The stream with the most rows, the first of several; None before a stream is declared."""
        return max(self.streams.values(), key=lambda s: s.rows, default=None)

    @property
    def steps(self) -> int:
        """Rows of the stream that is furthest."""
        return 0 if self.furthest is None else self.furthest.rows

    @property
    def evaluations(self) -> NDArray[np.int64]:
        """Model evaluations that each step took [steps], the same in all streams; see `replay.model.evaluations`."""
        stream = self.furthest
        return np.empty(0, np.int64) if stream is None else stream.evaluations


class Run:
    """Everything known of one run; grows with every message fed to it, within the budgets of `memory_limits`.

    `version` changes with every message that changed something, so that a screen knows when to redraw. `events` and
    `system` only grow at their ends; once some of them are dropped they are new lists.
    """

    def __init__(self) -> None:
        self.header: Message = {}
        self.stages: list[StageData] = []
        self.events: list[Message] = []
        self.system: list[Message] = []
        self.end: Message | None = None
        self.missed: dict[str, int] = {}
        """Steps that were taken and not recorded, by stage and stream such as `stage_0/video`."""
        self.broken = BrokenItems()
        """The parts that are NaN or Inf, according to its events."""
        self.damage = ""
        """What is damaged in its archive, in a line; set by the reader of its files."""
        self.noise_left = 0.0
        """The highest noise level that a stage's result was left at, according to its events."""
        self.version = 0
        self.skipped = 0
        """Events and samples that violate the format; they are left out."""
        self._gap_bytes = 0
        self._events = Budget(memory_limits.EVENT_BYTES, memory_limits.newest_of_each_kind)
        self._samples = Budget(memory_limits.SAMPLE_BYTES, memory_limits.every_second)
        self._declared = DeclarationBudget(memory_limits.DECLARED_BYTES)
        self._rows = RowMemory(memory_limits.ROW_BYTES)
        self._pictures = Pictures(memory_limits.PICTURE_BYTES)
        self._left_out: Counter[str] = Counter()

    @property
    def dropped(self) -> dict[str, int]:
        """What is not kept in memory, by what it is called; empty while everything is."""
        of_lists = {
            protocol.EVENT: self._events.dropped,
            protocol.SYSTEM: self._samples.dropped,
            protocol.PREVIEW: self._pictures.dropped,
        }
        found = self._left_out + Counter({_WORDS[kind]: count for kind, count in of_lists.items()})
        return {what: count for what, count in found.items() if count}

    def _repr_html_(self) -> str:
        """How a notebook shows the run."""
        from replay.page.card import card

        return card(self)

    @property
    def note(self) -> str:
        """One line on what is not kept in memory; empty while everything is."""
        return memory_limits.left_out_note(self.dropped)

    @property
    def name(self) -> str:
        return str(self.header.get("run", ""))

    @property
    def metadata(self) -> dict[str, Any]:
        """What was known when the run began: host, device, versions, and the user's own."""
        return validation.table_or_empty(self.header.get("metadata"))

    @property
    def steps(self) -> int:
        """Steps over all stages."""
        return sum(stage.steps for stage in self.stages)

    @property
    def evaluations(self) -> int:
        """Model evaluations over all stages, as far as they are recorded."""
        return sum(int(stage.evaluations.sum()) for stage in self.stages)

    @property
    def standing(self) -> str:
        """The status (`unfinished` before the end), missed steps, what is wrong with the result, and damage."""
        status = str(self.end.get("status", "ended")) if self.end else "unfinished"
        broken = broken_words(self.broken.found)
        found = standing(status, self.steps, missed_steps(self.missed), broken, self.noise_left)
        return f"{found}, damaged" if self.damage else found

    def reread(self) -> None:
        """Values that are read when they are used are others now: they have come from a store."""
        self.version += 1

    def feed(self, message: Message) -> None:
        """Take in one message; unknown types are skipped.

        A message that a source has checked already (`Checked`) is not checked again.

        Raises:
            NotARun: if the message contradicts the format or what came before.
        """
        if not is_known(message):
            return
        if not self.header and message["t"] != protocol.HEADER:
            raise NotARun("a run begins with its header")
        try:
            self._take(message if isinstance(message, Checked) else check(message))
        except LeftOut:
            self.skipped += 1
        except NotARun:
            raise
        except _NotKept:
            count = message.get("count", 1) if message["t"] == protocol.STEP else 1
            self._left_out[_WORDS[message["t"]]] += count if type(count) is int else 1
        except NOT_AS_DECLARED as error:
            raise NotARun(f"a {message['t']!r} message that violates the format: {error!r}") from error
        self.version += 1

    def _take(self, message: Checked) -> None:
        kind, facts = message["t"], message.facts
        if isinstance(facts, SentRows):  # most messages are
            self._on_rows(facts)
        elif kind == protocol.EVENT:
            self._on_event(message)
        elif kind == protocol.SYSTEM:
            self._on_sample(message)
        elif isinstance(facts, StageDeclaration):
            self._on_stage(facts, message)
        elif isinstance(facts, StreamDeclaration):
            self._on_stream(facts, message)
        elif isinstance(facts, StoredRows):
            self._stream(facts.stage, facts.stream).attach(facts.rows)
        elif isinstance(facts, SentPicture):
            self._pictures.add(self._stream(facts.stage, facts.stream), facts, MAX_PREVIEWS)
        elif isinstance(facts, Missed):
            self._on_missed(facts)
        elif isinstance(facts, End):
            self.end = facts.message
        elif not self.header:
            self.header = message

    def _on_stage(self, found: StageDeclaration, message: Message) -> None:
        if found.index < len(self.stages):
            return
        if found.index > len(self.stages) and not self._declared.full:
            raise NotARun(f"stage {found.index} follows stage {len(self.stages) - 1}")
        made = StageData(
            index=found.index,
            call=found.call,
            tile=found.tile,
            time=found.time,
            sigmas=found.sigmas,
            metadata=found.metadata,
            declaration=dict(message),
        )
        if not self._declared.takes(found.index, message):
            raise _NotKept
        self.stages.append(made)

    def _on_stream(self, found: StreamDeclaration, message: Message) -> None:
        stage = self._stage(found.stage)
        if found.name in stage.streams:
            return
        made = StreamData.of(found, message)
        if not self._declared.takes_stream(made):
            raise _NotKept
        stage.streams[made.name] = made

    def _on_rows(self, sent: SentRows) -> None:
        stream = self._stream(sent.stage, sent.stream)
        if sent.values.size != sent.count * stream.width:
            raise NotARun(f"{sent.values.size} values for {sent.count} rows of {stream.width}")
        if not self._rows.takes(stream, sent.count):
            raise _NotKept
        self._gap(sent.first - stream.rows, stream.width)
        self._rows.append(stream, sent.first, sent.times, sent.values.reshape(sent.count, stream.width))

    def _gap(self, rows: int, width: int) -> None:
        """Allow for rows that were lost: rows come in order, and the size of a gap is an untrusted number."""
        if rows > 0:
            self._gap_bytes += rows * (4 * width + 8)
            if self._gap_bytes > MAX_GAP_BYTES:
                raise NotARun(f"{rows:,} rows are missing, more than a run may lose")

    def _on_event(self, message: Checked) -> None:
        self.broken.feed(message)
        self.noise_left = max(self.noise_left, noise_left_of(message))
        if isinstance(message.facts, StageEnd | ChangedPlan):
            self._on_stage_event(message.facts)
        # Without what was read from it, which is kept in its stage.
        self.events = self._events.added(self.events, message if message.facts is None else dict(message))

    def _on_stage_event(self, found: StageEnd | ChangedPlan) -> None:
        try:
            stage = self._stage(found.stage)
        except _NotKept:
            return
        if isinstance(found, StageEnd):
            stage.ended = True
            if self._declared.takes((stage.index, "stage_end"), found.summary):
                stage.summary = found.summary
            else:
                self._left_out["summaries of stages"] += 1
        elif self._declared.takes((stage.index, "shock"), found.sigmas):
            stage.sigmas = found.sigmas
        else:
            self._left_out["changed plans"] += 1

    def _on_missed(self, found: Missed) -> None:
        if found.stage > len(self.stages):  # of the next one some may be missed: it may have failed to begin
            raise NotARun(f"steps were missed in stage {found.stage}, which was never declared")
        key = paths.stream(found.stage, found.stream)
        if key in self.missed or len(self.missed) < len(protocol.STREAMS) * (len(self.stages) + 1):
            self.missed[key] = max(self.missed.get(key, 0), found.count)

    def _on_sample(self, message: Message) -> None:
        self.system = self._samples.added(self.system, message)
        if len(self.system) > MAX_SAMPLES:
            self.system = self._samples.thinned(self.system)

    def _stage(self, index: int) -> StageData:
        if index >= len(self.stages):
            if self._declared.full:
                raise _NotKept
            raise NotARun(f"stage {index} was never declared")
        return self.stages[index]

    def _stream(self, stage: int, name: str) -> StreamData:
        streams = self._stage(stage).streams
        if name not in streams:
            if self._declared.full:
                raise _NotKept
            raise NotARun(f"stream {name} of stage {stage} was never declared")
        return streams[name]
