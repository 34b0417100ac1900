"""What is known of a run besides its rows, as plain values: its settings, its summary, its events."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from recorder.format import paths
from recorder.format.declarations import SUMMARIES
from recorder.format.protocol import Message
from replay.model.run import Run, StageData

MAX_DEPTH: Final = 20


def settings(run: Run) -> dict[str, Any]:
    """The settings of a run under the names that people filter by, such as `model`, `seed` and `prompt`.

    These are the run's metadata and those of its first stage; `stage_1` and so on are what later stages were called
    with. All values are plain: text, finite numbers, booleans, None, lists and maps.
    """
    found = plain(run.metadata)
    for stage in run.stages:
        of_stage = stage_settings(stage)
        if stage.index == 0:
            found = {**of_stage, **found}
        else:
            found[paths.stage(stage.index)] = of_stage
    return dict(found)


def stage_settings(stage: StageData) -> dict[str, Any]:
    """What a stage was called with, and its planned noise levels."""
    return {**plain(stage.metadata), "sigmas": plain(list(stage.sigmas))}


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, str | int | float | bool]:
    """Plain settings without maps inside: `stage_1.seed`. Lists are JSON, and what is not known is left out."""
    found: dict[str, str | int | float | bool] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{key}.")
        elif value is not None:
            found[f"{before}{key}"] = as_json(value) if isinstance(value, list) else value
    return found


def summary(run: Run) -> dict[str, float]:
    """The summaries of a run's stages that are numbers: `video/content_drift`, with `stage_1/` before later ones."""
    found = {}
    for stage in run.stages:
        before = "" if stage.index == 0 else f"{paths.stage(stage.index)}/"
        for stream, values in stage.summary.items():
            for name, items in values.items():
                for item, value in enumerate(items):
                    if value is not None:
                        found[f"{before}{stream}/{name}" + (f"/{item}" if len(items) > 1 else "")] = value
    return found


def summary_unit(name: str) -> str:
    """The unit of a summary; empty if it is not a known one."""
    return SUMMARIES[name].unit if name in SUMMARIES else ""


def status(run: Run) -> str:
    """The status that a run ended with, or `unfinished`."""
    return str(run.end.get("status", "unknown")) if run.end else "unfinished"


def event_line(event: Message) -> str:
    """An event as one text: kind, text and payload."""
    payload = event.get("payload")
    more = f" {as_json(payload)}" if payload else ""
    return f"{valid(event.get('kind', ''))}: {valid(event.get('text', ''))}{more}"


def iso(time: float) -> str:
    """A Unix time in UTC; empty if it is not one."""
    try:
        return datetime.fromtimestamp(time, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return ""


def as_json(value: object) -> str:
    """A value as one line of JSON; numbers that are not finite are text."""
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False)


def plain(value: Any, depth: int = 0) -> Any:
    """A value of a message with nothing that JSON lacks: numbers that are not finite, and bytes, become text."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if depth < MAX_DEPTH and isinstance(value, Mapping):
        return {valid(str(key)): plain(one, depth + 1) for key, one in value.items()}
    if depth < MAX_DEPTH and isinstance(value, list | tuple):
        return [plain(one, depth + 1) for one in value]
    return valid(value)


def valid(value: object) -> str:
    """A text that can be encoded: an archive's may have halves of characters."""
    return str(value).encode("utf-8", "replace").decode()


def printable(value: object) -> str:
    """A text of a run in which controls and direction marks are spaces: it may be printed on a terminal."""
    return "".join(c if c.isprintable() else " " for c in valid(value))
