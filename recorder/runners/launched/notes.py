"""What the processes of a command did, in a file that each of them appends short lines to."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

NOTES: Final = "LTXTUI_RUN_NOTES"
"""The environment's name for the file. Without it nothing is noted."""

Kind = Literal["started", "without", "imported", "called", "begun", "kept", "itself", "rank", "trouble"]
"""What a line says:

- started: a Python began, with its path
- without: the same, and it has no ltxtui
- imported: an entry point of a runner was wrapped
- called: it was called
- begun: a run is being recorded, with its path; the first of a process
- kept: a run was recorded
- itself: the script records the call
- rank: calls of another rank than 0 were left out
- trouble: a reason why a call was not recorded
"""


@dataclass(frozen=True)
class Note:
    """One line: what happened, in which process."""

    kind: str
    process: int
    text: str


def note(kind: Kind, text: str = "") -> None:
    """Append a line. Does nothing if the file is not there, as after the end of the command."""
    line = f"{kind}\t{os.getpid()}\t{' '.join(text.split())}\n"
    with contextlib.suppress(OSError):
        file = os.open(os.environ.get(NOTES, ""), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            os.write(file, line.encode("utf-8", "replace")[:4000])
        finally:
            os.close(file)


_noted: set[tuple[str, int]] = set()


def note_once(kind: Kind, text: str = "") -> None:
    """Append the first line of a kind in this process: a server has any number of calls."""
    mine = (kind, os.getpid())
    if mine not in _noted:
        _noted.add(mine)
        note(kind, text)


def read(file: Path) -> list[Note]:
    """All notes; lines that cannot be read are left out."""
    found = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        kind, _, rest = line.partition("\t")
        process, _, text = rest.partition("\t")
        if process.isdecimal():
            found.append(Note(kind, int(process), text))
    return found
