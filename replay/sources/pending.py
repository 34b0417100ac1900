"""A source of a run that has not begun yet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from recorder.format.protocol import Message
from replay.sources.interface import Liveness, Source


class AwaitedSource:
    """A run that has not begun yet: `find` is asked at every poll until it gives a source.

    `find` returns None while there is nothing, and raises LookupError with the reason once there will never be.
    """

    def __init__(self, find: Callable[[], Source | None], waiting: str) -> None:
        self._find = find
        self._source: Source | None = None
        self._waiting = waiting
        self._over = False

    @property
    def note(self) -> str:
        return self._source.note if self._source else self._waiting

    @property
    def liveness(self) -> Liveness:
        if self._source:
            return self._source.liveness
        return Liveness.UNFINISHED if self._over else Liveness.LIVE

    def poll(self) -> list[Message]:
        if self._source is None and not self._over:
            try:
                self._source = self._find()
            except LookupError as reason:
                self._over = True
                self._waiting = str(reason.args[0] if reason.args else reason)
        return self._source.poll() if self._source else []

    @property
    def socket_path(self) -> Path | None:
        """Where commands to the run's recorder go, once it has begun."""
        return getattr(self._source, "socket_path", None)

    @property
    def reconnecting(self) -> bool:
        """Whether the run's connection is broken and is being made again."""
        return bool(getattr(self._source, "reconnecting", False))

    @property
    def connected(self) -> bool:
        """Whether messages can come now."""
        return self._source is not None and bool(getattr(self._source, "connected", True))

    @property
    def disconnected_seconds(self) -> float | None:
        """For how long the run's connection has been broken; None while it is there."""
        return getattr(self._source, "disconnected_seconds", None)

    @property
    def unread(self) -> int | None:
        """Bytes that have arrived and were not read yet; None where that is not known."""
        return getattr(self._source, "unread", None)

    def fileno(self) -> int | None:
        return self._source.fileno() if self._source else None

    def close(self) -> None:
        self._over = True
        if self._source:
            self._source.close()
