"""What every source of a run's messages can be asked."""

from __future__ import annotations

from typing import Protocol

from recorder.format.protocol import Message
from replay.model.liveness import Liveness as Liveness


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
