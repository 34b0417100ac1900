"""The runs in a folder on a store: one list of its objects and its index; runs without a line there are read."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, Final

from recorder.format import locations
from replay.archive.safe_files import Damaged
from replay.library.archive_line import from_storage
from replay.library.run_info import RunInfo
from replay.model.validation import NotARun
from replay.remote.hello import NotALine
from replay.remote.stores import index
from replay.remote.stores.address import StoreAddress
from replay.remote.stores.fetch import open_mirror
from replay.remote.stores.files import ClaimedFiles, RangedFiles, ranges, stamp_of
from replay.remote.stores.filesystem import called, file_system
from replay.remote.stores.index import IndexLine
from replay.remote.stores.mirror import MirrorStorage
from replay.remote.stores.problems import StoreProblem

AT_ONCE: Final = 16
"""Runs that are read at a time."""


@dataclass(frozen=True)
class StoredRun:
    """A run on a store: its line in the list, and where it is."""

    info: RunInfo
    address: StoreAddress


@dataclass(frozen=True)
class StoreListing:
    """What a folder on a store has: runs, the newest first, and why others cannot be read, by their addresses."""

    runs: list[StoredRun]
    unreadable: list[tuple[StoreAddress, str]]


@dataclass(frozen=True)
class StoredArchive:
    """An archive in a folder on a store."""

    name: str
    size: int
    """0 of a folder."""
    stamp: str
    packed: bool


def entries_of(fs: Any, folder: StoreAddress) -> tuple[dict[str, StoredArchive], int | None]:
    """By name, the archives in a folder, and the size of its index; None without one. Raises StoreProblem."""
    if folder.scheme in ("http", "https"):
        raise StoreProblem(f"{folder.shown}: the objects behind {folder.scheme}:// cannot be listed; name one of them")
    root = fs._strip_protocol(str(folder)).rstrip("/")
    found: dict[str, StoredArchive] = {}
    index_size = None
    for info in called(folder, lambda: fs.ls(root, detail=True)):
        name = str(info.get("name", "")).rstrip("/").rpartition("/")[2]
        is_folder, size = info.get("type") == "directory", info.get("size")
        if is_folder and name.endswith(locations.ARCHIVE_SUFFIX) and not name.startswith("."):
            found[name] = StoredArchive(name, 0, "", packed=False)
        elif not is_folder and name.endswith(locations.PACKED_SUFFIX) and type(size) is int:
            found[name] = StoredArchive(name, size, stamp_of(info), packed=True)
        elif name == index.NAME and type(size) is int:
            index_size = size
    return found, index_size


def read_lines(fs: Any, folder: StoreAddress, size: int | None = None) -> dict[str, IndexLine]:
    """The lines of the folder's index, whose size may be known. Raises StoreProblem, `index.NotAnIndex`."""
    at = folder.below(index.NAME)
    url = fs._strip_protocol(str(at))
    if size is None:
        size = called(at, lambda: fs.info(url)).get("size")
    if type(size) is not int or size > index.MAX_BYTES:
        raise index.NotAnIndex("too large")
    return index.read_index(b"".join(ranges(fs, at, 0, size)))


def list_store(folder: StoreAddress) -> StoreListing:
    """The runs in a folder on a store. Waits for it.

    Raises:
        StoreProblem, MissingStoreExtra, UnknownScheme: if it cannot be listed.
    """
    fs = file_system(folder)
    entries, index_size = entries_of(fs, folder)
    known: dict[str, IndexLine] = {}
    if index_size is not None:
        with contextlib.suppress(index.NotAnIndex):
            known = read_lines(fs, folder, index_size)
    lines = {name: line for name, line in known.items() if name in entries and line.size == entries[name].size}
    here = index.kept_lines(folder)
    for name, entry in entries.items():
        line = here.get(name)
        # Of a folder nothing shows that it has changed: archives that have ended do not.
        if name not in lines and line is not None and (line.size, line.stamp) == (entry.size, entry.stamp):
            lines[name] = line
    unread = [entries[name] for name in sorted(entries.keys() - lines.keys(), reverse=True)]
    read, unreadable = _read(fs, folder, unread)
    if read:
        index.keep_lines(folder, [*(line for name, line in lines.items() if name in here), *read.values()])
    found: list[StoredRun] = []
    for name, line in (lines | read).items():
        try:
            found.append(StoredRun(line.info(folder), folder.below(name)))
        except NotALine as error:
            unreadable.append((folder.below(name), f"its line in the index is damaged: {error}"))
    found.sort(key=lambda run: (run.info.started, run.info.name), reverse=True)
    return StoreListing(found, unreadable)


def _read(
    fs: Any, folder: StoreAddress, entries: Sequence[StoredArchive]
) -> tuple[dict[str, IndexLine], list[tuple[StoreAddress, str]]]:
    """Lines of runs from their archives, several at a time."""
    waiting: SimpleQueue[StoredArchive] = SimpleQueue()
    for entry in entries:
        waiting.put(entry)
    read: dict[str, IndexLine] = {}
    failed: list[tuple[StoreAddress, str]] = []

    def work() -> None:
        while True:
            try:
                entry = waiting.get_nowait()
            except Empty:
                return
            try:
                read[entry.name] = _line(fs, folder, entry)
            except (StoreProblem, Damaged, NotARun, OSError) as error:
                failed.append((folder.below(entry.name), str(error)))

    threads = [threading.Thread(target=work, daemon=True) for _ in range(min(AT_ONCE, len(entries)))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return read, failed


def _line(fs: Any, folder: StoreAddress, entry: StoredArchive) -> IndexLine:
    address = folder.below(entry.name)
    files = RangedFiles(fs, address, entry.size, entry.stamp) if entry.packed else ClaimedFiles(fs, address)
    info = from_storage(MirrorStorage(open_mirror(address, files)))
    return IndexLine.of(info, entry.name, entry.size, stamp=entry.stamp)


def find_run(address: StoreAddress) -> StoreAddress:
    """The archive that an address names: itself, or the one in its folder with this name or this in its name.

    Raises:
        StoreProblem: if there is none, or several.
    """
    if address.kind != "runs":
        return address
    folder, part = address.above, address.path.rpartition("/")[2]
    look = f"list the runs with: ltxtui runs --runs-dir {folder.shown}"
    if not folder.path or (address.scheme == "hf" and folder.path.count("/") < 2):
        raise StoreProblem(f"{address.shown} names no run; list them with: ltxtui runs --runs-dir {address.shown}")
    names = sorted(entries_of(file_system(folder), folder)[0], reverse=True)
    exact = [n for n in names if n in (f"{part}{locations.PACKED_SUFFIX}", f"{part}{locations.ARCHIVE_SUFFIX}")]
    found = exact[:1] or [name for name in names if part in name]
    if len(found) == 1:
        return folder.below(found[0])
    if not found:
        raise StoreProblem(f"{address.shown}: no run there has {part!r} in its name; {look}", "missing")
    named = ", ".join(found[:5]) + ", …" * (len(found) > 5)
    raise StoreProblem(f"{len(found)} runs match {address.shown}: {named}; be more specific, or {look}")
