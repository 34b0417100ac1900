"""Which archives a folder has, looked at again and again without walking through all of them."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Final

from replay.library.folder_names import names_in
from replay.library.unreadable import Unreadable

LOOK_SECONDS: Final = 10.0
"""How often the folder is listed although its time of change is the same, and every archive's stamp is looked at."""
_REST: Final = 5
"""A folder that takes long to list rests so many times as long before it is listed again."""


class FolderWatch:
    """The file names of a folder's archives. It is listed when its time of change differs: a run began, ended or went.

    What changes inside of an archive does not show there; for that all archives are looked at in rounds.
    """

    def __init__(self, runs_dir: Path) -> None:
        self.names: dict[str, bool] = {}
        """The archives, and whether they have a journal."""
        self.new: list[str] = []
        """Names to be looked at as soon as possible, the newest last; whoever does so takes them from the end."""
        self.listed = False
        """Whether the folder was there when it was listed last."""
        self.problem: Unreadable | None = None
        """Why it cannot be listed; what was known before is still known."""
        self._runs_dir = runs_dir
        self._changed = 0
        self._began = -1e9
        self._ended = -1e9
        self._round: list[str] = []
        self._round_began = -1e9

    def look(self) -> list[str]:
        """List the folder again if that is due. Gives the names that are gone."""
        now = time.monotonic()
        try:
            changed = self._runs_dir.stat().st_mtime_ns
        except OSError:
            changed = 0
        due = changed != self._changed or now - self._began > LOOK_SECONDS
        if not due or now < self._ended + _REST * (self._ended - self._began):
            return []
        try:
            names = names_in(self._runs_dir)
            self.listed = True
        except (FileNotFoundError, NotADirectoryError):
            names, self.listed = {}, False
        except OSError as error:
            self._began, self._ended = now, time.monotonic()
            why = f"it cannot be read: {error.strerror or error}"
            self.problem = Unreadable(self._runs_dir, why, f"see it with: ls -ld {shlex.quote(str(self._runs_dir))}")
            return []
        # The time from before: what changes while the folder is listed shows the next time.
        self.problem, self._changed, self._began, self._ended = None, changed, now, time.monotonic()
        gone = [name for name in self.names if name not in names]
        fresh = [name for name, has_journal in names.items() if self.names.get(name) is not has_journal]
        # Changed in place: the names that stay are the objects that whoever uses this class has as keys.
        for name in gone:
            del self.names[name]
        for name in fresh:
            self.names[name] = names[name]
        if fresh or gone:
            self.new = sorted({*fresh, *(name for name in self.new if name in names)})
            self._round = [name for name in self._round if name in names]
        return gone

    def again(self) -> list[str]:
        """Names of a round through all archives; whoever looks at one takes it from the end. Empty between rounds."""
        now = time.monotonic()
        if not self._round and now - self._round_began > LOOK_SECONDS:
            self._round_began = now
            self._round = sorted(self.names)
        return self._round

    def has_journal(self, name: str) -> bool:
        """Whether a run had a journal when the folder was listed; True if that is not known."""
        return self.names.get(name, True)

    def forget(self, name: str) -> None:
        """Look at a run as soon as possible, and list the folder: it was changed by this program."""
        if name in self.names:
            self.new.append(name)
        self._began = self._ended = -1e9
