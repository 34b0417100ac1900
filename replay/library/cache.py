"""What was read of runs, kept in a file, so that thousands of them are listed at once the next time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from dataclasses import astuple
from pathlib import Path
from typing import Any, Final

import msgpack

from recorder.findings.finding import SEVERITIES, Verdict
from recorder.findings.rules import VERSION as RULES_VERSION
from recorder.format import locations, paths
from recorder.format.nonfinite import Broken
from recorder.system.open_folders import PRIVATE_MODE, make_folders
from replay.library.run_info import RunInfo

VERSION: Final = 6
MAX_BYTES: Final = 256 << 20
_MAYBE: Final = (float, type(None))
_FIELDS: Final[tuple[tuple[str, type | tuple[type, ...]], ...]] = (
    ("name", str), ("started", float), ("stages", int), ("steps", int), ("planned", int), ("seconds", _MAYBE),
    ("status", str), ("bytes", int), ("prompt", str), ("model", str), ("shocks", int), ("drift", _MAYBE),
    ("sigmas", list), ("tags", list), ("missed", int), ("broken", list), ("noise_left", float),
    ("verdict", (list, type(None))), ("rules", int),
)  # fmt: skip
_NAMES: Final = tuple(name for name, _ in _FIELDS)
_KINDS: Final = tuple(kind for _, kind in _FIELDS)

Stamp = tuple[int, ...]
"""Time of change and size of what a line was read from; if it differs, the line is read again."""


def stamp_of(archive: Path, has_journal: bool = True) -> Stamp | None:
    """The stamp of an archive and of its journal, if it may have one; None if neither can be read."""
    found = _looked_at(str(archive) if locations.is_packed(archive) else f"{archive}/{paths.DOCUMENT}")
    if has_journal:
        found += _looked_at(str(locations.journal_of(archive)))
    return found or None


def _looked_at(file: str) -> Stamp:
    try:
        status = os.stat(file)  # noqa: PTH116 - thousands of times per pass, and a Path costs more than the call
    except OSError:
        return ()
    return status.st_mtime_ns, status.st_size


def cache_file(runs_dir: Path) -> Path | None:
    """Where a folder's lines are kept: one file per folder, under the user's cache directory or in `LTXTUI_CACHE`.

    None without such a directory: then nothing is kept.
    """
    directory = locations.cache_folder()
    if directory is None:
        return None
    known = hashlib.sha256(os.fsencode(runs_dir.absolute())).hexdigest()[:24]
    return directory / f"runs-{known}.msgpack"


class ListingCache:
    """Lines of the list of one folder, by the archive's name and stamp.

    A file that is missing, damaged or of another version counts as empty: everything in it can be read again.
    """

    def __init__(self, runs_dir: Path, file: Path | None = None) -> None:
        self._runs_dir = runs_dir
        self._file = file or cache_file(runs_dir)
        self._changed = False
        self._lines = self._load()

    def __len__(self) -> int:
        return len(self._lines)

    def get(self, archive: Path, stamp: Stamp) -> RunInfo | None:
        """The line that was read when the archive had this stamp; None if there is none."""
        line = self._lines.get(archive.name)
        if line is None or line[0] != stamp:
            return None
        try:
            return _info(archive, line[1])
        except (TypeError, ValueError):
            del self._lines[archive.name]  # damaged, though the rest of the file was not
            return None

    def put(self, info: RunInfo, stamp: Stamp) -> None:
        """Keep a line of a run that has ended, unless it has values that the file cannot hold."""
        line = (stamp, [RULES_VERSION if n == "rules" else _to_cache_value(getattr(info, n)) for n in _NAMES])
        try:
            _packed(line)
        except (OverflowError, TypeError, ValueError):
            self._lines.pop(info.path.name, None)
        else:
            self._lines[info.path.name] = line
        self._changed = True

    def keep_only(self, names: set[str]) -> None:
        """Forget what is no longer in the folder; `names` are of archives."""
        gone = self._lines.keys() - names
        for name in gone:
            del self._lines[name]
        self._changed = self._changed or bool(gone)

    def save(self) -> None:
        """Write the file if something has changed, completely or not at all; failing to write it is not an error."""
        if not self._changed or self._file is None:
            return
        content = {"version": VERSION, "folder": str(self._runs_dir.absolute()), "lines": self._lines}
        data = _packed(content)
        with contextlib.suppress(OSError):
            make_folders(self._file.parent, PRIVATE_MODE)
            handle, name = tempfile.mkstemp(prefix=".runs-", dir=self._file.parent)
            try:
                with os.fdopen(handle, "wb") as out:
                    out.write(data)
                Path(name).replace(self._file)
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise
            self._changed = False

    def _load(self) -> dict[str, tuple[Stamp, list[Any]]]:
        if self._file is None:
            return {}
        try:
            with self._file.open("rb") as file:
                data = file.read(MAX_BYTES)
            content = msgpack.unpackb(data, unicode_errors="surrogatepass", use_list=True)
            if content["version"] != VERSION or content["folder"] != str(self._runs_dir.absolute()):
                return {}
            return {str(name): (tuple(stamp), list(line)) for name, (stamp, line) in content["lines"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError, msgpack.UnpackException, RecursionError):
            return {}


def _packed(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
    return packed


def _to_cache_value(value: Any) -> Any:
    if isinstance(value, Verdict):
        return list(astuple(value))
    if not isinstance(value, tuple):
        return value
    return [list(astuple(one)) if isinstance(one, Broken) else one for one in value]


def _info(archive: Path, line: list[Any]) -> RunInfo:
    if len(line) != len(_FIELDS) or not all(map(isinstance, line, _KINDS)):
        raise TypeError("other fields than expected")
    fields: dict[str, Any] = dict(zip(_NAMES, line, strict=True))
    if not set(map(type, fields["sigmas"])) <= {float} or not set(map(type, fields["tags"])) <= {str}:
        raise TypeError("lists of something else than expected")
    fields["sigmas"], fields["tags"] = tuple(fields["sigmas"]), tuple(fields["tags"])
    if fields["broken"]:
        fields["broken"] = tuple(_broken(*one) for one in fields["broken"])
    else:
        fields["broken"] = ()
    # Verdicts of older rules are made again.
    known = fields["verdict"] if fields.pop("rules") >= RULES_VERSION else None
    fields["verdict"] = None if known is None else _verdict(*known)
    return RunInfo(path=archive, **fields)


def _verdict(severity: str, text: str) -> Verdict:
    if severity not in ("ok", *SEVERITIES) or type(text) is not str:
        raise TypeError("other fields than expected")
    return Verdict(severity, text)  # type: ignore[arg-type]


def _broken(stage: int, stream: str, step: int, item: int | None, share: float) -> Broken:
    known = type(stage) is type(step) is int and type(stream) is str and type(share) is float
    if not known or not isinstance(item, int | None):
        raise TypeError("other fields than expected")
    return Broken(stage, stream, step, item, share)
