"""State that the dashboard keeps between starts: arrangements of panels, and whether the tour was seen."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any, Final

from recorder.format.locations import user_folder
from recorder.system.open_folders import PRIVATE_MODE, make_folders, replace_file

ENVIRONMENT: Final = "LTXTUI_STATE"
"""The environment variable that names another state file."""
MAX_BYTES: Final = 1 << 20


def state_path() -> Path | None:
    """The state file, which may not exist; None if the home directory is unknown."""
    if named := os.environ.get(ENVIRONMENT):
        return Path(named)
    folder = user_folder("state")
    return None if folder is None else folder / "state.json"


class SavedState:
    """A small dictionary in a file. Errors of reading and writing are ignored, since nothing depends on it."""

    def __init__(self, path: Path | None = None, *, written: bool = True) -> None:
        """Read it. Unless it is `written`, changes are forgotten at the end."""
        self.path = path or state_path()
        self._written = written
        self._known = self._read()

    @property
    def tour_seen(self) -> bool:
        return self._known.get("tour_seen") is True

    def set_tour_seen(self, seen: bool) -> None:
        self._known["tour_seen"] = seen
        self._write()

    def arrangement(self, size: str, preset: str) -> tuple[str, ...] | None:
        """The order of the panels of a preset, for terminals of a size class; None if it was never changed."""
        kept = self._arrangements().get(f"{size} {preset}")
        return tuple(kept) if isinstance(kept, list) and all(isinstance(p, str) for p in kept) else None

    def set_arrangement(self, size: str, preset: str, panels: tuple[str, ...] | None) -> None:
        """Remember an arrangement; None removes it."""
        arrangements = self._arrangements()
        if panels is None:
            arrangements.pop(f"{size} {preset}", None)
        else:
            arrangements[f"{size} {preset}"] = list(panels)
        self._known["panels"] = arrangements
        self._write()

    def _arrangements(self) -> dict[str, Any]:
        kept = self._known.get("panels")
        return dict(kept) if isinstance(kept, dict) else {}

    def _read(self) -> dict[str, Any]:
        if self.path is None:
            return {}
        try:
            with self.path.open("rb") as file:
                known = json.loads(file.read(MAX_BYTES))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def _write(self) -> None:
        if self.path is None or not self._written:
            return
        with contextlib.suppress(OSError):
            make_folders(self.path.parent, PRIVATE_MODE)
            replace_file(self.path, json.dumps(self._known, indent=1).encode())
