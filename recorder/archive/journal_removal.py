"""Removes a run's journal once its archive is on the disk: when it ends, later, or at the next run in that folder."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
import threading
import time
import zlib
from pathlib import Path
from typing import Any

from recorder.archive.writer import ArchiveWriter
from recorder.archive.zip_writer import PackedFiles, sync_zip
from recorder.format import locations, paths, protocol
from recorder.format.array_document import MAX_DOCUMENT_BYTES
from recorder.format.events import reason_of
from recorder.format.framing import encode
from recorder.journal.journal import JournalReader, is_being_written
from recorder.system import durability
from recorder.system.move_remove import changing, exists
from recorder.system.open_folders import Tree, open_folder

logger = logging.getLogger(__name__)

SETTLE_SECONDS = 0.2
"""How long leaving the block waits until the archive is on the disk; after that, the journal is removed later."""
EXIT_SECONDS = 5.0
"""How long the end of the process waits for archives that are being forced onto the disk."""


class Settlement:
    """Forces a complete archive onto the disk, in its own thread: it takes as long as the disk does."""

    def __init__(self, archive: ArchiveWriter) -> None:
        self._archive = archive
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._late = False
        self._error: Exception | None = None
        try:
            threading.Thread(target=self._settle, name="ltxtui-settler", daemon=True).start()
        except RuntimeError:  # no more threads, or the interpreter ends
            self._settle()

    def within(self, seconds: float) -> bool:
        """Whether the archive is on the disk within this many seconds.

        If it takes longer, this thread removes the journal afterwards.
        """
        self._done.wait(seconds)
        with self._lock:
            if not self._done.is_set():
                self._late = True
                _late.add(self)
        return self._done.is_set() and self._error is None

    def wait(self, seconds: float) -> None:
        """Wait for the disk, and for the journal to be removed."""
        self._done.wait(seconds)

    def _settle(self) -> None:
        try:
            self._archive.sync()
        except Exception as error:  # noqa: BLE001 - the journal has everything
            self._error = error
            logger.warning("%s may not be on the disk (%s); its journal stays next to it", self._path, reason_of(error))
        with self._lock:
            late = self._late
            if not late:
                self._done.set()
        self._archive.close()
        if late:
            self._finish()

    @property
    def _path(self) -> Path:
        return self._archive.path

    def _finish(self) -> None:
        try:
            until = time.monotonic() + EXIT_SECONDS
            while is_being_written(locations.journal_of(self._path)) and time.monotonic() < until:
                time.sleep(0.01)  # its recorder is about to release it
            if self._error is None:
                settle(self._path, verify=False)
        except Exception as error:  # noqa: BLE001 - both exist, which readers accept
            logger.warning("the journal of %s stays next to it: %s", self._path, reason_of(error))
        finally:
            _late.discard(self)
            self._done.set()


_late: set[Settlement] = set()


def wait_for_late() -> None:
    """At the end of the process: give the disk a moment; what is not on it then keeps its journal."""
    until = time.monotonic() + EXIT_SECONDS
    for settlement in list(_late):
        settlement.wait(max(0.0, until - time.monotonic()))


def settle(archive: Path, verify: bool = True) -> bool:
    """Remove the journal next to an archive that is complete and intact, once the archive is on the disk.

    Args:
        archive: its path.
        verify: compare the journal's end, all documents and checksums first: after a power cut parts may be missing.
            A recorder that has just completed the archive knows better; its journal has no end where the disk was full.

    Returns:
        False if anything of the journal may still be needed; nothing is changed then.

    Raises:
        Busy: if another process changes the run.
        OSError: if files cannot be read or removed.
    """
    journal = locations.journal_of(archive)
    with changing(archive) as place:
        if not journal.is_file() or is_being_written(journal):
            return False
        if not exists(archive.name, place):
            if not _packed_holds_all(locations.packed_of(archive), journal, verify):
                return False
        elif not _folder_holds_all(archive, place, journal, verify):
            return False
        os.unlink(journal.name, dir_fd=place)
    return True


def _folder_holds_all(archive: Path, place: int, journal: Path, verify: bool) -> bool:
    """Whether an archive has all of its journal, and is on the disk now."""
    tree = Tree(open_folder(archive.name, place))
    try:
        if not _holds_all(tree, journal, verify):
            return False
        durability.sync_tree(tree, tree.files(), archive.parent)
    finally:
        tree.close()
    return True


def _packed_holds_all(packed: Path, journal: Path, verify: bool) -> bool:
    """The same of an archive in one file; one that cannot be read has nothing."""
    try:
        files = PackedFiles(packed)
    except ValueError:
        return False
    try:
        if not _holds_all(files, journal, verify):
            return False
    finally:
        files.close()
    sync_zip(packed)
    return True


def settle_others(own: Path) -> None:
    """Settle what earlier recorders in the folder of a new run left, in its own thread, if there is anything."""
    found = []
    with contextlib.suppress(OSError), os.scandir(own.parent) as entries:
        for entry in entries:
            if entry.name.endswith(locations.JOURNAL_SUFFIX) and not entry.name.startswith("."):
                archive = locations.archive_of(own.parent / entry.name)
                if archive != own and _is_ours(Path(entry.path), archive):
                    found.append(archive)
    if found:
        # Without a thread they wait for the next run.
        with contextlib.suppress(RuntimeError):
            threading.Thread(target=_settle_all, args=(found,), name="ltxtui-settler", daemon=True).start()


def _settle_all(archives: list[Path]) -> None:
    for archive in archives:
        try:
            if settle(archive):
                logger.info("the journal of %s was removed: its archive is intact and on the disk", archive)
        except Exception as error:  # noqa: BLE001 - both exist, which readers accept
            logger.debug("the journal of %s stays next to it: %s", archive, reason_of(error))


def _is_ours(journal: Path, archive: Path) -> bool:
    """Whether a journal and its archive belong to this user, and neither is a link."""
    try:
        one, other = journal.lstat(), locations.archive_in_place(archive).lstat()
    except OSError:
        return False
    owned = one.st_uid == other.st_uid == os.geteuid()
    kept = stat.S_ISDIR(other.st_mode) or stat.S_ISREG(other.st_mode)
    return owned and stat.S_ISREG(one.st_mode) and kept


def _holds_all(tree: Tree | PackedFiles, journal: Path, verify: bool) -> bool:
    """Whether an archive is complete and of the same run as a journal; with `verify`, one that ends as it does."""
    try:
        root = _document(tree, paths.DOCUMENT)
        attributes = root["attributes"]
        reader = JournalReader(journal)
        try:
            header = reader.poll(1)[0]
        finally:
            reader.close()
        end = {"t": protocol.END, "time": attributes["ended"], **{key: attributes[key] for key in ("status", "error")}}
        same = header["t"] == protocol.HEADER and header["time"] == attributes["time"]
        return same and (not verify or (_ends_with(journal, encode(end)) and _is_whole(tree, root)))
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError):  # no archive, or not complete
        return False


def _ends_with(journal: Path, data: bytes) -> bool:
    with journal.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - len(data)))
        return file.read() == data


def _is_whole(tree: Tree | PackedFiles, root: dict[str, Any]) -> bool:
    """Whether every document and every chunk of a complete archive is unchanged since it was written."""
    try:
        for name, kept in root["consolidated_metadata"]["metadata"].items():
            own = _document(tree, paths.document(name))
            if {**own, "consolidated_metadata": None} != {**kept, "consolidated_metadata": None}:
                return False
        checksums = _document(tree, paths.CHECKSUMS)["crc32"]
        return all(zlib.crc32(tree.read(name)) == checksum for name, checksum in checksums.items())
    except FileNotFoundError:
        return False


def _document(tree: Tree | PackedFiles, name: str) -> dict[str, Any]:
    data = tree.read(name, MAX_DOCUMENT_BYTES + 1)
    if len(data) > MAX_DOCUMENT_BYTES:
        raise ValueError("the document is too long")
    found: dict[str, Any] = json.loads(data)
    return found
