"""The user's own folders for cache, state and settings; a container may have no home and no such user."""

from __future__ import annotations

from pathlib import Path
from typing import Literal


def user_folder(kind: Literal["cache", "config", "state"]) -> Path | None:
    """Where this program keeps what is the user's, after the XDG rules; None if no home directory is known."""
    import platformdirs

    try:
        folder = getattr(platformdirs, f"user_{kind}_path")("ltxtui")
    except (RuntimeError, KeyError, OSError):
        return None
    return folder if isinstance(folder, Path) and folder.is_absolute() else None
