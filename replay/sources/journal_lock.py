"""Whether a journal's recorder still runs, also while its file is deleted and written again."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from recorder.journal.tail import is_deleted, open_journal
from recorder.system.file_locks import is_locked

GRACE_SECONDS: Final = 3.0
"""How long a deleted journal without a lock counts as locked: its recorder may be writing it again."""


class JournalLock:
    """Tests the lock of a journal: of the file that was opened, or of the one in its place once that is deleted."""

    def __init__(self, path: Path) -> None:
        """Open the journal. Raises OSError if that cannot be done."""
        self._path = path
        self._file = open_journal(path)
        self._gone: float | None = None

    def held(self) -> bool:
        """True while a recorder holds the lock. Raises OSError if the file cannot be examined."""
        if not is_locked(self._file.fileno()):
            deleted = is_deleted(self._file.fileno(), self._path)
            if deleted and self._gone is None:
                self._gone = time.monotonic()
            if not deleted or not self._follow():
                return self._gone is not None and time.monotonic() - self._gone < GRACE_SECONDS
        self._gone = None
        return True

    def _follow(self) -> bool:
        """Continue with the file that is in the place of the deleted one; whether that is locked."""
        try:
            file = open_journal(self._path)
        except OSError:
            return False
        self._file.close()
        self._file = file
        return is_locked(file.fileno())

    def close(self) -> None:
        """May be called twice."""
        self._file.close()
