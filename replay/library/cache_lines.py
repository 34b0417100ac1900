"""One run's line as bytes of the cache, and back; what a damaged cache may hold is refused."""

from __future__ import annotations

import struct
from collections.abc import Hashable
from dataclasses import astuple, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import msgpack

from recorder.findings.finding import SEVERITIES, Verdict
from recorder.findings.rules import VERSION as RULES_VERSION
from recorder.format.nonfinite import Broken
from replay.library.run_info import RunInfo

_MAYBE: Final = (float, type(None))
_FIELDS: Final[tuple[tuple[str, type | tuple[type, ...]], ...]] = (
    ("name", str), ("started", float), ("stages", int), ("steps", int), ("planned", int), ("seconds", _MAYBE),
    ("status", str), ("bytes", int), ("prompt", str), ("model", str), ("shocks", int), ("drift", _MAYBE),
    ("sigmas", bytes), ("tags", list), ("missed", int), ("broken", list), ("noise_left", float),
    ("verdict", (list, type(None))), ("rules", int),
)  # fmt: skip
_NAMES: Final = tuple(name for name, _ in _FIELDS)
_KINDS: Final = tuple(kind for _, kind in _FIELDS)
_LEVEL_BYTES: Final = 8
_MOST_SHARED: Final = 4096
_MOST_LEVELS: Final = 1 << 14
_Value = TypeVar("_Value", bound=Hashable)


class SharedValues:
    """Equal values of many lines as one object each: the runs of a sweep differ in little.

    Only the values that came last are known, so that it stays small where all of them differ.
    """

    def __init__(self) -> None:
        self._known: dict[Any, Any] = {}
        self._levels: dict[float, float] = {}

    def one(self, value: _Value) -> _Value:
        """The value, or an equal one that is known."""
        if len(self._known) >= _MOST_SHARED:
            self._known.clear()
        found: _Value = self._known.setdefault(value, value)
        return found

    def sigmas(self, packed: bytes) -> tuple[float, ...]:
        """A schedule that is known, or one that is unpacked. Raises ValueError."""
        found: tuple[float, ...] | None = self._known.get(packed)
        if found is None:
            if len(packed) % _LEVEL_BYTES:
                raise ValueError("half a level")
            levels = struct.unpack(f"<{len(packed) // _LEVEL_BYTES}d", packed)
            found = self._known[packed] = self._schedule(levels)
        return found

    def _schedule(self, levels: tuple[float, ...]) -> tuple[float, ...]:
        """A schedule of shared levels: lists have them rounded."""
        if len(self._levels) >= _MOST_LEVELS:
            self._levels.clear()
        one = self._levels.setdefault
        return self.one(tuple([one(level, level) for level in levels]))

    def line(self, line: RunInfo) -> RunInfo:
        """A line with shared values."""
        one = self.one
        return replace(
            line, prompt=one(line.prompt), model=one(line.model), status=one(line.status),
            sigmas=self._schedule(line.sigmas),
            tags=one(line.tags), verdict=one(line.verdict),
        )  # fmt: skip


def packed(value: Any) -> bytes:
    """A value as msgpack, also text that is no UTF-8. Raises OverflowError, TypeError, ValueError."""
    found: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
    return found


def encode(line: RunInfo) -> bytes:
    """The bytes of a line. Raises OverflowError, TypeError, ValueError, struct.error if they cannot hold it."""
    return packed([RULES_VERSION if n == "rules" else _to_cache_value(n, getattr(line, n)) for n in _NAMES])


def decode(archive: Path, data: bytes, shared: SharedValues) -> RunInfo:
    """The line that bytes hold, of the archive at a path.

    Raises:
        ValueError: if they hold something else.
    """
    try:
        return _line(archive, msgpack.unpackb(data, unicode_errors="surrogatepass", use_list=True), shared)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError) as error:
        raise ValueError(f"a line of other fields than expected: {error}") from error


def _to_cache_value(name: str, value: Any) -> Any:
    if name == "sigmas":
        return struct.pack(f"<{len(value)}d", *value)
    if isinstance(value, Verdict):
        return list(astuple(value))
    if not isinstance(value, tuple):
        return value
    return [list(astuple(one)) if isinstance(one, Broken) else one for one in value]


def _line(archive: Path, line: list[Any], shared: SharedValues) -> RunInfo:
    if len(line) != len(_FIELDS) or not all(map(isinstance, line, _KINDS)):
        raise TypeError("other fields than expected")
    found: dict[str, Any] = dict(zip(_NAMES, line, strict=True))
    found["sigmas"] = shared.sigmas(found["sigmas"])
    if found["tags"]:
        if not set(map(type, found["tags"])) <= {str}:
            raise TypeError("tags of something else than text")
        found["tags"] = shared.one(tuple(found["tags"]))
    else:
        found["tags"] = ()
    found["broken"] = tuple(_broken(*one) for one in found["broken"]) if found["broken"] else ()
    for name in ("status", "model", "prompt"):
        found[name] = shared.one(found[name])
    # Verdicts of older rules are made again.
    known = found["verdict"] if found.pop("rules") >= RULES_VERSION else None
    found["verdict"] = None if known is None else shared.one(_verdict(*known))
    return RunInfo(path=archive, **found)


def _verdict(severity: str, text: str) -> Verdict:
    if severity not in ("ok", *SEVERITIES) or type(text) is not str:
        raise TypeError("other fields than expected")
    return Verdict(severity, text)  # type: ignore[arg-type]


def _broken(stage: int, stream: str, step: int, item: int | None, share: float) -> Broken:
    known = type(stage) is type(step) is int and type(stream) is str and type(share) is float
    if not known or not isinstance(item, int | None):
        raise TypeError("other fields than expected")
    return Broken(stage, stream, step, item, share)
