"""Recognises which of a run's messages were read already, in bounded memory.

A run is read again from its first message when a connection is made again, and when its archive is asked for what its
journal lacks. Rows, pictures and samples are recognised by their numbers, stages and streams by their names, events by
their identity.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Any, Final

from recorder.format import paths, protocol
from recorder.format.events import identity
from recorder.format.protocol import Message
from replay.archive.lazy_rows import ArchivedPreviews
from replay.model.checked import (
    Checked,
    Missed,
    SentDecoded,
    SentPalette,
    SentPreview,
    SentRows,
    StoredPreviews,
    StoredRows,
    check,
)
from replay.model.declarations import StageDeclaration, StreamDeclaration
from replay.model.memory_limits import fingerprint
from replay.model.validation import NotARun

MOST_EVENTS: Final = 1 << 16
"""Events that are kept one by one; of older ones only the time is kept, so that memory is bounded."""
MOST_PLACES: Final = 1 << 16
"""Stages, and streams of all stages, that are counted separately; more of them are not counted."""


_ROWS: Final = (SentRows, StoredRows)


class AnotherRun(NotARun):
    """The messages that are read again are another run's. `name` is that run's."""

    def __init__(self, name: str) -> None:
        super().__init__(f"another run, {name}")
        self.name = name


class ReadEvents:
    """The events that were read. One that is older than all that are known one by one counts as read."""

    def __init__(self) -> None:
        self._counts: OrderedDict[bytes, tuple[int, float]] = OrderedDict()
        self._forgotten = -math.inf
        """Time of the newest event that is not known one by one any more."""

    def __len__(self) -> int:
        return len(self._counts)

    def add(self, event: Message) -> None:
        key = identity(event)
        count, _ = self._counts.get(key, (0, 0.0))
        self._counts[key] = count + 1, _time(event)
        if len(self._counts) > MOST_EVENTS:
            _, (_, time) = self._counts.popitem(last=False)
            self._forgotten = max(self._forgotten, time)

    def take(self, event: Message) -> bool:
        """Whether it was read; equal events count as often as they were added."""
        key = identity(event)
        if key not in self._counts:
            return _time(event) <= self._forgotten
        count, time = self._counts[key]
        if count > 1:
            self._counts[key] = count - 1, time
        else:
            del self._counts[key]
        return True

    def copy(self) -> ReadEvents:
        found = ReadEvents()
        found._counts, found._forgotten = self._counts.copy(), self._forgotten
        return found


class ReadSoFar:
    """What has been read of a run: counts per stream, and events by their identity."""

    def __init__(self) -> None:
        self.run = ""
        """The run's name, once its header was read."""
        self.begun = False
        self.ended = False
        self.rows: dict[str, int] = {}
        """By stream such as `stage_0/video`."""
        self.previews: dict[str, int] = {}
        """One more than the step of each stream's last picture."""
        self.missed: dict[str, int] = {}
        self.decoded: dict[str, int] = {}
        """One more than the index of the last picture of each stream's decoded clip."""
        self.palettes: set[str] = set()
        self.stages: set[int] = set()
        self.declared: dict[str, bytes] = {}
        """Fingerprint of each stream's metrics."""
        self.events = ReadEvents()
        self.samples = 0
        self.others = 0
        """Messages of unknown types, or that violate the format."""

    def add(self, message: Message) -> None:
        """Count a message as read; messages come in the run's order."""
        if not isinstance(message, Checked):
            self.others += 1
            return
        kind, facts = message["t"], message.facts
        if isinstance(facts, _ROWS):  # most messages are
            _raise_to(self.rows, _place(facts.stage, facts.stream), facts.first + facts.count)
        elif kind == protocol.HEADER:
            self.run = self.run or _name(message)
            self.begun = True
        elif kind == protocol.EVENT:
            self.events.add(message)
        elif kind == protocol.SYSTEM:
            self.samples += 1
        elif kind == protocol.END:
            self.ended = True
        elif isinstance(facts, StageDeclaration):
            if len(self.stages) < MOST_PLACES:
                self.stages.add(facts.index)
        elif isinstance(facts, StreamDeclaration):
            if len(self.declared) < MOST_PLACES:
                self.declared.setdefault(_place(facts.stage, facts.name), fingerprint(message["metrics"]))
        elif isinstance(facts, SentPreview):
            _raise_to(self.previews, _place(facts.stage, facts.stream), facts.step + 1)
        elif isinstance(facts, StoredPreviews):
            _raise_to(self.previews, _place(facts.stage, facts.stream), max(facts.previews, default=-1) + 1)
        elif isinstance(facts, SentDecoded):
            _raise_to(self.decoded, _place(facts.stage, facts.stream), facts.frame.index + 1)
        elif isinstance(facts, SentPalette):
            if len(self.palettes) < MOST_PLACES:
                self.palettes.add(_place(facts.stage, facts.stream))
        elif isinstance(facts, Missed):
            _raise_to(self.missed, _place(facts.stage, facts.stream), facts.count)

    def again(self) -> Rereading:
        """Read the same run again from its first message, from here on."""
        return Rereading(self)


