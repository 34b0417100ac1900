"""Sources for tests: one that has all messages at once, and one that the test feeds."""

from __future__ import annotations

from collections.abc import Iterable

from recorder.format.protocol import Message
from replay.sources.open import Liveness


class Archive:
    """Everything at the first poll, like an archive."""

    def __init__(self, messages: Iterable[Message], liveness: Liveness = Liveness.FINISHED, note: str = "") -> None:
        self._messages = list(messages)
        self.liveness = liveness
        self.note = note
        self.closed = False

    def poll(self) -> list[Message]:
        taken, self._messages = self._messages, []
        return taken

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        self.closed = True


class Live(Archive):
    """A live run that the test advances. May be polled from any thread: its liveness is as of the last poll."""

    def __init__(self) -> None:
        self._coming = Liveness.LIVE
        super().__init__((), Liveness.LIVE)

    @property  # type: ignore[override]
    def liveness(self) -> Liveness:
        return self._liveness

    @liveness.setter
    def liveness(self, liveness: Liveness) -> None:
        self._coming = liveness
        if not hasattr(self, "_liveness"):
            self._liveness = liveness

    def poll(self) -> list[Message]:
        # In this order: messages sent before the end are taken with it.
        self._liveness = self._coming
        return super().poll()

    def send(self, messages: Iterable[Message]) -> None:
        self._messages = [*self._messages, *messages]
