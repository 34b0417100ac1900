"""The first and the last message of a run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from recorder.archive.tables import to_json_value
from recorder.format import protocol
from recorder.format.events import cut
from recorder.format.protocol import Message


def header(archive: Path, began: float, metadata: dict[str, Any], control: bool) -> Message:
    """The `header` message: what is known of a run when it begins.

    Args:
        archive: its path; the file name without its ending is the run's name.
        began: time of the beginning, in seconds since 1970.
        metadata: JSON-like; NaN and Inf become None.
        control: whether viewers may send commands.
    """
    return {
        "t": protocol.HEADER,
        "format": protocol.FORMAT,
        "version": protocol.FORMAT_VERSION,
        "run": archive.stem,
        "time": began,
        "archive": str(archive.resolve()),
        "control": control,
        "metadata": to_json_value(metadata),
    }


def end(status: protocol.Status, error: str | None) -> Message:
    """The `end` message, as of now; `error` is cut to the length of a text in a message."""
    return {"t": protocol.END, "time": time.time(), "status": status, "error": None if error is None else cut(error)}
