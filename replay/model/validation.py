"""Checks of values in a run's messages, which come from files and sockets that are not trusted.

Each function returns the value as its type, or raises NotARun with what is wrong; `what` names the value there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from recorder.format import paths, protocol

NAME: Final = re.compile(r"[A-Za-z0-9_]{1,64}")
"""Names of streams, metrics, coordinates and quantities: they are names of folders in archives."""
MAX_AXES: Final = 7
MAX_SIDE: Final = 1 << 20
"""Of a stream's grid: eleven hours of sound."""
_LARGEST: Final = 1 << 53
_YEAR_1: Final = -62_135_596_800.0
_YEAR_10000: Final = 253_402_300_800


class NotARun(ValueError):
    """Messages that do not describe a run in a format that this version reads."""


def read_text(value: Any, what: str) -> str:
    if not isinstance(value, str):
        raise NotARun(f"{what} is {_kind(value)}, not text")
    return value


def read_name(value: Any, what: str) -> str:
    """A name that is safe as one part of a path."""
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise NotARun(f"{what} is called {str(value)[:40]!r}; names are letters, digits and underscores")
    return value


def read_int(value: Any, what: str, least: int = 0, most: int = _LARGEST) -> int:
    if type(value) is not int or not least <= value <= most:
        raise NotARun(f"{what} is {str(value)[:40]}, not an integer from {least} to {most}")
    return value


def read_number(value: Any, what: str) -> float:
    """Any float, NaN too, or an integer that fits one."""
    if type(value) is float:
        return value
    if type(value) is not int or abs(value) > _LARGEST:
        raise NotARun(f"{what} is {_kind(value)}, not a number")
    return float(value)


def read_time(value: Any, what: str) -> float:
    """Unix time, of the years 1 to 9999: a clock may be wrong, and the run is still shown."""
    found = read_number(value, what)
    if not _YEAR_1 <= found < _YEAR_10000:
        raise NotARun(f"{what} is {found}, which is not a time of a run")
    return found


def read_numbers(value: Any, what: str) -> tuple[float, ...]:
    if not isinstance(value, list | tuple):
        raise NotARun(f"{what} is {_kind(value)}, not a list")
    if set(map(type, value)) <= {float}:  # nearly always, and a tenth of the time
        return tuple(value)
    return tuple(read_number(v, what) for v in value)


def read_levels(value: Any, what: str) -> tuple[float, ...]:
    """Noise levels; None is NaN, which the attributes of an archive cannot hold."""
    known = [math.nan if v is None else v for v in value] if isinstance(value, list | tuple) else value
    return read_numbers(known, what)


def read_table(value: Any, what: str) -> dict[str, Any]:
    """A map whose keys are text."""
    if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
        raise NotARun(f"{what} is {_kind(value)}, not a table of names and values")
    return dict(value)


def read_shape(value: Any, what: str, most: int = protocol.MAX_RECORDER_MESSAGE) -> tuple[int, ...]:
    """A shape of at most `most` values in all."""
    if not isinstance(value, list | tuple) or len(value) > MAX_AXES:
        raise NotARun(f"{what} has the shape {str(value)[:60]}")
    found = tuple(read_int(n, what, 0, _LARGEST) for n in value)
    if math.prod(max(1, n) for n in found) > most:
        raise NotARun(f"{what} has the shape {list(found)}, of more than {most:,} values")
    return found


def read_grid(message: Mapping[str, Any]) -> tuple[int, ...]:
    """A stream's latent grid; its conditioning frames, if there are any, must be frames of it."""
    found = read_shape(message["grid"], "the grid", _LARGEST)
    if any(side > MAX_SIDE for side in found):
        raise NotARun(f"a grid of {list(found)}, over {MAX_SIDE:,} along a side")
    given = message.get("conditioning_frames")
    if given is not None:
        frames = found[0] if found else 0
        if not isinstance(given, list | tuple) or len(given) > frames:
            raise NotARun(f"conditioning frames that are not a list of some of the {frames:,}")
        for frame in given:
            read_int(frame, "a conditioning frame", 0, frames - 1)
    return found


def read_names(value: Any, what: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple):
        raise NotARun(f"{what} is {_kind(value)}, not a list of names")
    return tuple(read_name(v, what) for v in value)


def refuse_repeats(found: Iterable[str], what: str) -> None:
    """Refuse a name that occurs twice, or that an archive uses for another array."""
    seen: set[str] = set()
    for one in found:
        if one in seen or one in paths.RESERVED:
            raise NotARun(f"{what} {one!r} is used already")
        seen.add(one)


def read_coordinates(value: Any) -> dict[str, dict[str, Any]]:
    """Values along dimensions, by their names."""
    found = read_table(value, "coordinates")
    if not found.keys() <= {read_name(k, "a coordinate") for k in found}:
        raise NotARun("coordinates without names")
    for key, one in found.items():
        given = read_table(one, f"the coordinate {key}")
        read_numbers(given.get("values"), f"the coordinate {key}")
        read_table(given.get("attributes"), f"the coordinate {key}")
    return found


def read_summary(value: Any) -> dict[str, dict[str, list[float | None]]]:
    """The summary of a stage: by stream and name, a number or None per batch item."""
    found: dict[str, dict[str, list[float | None]]] = {}
    for stream, given in read_table(value, "a summary").items():
        found[stream] = {}
        for key, items in read_table(given, "a summary").items():
            if not isinstance(items, list | tuple):
                raise NotARun(f"the summary {key[:40]} is {_kind(items)}, not a list")
            found[stream][key] = [None if v is None else read_number(v, f"the summary {key[:40]}") for v in items]
    return found


def check_header(message: Mapping[str, Any]) -> None:
    """Refuse what is not a run, or one of a newer format.

    Raises:
        NotARun: with what to do about it.
    """
    if message.get("format") != protocol.FORMAT:
        raise NotARun("not a run recorded by ltxtui")
    version = message.get("version")
    if type(version) is not int or version > protocol.FORMAT_VERSION:
        raise NotARun(
            f"recorded in format version {str(version)[:20]}, newer than this program's {protocol.FORMAT_VERSION}; "
            "upgrade ltxtui"
        )


def check_event(message: Mapping[str, Any]) -> None:
    """Refuse an event that violates the format. Raises NotARun."""
    read_text(message.get("kind"), "an event's kind")
    read_text(message.get("text", ""), "an event's text")
    read_number(message.get("time"), "an event's time")
    read_table(message.get("payload"), "an event's payload")
    for key in ("stage", "step"):
        if message.get(key) is not None:
            read_int(message[key], f"an event's {key}")


def check_sample(message: Mapping[str, Any]) -> None:
    """Refuse a sample that violates the format. Raises NotARun."""
    read_number(message.get("time"), "a sample's time")
    for key, value in read_table(message.get("values"), "a sample").items():
        read_name(key, "a quantity")
        read_number(value, f"the quantity {key}")


def read_end(message: Mapping[str, Any]) -> dict[str, Any]:
    """A run's last message; one that violates the format becomes an end of unknown status."""
    status, error, time = message.get("status"), message.get("error"), message.get("time")
    known = isinstance(status, str) and (error is None or isinstance(error, str)) and type(time) in (float, int)
    return dict(message) if known else {"t": protocol.END, "time": 0.0, "status": "unknown", "error": None}


def table_or_empty(value: Any) -> dict[str, Any]:
    """A map whose keys are text; empty if it is something else."""
    return dict(value) if isinstance(value, Mapping) and all(isinstance(k, str) for k in value) else {}


def _kind(value: Any) -> str:
    return type(value).__name__
