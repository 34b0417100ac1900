"""Runs on disk in no time: made-up messages through the real writers of archives and journals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from recorder.archive.writer import ArchiveWriter
from recorder.format import locations
from recorder.format.framing import encode
from recorder.format.protocol import Message
from recorder.journal.journal import Journal
from tests.ltxtui import fake


def whole(
    name: str,
    *,
    shocks: int = 1,
    steps: int = 6,
    at: float = fake.START,
    drift: Sequence[float] = (0.2, 0.4),
    **more: object,
) -> list[Message]:
    """A run with shocks and a summary of its stages; `at` is when it began, `drift` the content drift of each clip."""
    summary = {
        "video": {"content_drift": [*drift], "drift_index": [0.2, 0.4], "straightness": [0.1, 0.1]},
        "audio": {"straightness": [0.3]},
    }
    found: list[Message] = []
    for message in fake.messages(steps, name=name, **more):  # type: ignore[arg-type]
        if message.get("kind") == "stage_end":
            stage = message["stage"]
            found += [fake.event(stage, 2, "shock", f"shock {n}") for n in range(shocks)]
            message = {**message, "payload": {"summary": summary}}
        found.append(message)
    return [{**m, "time": m["time"] - fake.START + at} if "time" in m else m for m in found]


def archive(folder: Path, name: str, **more: object) -> Path:
    """A finished archive."""
    path = folder / f"{name}.zarr"
    writer = ArchiveWriter(path)
    for message in whole(name, **more):  # type: ignore[arg-type]
        writer.feed(message)
    return path


class Recording:
    """A run that is being recorded: its journal, locked, and no archive yet."""

    def __init__(self, folder: Path, name: str) -> None:
        self.path = folder / f"{name}{locations.ARCHIVE_SUFFIX}"
        self._journal = Journal(locations.journal_of(self.path))

    def write(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self._journal.append(encode(message))

    def die(self) -> None:
        """As if killed: the lock is free, the journal stays."""
        self._journal.release(remove=False)
        self._journal.close()

    def finish(self, messages: Iterable[Message]) -> None:
        """Archive complete, journal gone."""
        writer = ArchiveWriter(self.path)
        for message in messages:
            writer.feed(message)
        self._journal.release(remove=True)
        self._journal.close()
