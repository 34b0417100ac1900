"""What an archive has beyond its journal: one that is short, torn, damaged or empty hides none of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from recorder.format import paths, protocol
from recorder.format.protocol import Message
from replay.archive.lazy_rows import ArchivedPreviews
from replay.archive.reader import Archive
from replay.model import validation
from replay.model.memory_limits import fingerprint
from replay.sources.already_read import Told

MOST_PLACES: Final = 1 << 16
"""Stages, and streams of all stages, that are told apart; of more than that, nothing is known."""


class Known:
    """What of a run has been read; fed with every message, in their order."""

    def __init__(self) -> None:
        self.begun = False
        self.ended = False
        self._stages: set[Any] = set()
        self._declared: dict[str, bytes] = {}
        """Fingerprint of the metrics of each stream such as `stage_0/video`."""
        self._rows: dict[str, int] = {}
        self._pictures: dict[str, int] = {}
        """One more than the step of each stream's last picture."""
        self._events = Told()
        self._samples = 0

    def feed(self, message: Message) -> None:
        """Take in a message; one that is not as the format says counts for nothing."""
        kind = message["t"]
        if kind in (protocol.STREAM, protocol.STEP, protocol.PREVIEW) and not _has_place(message):
            return
        if kind == protocol.HEADER:
            self.begun = True
        elif kind == protocol.STAGE and type(message.get("stage")) is int:
            if len(self._stages) < MOST_PLACES:
                self._stages.add(message["stage"])
        elif kind == protocol.STREAM:
            if len(self._declared) < MOST_PLACES:
                self._declared.setdefault(_place(message), fingerprint(message.get("metrics")))
        elif kind == protocol.STEP:
            first, count = message.get("step"), message.get("count", 1)
            if type(first) is int and type(count) is int:
                _furthest(self._rows, _place(message), first + count)
        elif kind == protocol.PREVIEW:
            data, last = message.get("data"), message.get("step")
            if isinstance(data, ArchivedPreviews):
                last = max(data, default=-1)
            if type(last) is int:
                _furthest(self._pictures, _place(message), last + 1)
        elif kind == protocol.EVENT:
            self._events.add(message)
        elif kind == protocol.SYSTEM:
            self._samples += 1
        elif kind == protocol.END:
            self.ended = True

    def beyond(self, archive: Archive) -> Iterator[Message]:
        """What the archive has and was not read yet, in an order that a run takes; it counts as read then.

        Of rows and pictures those that follow the ones that were read. An archive was folded from its journal, so
        nothing before them is missing.
        """
        if not self._behind(archive.attributes):
            return
        events, samples = self._events.copy(), self._samples
        others: set[str] = set()
        for message in archive.messages():
            kind, new = message["t"], True
            if kind == protocol.EVENT:
                new = not events.take(message)
            elif kind == protocol.SYSTEM:
                new = samples <= 0
                samples -= 1
            elif kind == protocol.STREAM and self._differs(message):
                others.add(_place(message))  # its rows are not those that the journal tells of
            found = self._rest(message) if new and _place(message) not in others else None
            if found is not None:
                self.feed(found)
                yield found

    def _behind(self, attributes: Mapping[str, Any]) -> bool:
        """Whether an archive may have more. One that was never ended has no events yet, so its numbers of rows tell."""
        if self.ended:
            return False
        if not self.begun or "ended" in attributes:
            return True
        known = ((attributes["rows"], self._rows), (attributes.get("previews", {}), self._pictures))
        return any(count > ours.get(key, 0) for theirs, ours in known for key, count in theirs.items())

    def _differs(self, message: Message) -> bool:
        known = self._declared.get(_place(message))
        return known is not None and known != fingerprint(message["metrics"])

    def _rest(self, message: Message) -> Message | None:
        """What of an archive's message was not read yet."""
        kind, place = message["t"], _place(message)
        if kind == protocol.STEP:
            had = self._rows.get(place, 0)
            return {**message, "step": had, "count": message["count"] - had} if message["count"] > had else None
        if kind == protocol.PREVIEW:
            pictures = message["data"].from_step(self._pictures.get(place, 0))
            return {**message, "data": pictures} if pictures else None
        known = (
            (kind == protocol.HEADER and self.begun)
            or (kind == protocol.STAGE and message["stage"] in self._stages)
            or (kind == protocol.STREAM and place in self._declared)
        )
        return None if known else message


def _place(message: Message) -> str:
    return paths.stream(message.get("stage", -1), message.get("stream", ""))


def _has_place(message: Message) -> bool:
    stream = message.get("stream")
    return type(message.get("stage")) is int and isinstance(stream, str) and bool(validation.NAME.fullmatch(stream))


def _furthest(places: dict[str, int], place: str, end: int) -> None:
    if place in places or len(places) < MOST_PLACES:
        places[place] = max(places.get(place, 0), end)
