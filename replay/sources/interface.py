"""What every source of a run's messages offers.

Sources:
    `socket_source.SocketSource`: a live run over its socket.
    `journal_source.JournalSource`: a run that is not finished, from its journal and what its archive has beyond that.
    `archive_source.ArchiveSource`: a finished run, from its archive.
    `reconnect.ReconnectingSource`: a live run that is found again when its connection breaks.
    `pending.AwaitedSource`: a run that has not begun yet.
"""

from __future__ import annotations

from typing import Final, Protocol

from recorder.format.protocol import Message
from replay.model.liveness import Liveness as Liveness

MAX_POLL_BYTES: Final = 1 << 20
"""Bytes that one poll of a socket or journal reads at most, about: a reader with a screen stays responsive."""
MAX_POLL_MESSAGES: Final = 1 << 14
"""Messages that one poll of an archive gives at most: its samples and events may be many."""


class Source(Protocol):
    """A run's messages, from the first one on.

    `poll` never waits: it returns what has arrived since the last call, an empty list if nothing has. `liveness` is
    as of the last poll. `note` says in one line what a reader should know, such as a torn end; empty if nothing.
    `fileno` is what a selector can wait on, or None where there is only polling (an archive, a journal's tail).
    """

    @property
    def note(self) -> str: ...

    @property
    def liveness(self) -> Liveness: ...

    def poll(self) -> list[Message]: ...

    def fileno(self) -> int | None: ...

    def close(self) -> None: ...


def damage_of(source: Source) -> str:
    """What is damaged of the files that a source reads, in a line; empty if nothing is, or it reads no files."""
    return str(getattr(source, "damage", ""))