class Rereading:
    """One reading of a run from its first message, that leaves out what had been read when it began."""

    def __init__(self, read: ReadSoFar) -> None:
        self._read = read
        self._begun, self._ended = read.begun, read.ended
        self._rows, self._previews, self._missed = read.rows.copy(), read.previews.copy(), read.missed.copy()
        self._decoded, self._palettes = read.decoded.copy(), read.palettes.copy()
        self._stages, self._declared = read.stages.copy(), read.declared.copy()
        self._events = read.events.copy()
        self._samples, self._others = read.samples, read.others
        self._fresh = not read.begun and not read.others
        """Whether nothing had been read."""
        self._first = True
        self._differing: set[str] = set()
        """Streams that are declared with other metrics than before: their rows are not those that were read."""

    def rest(self, message: Message) -> Message | None:
        """The part of a message that was not read yet; it counts as read then.

        Raises:
            AnotherRun: if the messages are not those of the run that was read.
        """
        found = message if self._fresh else self._rest(message)
        if found is not None:
            self._read.add(found)
        return found

    def _rest(self, message: Message) -> Message | None:
        if not isinstance(message, Checked):
            self._others -= 1
            return message if self._others < 0 else None
        kind = message["t"]
        if kind == protocol.HEADER:
            name, first, self._first = _name(message), self._first, False
            if first and self._read.run and name != self._read.run:
                raise AnotherRun(name)
            return None if self._begun else message
        if kind == protocol.SYSTEM:
            self._samples -= 1
            return message if self._samples < 0 else None
        if kind == protocol.END:
            return None if self._ended else message
        if kind == protocol.EVENT:
            return None if self._events.take(message) else message
        return self._rest_of_stage(message)

    def _rest_of_stage(self, message: Checked) -> Message | None:
        facts = message.facts
        if isinstance(facts, StageDeclaration):
            return None if facts.index in self._stages else message
        if isinstance(facts, StreamDeclaration):
            place = _place(facts.stage, facts.name)
            known = self._declared.get(place)
            if known is not None and known != fingerprint(message["metrics"]):
                self._differing.add(place)
            return None if known is not None else message
        place = _place(message["stage"], message["stream"])
        if place in self._differing:
            return None
        if isinstance(facts, SentRows):
            return message if facts.first + facts.count > self._rows.get(place, 0) else None
        if isinstance(facts, StoredRows):
            had = self._rows.get(place, 0)
            return check({**message, "step": had, "count": facts.rows.rows - had}) if facts.rows.rows > had else None
        if isinstance(facts, SentPreview):
            return message if facts.step >= self._previews.get(place, 0) else None
        if isinstance(facts, StoredPreviews) and isinstance(facts.previews, ArchivedPreviews):
            rest = facts.previews.from_step(self._previews.get(place, 0))
            return check({**message, "data": rest}) if rest else None
        if isinstance(facts, SentDecoded):
            return message if facts.frame.index >= self._decoded.get(place, 0) else None
        if isinstance(facts, SentPalette):
            return message if place not in self._palettes else None
        if isinstance(facts, Missed):
            return message if facts.count > self._missed.get(place, 0) else None
        return message


def _place(stage: int, stream: str) -> str:
    return paths.stream(stage, stream)


def _name(header: Message) -> str:
    return str(header.get("run", ""))


def _raise_to(counts: dict[str, int], place: str, count: int) -> None:
    if place in counts or len(counts) < MOST_PLACES:
        counts[place] = max(counts.get(place, 0), count)


def _time(event: Message) -> float:
    time: Any = event.get("time")
    return float(time) if type(time) is float and math.isfinite(time) else -math.inf
