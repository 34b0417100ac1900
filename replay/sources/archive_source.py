"""A finished run, read from its archive."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from recorder.format.protocol import Message
from replay.archive.reader import Archive
from replay.archive.storage import Storage
from replay.sources.interface import MAX_POLL_MESSAGES, Liveness


class ArchiveSource:
    """A finished run, read from its archive: declarations and events at once, rows and pictures when they are used."""

    def __init__(self, place: Path | Storage, skip: Mapping[str, frozenset[str]] | None = None) -> None:
        """Check the archive. Raises NotARun or OSError if it cannot be shown.

        Args:
            place: the archive, or where its files are read.
            skip: by array, keys of chunks that are known to be damaged.
        """
        self._archive = Archive(place, skip)
        self._messages = self._archive.messages()

    @property
    def archive(self) -> Archive:
        return self._archive

    @property
    def note(self) -> str:
        """What is missing or damaged, as far as it has been read."""
        found = [] if self._archive.ended else ["its journal is gone; what was written to the archive before is shown"]
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
