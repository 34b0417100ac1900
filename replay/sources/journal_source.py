"""A run that is not finished, read from its files."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from recorder.format import locations
from recorder.format.protocol import Message
from recorder.journal.journal import JournalReader
from replay.archive.reader import Archive
from replay.model.checked import checked
from replay.model.validation import NotARun
from replay.sources.archive_remainder import beyond
from replay.sources.interface import MAX_POLL_BYTES, MAX_POLL_MESSAGES, Liveness
from replay.sources.journal_lock import JournalLock
from replay.sources.read_so_far import ReadSoFar


class JournalSource:
    """A run that is not finished: its journal's tail, and what its archive has beyond that.

    The archive is asked when the journal cannot be read further, damaged or left without an `end`. What it adds comes
    in separate polls, after all that the journal has.
    """

    def __init__(self, journal: Path, read: ReadSoFar | None = None) -> None:
        """Open the journal. Raises OSError if that cannot be done.

        Args:
            journal: the file.
            read: what of the run was read already, which is left out; what this source gives is added to it.
        """
        self._path = journal
        self._reader = JournalReader(journal)
        try:
            self._lock = JournalLock(journal)
        except OSError:
            self._reader.close()
            raise
        self._read = ReadSoFar() if read is None else read
        self._again = self._read.again()
        self._written = self._lock.held()
        self._asked: tuple[bool, bool] | None = None
        self._beyond: Iterator[Message] = iter(())
        self._archive: Archive | None = None
        self._supplemented = False
        """Whether messages came from the archive."""

    @property
    def note(self) -> str:
        # A live journal ends in a message that is just being written; only a dead one is torn.
        found = [self._reader.note] if self._reader.note and self.liveness is not Liveness.LIVE else []
        if self._supplemented and self._archive is not None:
            found += ["what its archive has beyond its journal is shown too", *self._archive.notes[:1]]
        return "; ".join(found)

    @property
    def liveness(self) -> Liveness:
        if self._read.ended:
            return Liveness.FINISHED
        return Liveness.LIVE if self._written else Liveness.UNFINISHED

    @property
    def quiet_seconds(self) -> float:
        """Seconds since the journal was written to, as far as its clock and this machine's agree."""
        try:
            return time.time() - self._path.stat().st_mtime
        except OSError:
            return 0.0

    def poll(self) -> list[Message]:
        """What follows. Raises AnotherRun if the journal is not that of the run that was read before."""
        # Asked before reading: what is written between the two is read now or at the next poll, never missed.
        self._written = self._lock.held()
        while messages := self._reader.poll(MAX_POLL_BYTES):
            rest = (self._again.rest(message) for message in checked(messages))
            if found := [message for message in rest if message is not None]:
                return found
        return self._supplement()

    def _supplement(self) -> list[Message]:
        state = self._reader.broken, self._written
        if state != (False, True) and state != self._asked and not self._read.ended:
            self._asked = state
            self._beyond = self._from_archive()
        found = list(islice(self._beyond, MAX_POLL_MESSAGES))
        self._supplemented = self._supplemented or bool(found)
        return found

    def _from_archive(self) -> Iterator[Message]:
        try:
            self._archive = Archive(locations.archive_in_place(locations.archive_of(self._path)))
            yield from beyond(self._read, self._archive)
        except (NotARun, OSError):
            return  # the readable part of the journal is then all there is

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        self._reader.close()
        self._lock.close()
