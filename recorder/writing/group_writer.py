"""Encodes messages and writes them to the journal in groups; then the socket and the archive get them."""

from __future__ import annotations

import logging
from collections.abc import Callable

from recorder.format import protocol
from recorder.format.events import event, reason_of
from recorder.format.framing import encode
from recorder.format.protocol import Message
from recorder.journal.journal import Journal
from recorder.writing.archive_thread import Archivist
from recorder.writing.message_fallback import lesser
from recorder.writing.tally import Tally

logger = logging.getLogger(__name__)

MAX_GROUP = 32
"""Messages, or rows in one message, that are written together when more wait: one write for each would be too slow."""

_VITAL = {protocol.HEADER, protocol.STAGE, protocol.STREAM, protocol.END}


class GroupWriter:
    """Writes a run's messages in order. Used by one thread at a time; `journal_thread` sees to that.

    A message is gathered by `write` and reaches the journal with its group: at `flush`, when `MAX_GROUP` are gathered,
    or at once if it is vital. `written` is called after each group.
    """

    def __init__(
        self,
        journal: Journal,
        archivist: Archivist,
        written: Callable[[], None],
        sync: bool = False,
        also: Callable[[Message], None] | None = None,
    ) -> None:
        """`also` is given every message that is written; it must not wait or raise."""
        self._also = also
        self._journal = journal
        self._archivist = archivist
        self._written = written
        self._sync = journal.synced_only = sync
        self.degraded = False
        """Whether the journal cannot be written just now: it then takes one message at a time."""
        self._undeclared: set[tuple[int, str]] = set()
        """Streams, by stage and name, whose declaration could not be sent."""
        self._group: list[tuple[bytes, Message, bool]] = []
        self._gathered = 0
        """Messages in the group, several rows in one counted singly."""
        self.tally = Tally()

    def write(self, message: Message) -> None:
        """Gather a message, or as much of it as can be sent; readers refuse rows of a stream that is not declared."""
        if self._undeclared and (message.get("stage"), message.get("stream")) in self._undeclared:
            if message["t"] == protocol.STEP:
                self.miss((message["stage"], message["stream"]), message.get("count", 1))
            return
        try:
            data = encode(message)
        except (ValueError, TypeError, OverflowError) as error:  # too long, or a type that msgpack does not know
            self._write_lesser(message, error)
        else:
            self._gather(data, message)

    def degrade(self, text: str) -> None:
        """Gather an event about a part of the run that is not recorded, and log it."""
        logger.warning("%s", text)
        self.write(event("degraded", text))

    def miss(self, stream: tuple[int, str], count: int) -> None:
        """Count steps of a stream, given by stage and name, that were taken and have no row."""
        self.tally.missed[stream] += count
        # The total so far: the message may be read from the journal and from the archive, and must count once.
        message = {"t": protocol.MISSED, "stage": stream[0], "stream": stream[1], "count": self.tally.missed[stream]}
        self._gather(encode(message), message)

    def flush(self) -> None:
        """Hand over what has been gathered: one write, then socket and archive."""
        while self._group:
            group, self._group, self._gathered = self._group, [], 0
            self._journal.append(b"".join(data for data, _, _ in group), any(vital for _, _, vital in group))
            if self._sync and self._journal.error is None:
                self._synchronise()
            for _, message, _ in group:
                # A run in which no step was taken has no end in the archive: it is not an archive then.
                if message["t"] != protocol.END or not self.tally.idle:
                    self._archivist.put(message)
            if self._also is not None:
                for _, message, _ in group:
                    self._also(message)
            self._written()
            self._watch_disk()  # its events are gathered too

    def _write_lesser(self, message: Message, error: Exception) -> None:
        """Write as much of a message as can be sent, and report what is missing."""
        for made, lacks in lesser(message):
            try:
                data = encode(made)
            except (ValueError, TypeError, OverflowError):
                continue
            self._gather(data, made)
            if lacks:
                self.write(event("warning", f"{lacks} were left out of a {made['t']} message: {reason_of(error)}"))
            return
        if message["t"] == protocol.STREAM:
            self._undeclared.add((message["stage"], message["stream"]))
        elif message["t"] == protocol.STEP:
            self.miss((message["stage"], message["stream"]), message.get("count", 1))
        self.write(event("warning", f"a message was left out: {reason_of(error)}"))

    def _gather(self, data: bytes, message: Message) -> None:
        self.tally.feed(message)
        vital = message["t"] in _VITAL or message.get("kind") == "stage_end"
        self._group.append((data, message, vital))
        self._gathered += message.get("count", 1) if message["t"] == protocol.STEP else 1
        # Streams are declared before their snapshots go to the archivist; a failing disk takes one message at a time.
        if vital or self._gathered >= MAX_GROUP or self.degraded:
            self.flush()

    def _synchronise(self) -> None:
        try:
            self._journal.sync()
        except OSError as error:
            self._sync = self._journal.synced_only = False
            self._journal.notes.append(f"messages are no longer forced onto the disk: {reason_of(error)}")

    def _watch_disk(self) -> None:
        journal = self._journal
        while journal.notes:
            text = journal.notes.pop(0)
            logger.warning("%s", text)
            self.write(event("warning", text))
        failing = journal.error is not None
        if failing == self.degraded:
            return
        self.degraded = failing
        if failing:
            self.degrade(f"recording degraded: the journal cannot be written ({journal.error}); kept in memory")
        else:
            self.degrade(f"recording recovered; {journal.dropped} messages were lost")
