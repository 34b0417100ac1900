"""Whether a journal's recorder goes on, also while the file is deleted and written anew."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

from recorder.journal.tail import is_deleted, open_journal
from recorder.system.file_locks import is_locked

GRACE_SECONDS: Final = 3.0
"""How long a deleted journal that nobody holds counts as held: its recorder may be just writing it anew."""


class JournalLock:
    """Asks for a journal's lock at the file that was opened, and at the one in its place once that is gone."""

    def __init__(self, path: Path) -> None:
        """Open the journal. Raises OSError if that cannot be done."""
        self._path = path
        self._fd = open_journal(path)
        self._gone: float | None = None

    def held(self) -> bool:
        """True while a recorder holds the lock. Raises OSError if nothing more can be learnt of the file."""
        if not is_locked(self._fd):
            deleted = is_deleted(self._fd, self._path)
            if deleted and self._gone is None:
                self._gone = time.monotonic()
            if not deleted or not self._follow():
                return self._gone is not None and time.monotonic() - self._gone < GRACE_SECONDS
        self._gone = None
        return True

    def _follow(self) -> bool:
        """Continue with the file that is in the place of the deleted one; whether that is locked."""
        try:
            anew = open_journal(self._path)
        except OSError:
            return False
        os.close(self._fd)
        self._fd = anew
        return is_locked(anew)

    def close(self) -> None:
        """May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1
