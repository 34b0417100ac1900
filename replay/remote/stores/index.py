"""The index of a folder of runs on a store: one object with a line per run, so that a list of them needs few requests.

It is a copy of what the archives say, and may lack runs, or be gone: runs without a line are read from their archives.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recorder.format import locations
from recorder.system.open_folders import PRIVATE_MODE, make_folders, replace_file
from replay.library.run_info import RunInfo
from replay.remote.run_lines import as_line, read_run
from replay.remote.stores.address import StoreAddress
from replay.remote.stores.files import key_of

NAME: Final = "ltxtui-index.jsonl"
MAX_BYTES: Final = 256 << 20
_FORMAT: Final = "ltxtui-index"
_VERSION: Final = 1
_BAD: Final = (ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True)
class IndexLine:
    """One run on a store.

    Attributes:
        object: its name in the folder, such as `red-disc.zarr.zip`.
        size: of the object in bytes; of a folder, 0.
        stamp: of the object, where it was read from there; empty where it was written.
        sha256: of the object, where it was written; empty where it was read.
        run: the line of the list.
    """

    object: str
    size: int
    stamp: str
    sha256: str
    run: Mapping[str, Any]

    @classmethod
    def of(cls, info: RunInfo, object: str, size: int, *, stamp: str = "", sha256: str = "") -> IndexLine:
        """From the line of a run. The path here is left out."""
        own = {"name": locations.run_name(Path(object)), "path": object, "bytes": size or info.bytes}
        return cls(object, size, stamp, sha256, {**as_line(info), **own})

    def info(self, folder: StoreAddress) -> RunInfo:
        """As a line of the list. Raises NotALine if it is not one."""
        own = {"name": locations.run_name(Path(self.object)), "path": self.object}
        return read_run({**self.run, **own}, "", folder.shown)

    def as_json(self) -> dict[str, Any]:
        known = {"object": self.object, "size": self.size, "run": dict(self.run)}
        return known | {k: v for k, v in (("stamp", self.stamp), ("sha256", self.sha256)) if v}


class NotAnIndex(ValueError):
    """An object that has the index's place, and is something else or of a newer version."""


def read_index(data: bytes) -> dict[str, IndexLine]:
    """By object, the lines of an index; those that are damaged are left out.

    Raises:
        NotAnIndex: if it is none.
    """
    lines = data.split(b"\n")
    try:
        head = json.loads(lines[0])
        if head["format"] != _FORMAT or head["version"] > _VERSION:
            raise NotAnIndex("another format or version")
    except _BAD as error:
        raise NotAnIndex(str(error)) from None
    found = {}
    for line in lines[1:]:
        with contextlib.suppress(*_BAD):
            said = json.loads(line)
            made = IndexLine(
                str(said["object"]), int(said["size"]), str(said.get("stamp", "")), str(said.get("sha256", "")),
                dict(said["run"]),
            )  # fmt: skip
            found[made.object] = made
    return found


def written_index(lines: Iterable[IndexLine]) -> bytes:
    """The bytes of an index."""
    head = {"format": _FORMAT, "version": _VERSION}
    texts = (json.dumps(line.as_json(), ensure_ascii=False) for line in sorted(lines, key=lambda one: one.object))
    return "\n".join((json.dumps(head), *texts, "")).encode(errors="replace")


def _kept_file(folder: StoreAddress) -> Path | None:
    cache = locations.cache_folder()
    return None if cache is None else cache / f"store-{key_of(str(folder))}.jsonl"


def kept_lines(folder: StoreAddress) -> dict[str, IndexLine]:
    """Lines of runs without one in the index, as they were read here before."""
    file = _kept_file(folder)
    try:
        return {} if file is None else read_index(file.read_bytes())
    except (OSError, NotAnIndex):
        return {}


def keep_lines(folder: StoreAddress, lines: Iterable[IndexLine]) -> None:
    """Keep such lines for the next time; failing to is not an error."""
    file = _kept_file(folder)
    if file is not None:
        with contextlib.suppress(OSError):
            make_folders(file.parent, PRIVATE_MODE)
            replace_file(os.fspath(file), written_index(lines))
