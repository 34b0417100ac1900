"""What looks like a recorded run and cannot be read: listed with the reason and what to do about it."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recorder.format import locations, paths
from replay.model.validation import NotARun

_NEWER: Final = "newer than this program"


@dataclass(frozen=True)
class Unreadable:
    """An archive or journal that no line can be made of: why not, and a command or step that helps."""

    path: Path
    reason: str
    advice: str

    @property
    def name(self) -> str:
        return locations.run_name(self.path)

    @property
    def text(self) -> str:
        """Everything but the name in one line."""
        return f"{self.reason}; {self.advice}" if self.advice else self.reason

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "path": str(self.path), "reason": self.reason, "advice": self.advice}


def refuse(archive: Path, error: Exception) -> Unreadable | None:
    """The line of something that cannot be read; None if it is gone, or is not a run.

    Args:
        archive: its path, whether it exists or only its journal.
        error: why it could not be read, a NotARun or an OSError.
    """
    journal = locations.journal_of(archive)
    try:
        waiting = journal.stat().st_size == 0
    except OSError:
        waiting = False
        if lost_root(archive):
            return Unreadable(archive, "it has lost its root document zarr.json", _check(archive))
        if not os.path.lexists(archive if locations.is_packed(archive) else archive / paths.DOCUMENT):
            return None
    if waiting and not archive.exists():
        return None  # a run that is being created, or was never started
    if isinstance(error, NotARun):
        reason = str(error)
        for path in (archive, journal):
            reason = reason.removeprefix(f"{path}: ").replace(f"{path}", path.name)
        return Unreadable(archive, reason, "" if _NEWER in reason else _check(archive))
    reason = getattr(error, "strerror", None) or str(error)
    return Unreadable(archive, f"it cannot be read: {reason}", "see its permissions with: ls -l " + _quoted(archive))


def lost_root(archive: Path) -> bool:
    """Whether a folder holds parts of an archive, and neither a root document nor a journal that describes them."""
    if os.path.lexists(archive / paths.DOCUMENT) or locations.journal_of(archive).exists():
        return False
    try:
        with os.scandir(archive) as entries:
            return any(paths.is_part(e.name) and e.is_dir(follow_symlinks=False) for e in entries)
    except OSError:
        return False


def _check(archive: Path) -> str:
    return f"see what is left of it with: ltxtui runs check {_quoted(archive)}"


def _quoted(archive: Path) -> str:
    return shlex.quote(str(archive))
