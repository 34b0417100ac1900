"""One interface for live and replayed runs: something that is asked for messages, now and then."""

from __future__ import annotations

import shlex
import socket
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from recorder.format import locations, protocol
from recorder.format.framing import CorruptMessage, Decoder
from recorder.format.protocol import Message
from recorder.journal.journal import JournalReader, is_being_written
from replay.archive.reader import Archive
from replay.model.run import NotARun, Run
from replay.sources.archive_remainder import Known
from replay.sources.interface import Liveness as Liveness
from replay.sources.interface import Source as Source
from replay.sources.journal_lock import JournalLock
from replay.sources.pending import AwaitedSource as AwaitedSource

RECEIVE_BYTES = 1 << 18
MAX_POLL_BYTES = 1 << 20
"""At most about this much is read per poll, so that a reader with a screen stays responsive."""
MAX_POLL_MESSAGES = 1 << 14
"""Likewise of an archive, whose samples and events may be many."""


class SocketSource:
    """A live run over its socket, local or forwarded by `ssh -L`."""

    def __init__(self, path: Path) -> None:
        """Connect.

        Raises:
            OSError: if nobody serves there.
        """
        self.socket_path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.settimeout(5)
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._socket.setblocking(False)
        self._decoder = Decoder()
        self._open = True
        self._ended = False
        self.note = ""

    @property
    def liveness(self) -> Liveness:
        if self._ended:
            return Liveness.FINISHED
        return Liveness.LIVE if self._open else Liveness.UNFINISHED

    def poll(self) -> list[Message]:
        found: list[Message] = []
        taken = 0
        while self._open and taken < MAX_POLL_BYTES:
            try:
                data = self._socket.recv(RECEIVE_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                data = b""
                self.note = f"the connection broke: {error}"
            if not data:
                self._open = False
                break
            taken += len(data)
            self._decoder.feed(data)
            try:
                for message in self._decoder:
                    found.append(message)
            except CorruptMessage as error:
                self.note = f"the stream is damaged: {error}"
                self._open = False
        self._ended = self._ended or any(m["t"] == protocol.END for m in found)
        return found

    def fileno(self) -> int | None:
        return self._socket.fileno() if self._open else None

    def close(self) -> None:
        self._open = False
        self._socket.close()


class JournalSource:
    """A run that is not finished: its journal's tail, and what its archive has beyond that.

    The archive is asked when the journal cannot be read further, damaged or left without an `end`. What it adds comes
    in polls of its own, after all that the journal has.
    """

    def __init__(self, journal: Path) -> None:
        """Open the journal. Raises OSError if that cannot be done."""
        self._path = journal
        self._reader = JournalReader(journal)
        try:
            self._lock = JournalLock(journal)
        except OSError:
            self._reader.close()
            raise
        self._known = Known()
        self._written = self._lock.held()
        self._asked: tuple[bool, bool] | None = None
        self._beyond: Iterator[Message] = iter(())
        self._archive: Archive | None = None
        self.supplemented = False
        """Whether messages came from the archive: they are other ones than the journal's, for the same rows."""

    @property
    def note(self) -> str:
        # A live journal ends in a message that is just being written; only a dead one is torn.
        found = [self._reader.note] if self._reader.note and self.liveness is not Liveness.LIVE else []
        if self.supplemented and self._archive is not None:
            found += ["what its archive has beyond its journal is shown too", *self._archive.notes[:1]]
        return "; ".join(found)

    @property
    def liveness(self) -> Liveness:
        if self._known.ended:
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
        # Asked before reading: what is written between the two is read now or at the next poll, never missed.
        self._written = self._lock.held()
        found = self._reader.poll(MAX_POLL_BYTES)
        for message in found:
            self._known.feed(message)
        return found or self._supplement()

    def _supplement(self) -> list[Message]:
        state = self._reader.broken, self._written
        if state != (False, True) and state != self._asked and not self._known.ended:
            self._asked = state
            self._beyond = self._from_archive()
        found = list(islice(self._beyond, MAX_POLL_MESSAGES))
        self.supplemented = self.supplemented or bool(found)
        return found

    def _from_archive(self) -> Iterator[Message]:
        try:
            self._archive = Archive(locations.archive_of(self._path))
            yield from self._known.beyond(self._archive)
        except (NotARun, OSError):
            return  # the readable part of the journal is then all there is

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        self._reader.close()
        self._lock.close()


class ArchiveSource:
    """A finished run, read from its archive: what it is at once, rows and pictures when they are looked at."""

    def __init__(self, path: Path, skip: Mapping[str, frozenset[str]] | None = None) -> None:
        """Check the archive. Raises NotARun or OSError if it cannot be shown.

        Args:
            path: of the archive.
            skip: by array, keys of chunks that are known to be damaged.
        """
        self._archive = Archive(path, skip)
        self._messages = self._archive.messages()

    @property
    def archive(self) -> Archive:
        return self._archive

    @property
    def note(self) -> str:
        """What is missing or damaged, as far as it has been met."""
        found = [] if self._archive.ended else ["its journal is gone; what had been folded into the archive is shown"]
        return "; ".join([*found, self.damage] if self.damage else found)

    @property
    def damage(self) -> str:
        """What is damaged, in a line: sizes, and checksums of most runs, are known once all messages were polled."""
        notes = self._archive.notes
        if not notes:
            return ""
        more = f" (and {len(notes) - 1} more)" if len(notes) > 1 else ""
        return f"{notes[0]}{more}; all of it: ltxtui runs check {shlex.quote(str(self._archive.store.path))}"

    @property
    def liveness(self) -> Liveness:
        return Liveness.FINISHED if self._archive.ended else Liveness.UNFINISHED

    def poll(self) -> list[Message]:
        return list(islice(self._messages, MAX_POLL_MESSAGES))

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        """Nothing stays open."""


def open_path(path: Path) -> Source:
    """The source for an archive or a journal, finished or not.

    Raises:
        NotARun: if there is no run at `path`, with what is wrong.
        OSError: if it cannot be read.
    """
    path = locations.named_path(path)
    if path.suffix == locations.JOURNAL_SUFFIX and path.is_file():
        return _checked_journal(path)
    journal = locations.journal_of(path)
    if journal.is_file():
        return _checked_journal(journal)
    return ArchiveSource(path)


def _checked_journal(path: Path) -> JournalSource:
    # The first bytes decide; a reader of its own, so that the source still starts at the beginning.
    first = JournalReader(path)
    try:
        messages = first.poll(1)
    finally:
        first.close()
    if messages:
        Run().feed(messages[0])
    elif not is_being_written(path):
        try:
            Archive(locations.archive_of(path))
        except (NotARun, OSError):
            raise NotARun(f"{path} has no readable message: {first.note or 'it is empty'}") from None
    return JournalSource(path)


def load(path: Path) -> Run:
    """The whole run at `path`, as far as it is recorded now.

    Raises:
        NotARun: if there is no run at `path`.
        OSError: if it cannot be read.
    """
    source = open_path(path)
    run = Run()
    try:
        while messages := source.poll():
            for message in messages:
                run.feed(message)
        run.damage = damage_of(source)
    finally:
        source.close()
    return run


def damage_of(source: Source) -> str:
    """What is damaged of the files that a source reads, in a line; empty if nothing, or it reads none."""
    return str(getattr(source, "damage", ""))
