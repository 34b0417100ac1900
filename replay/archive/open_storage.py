"""Finds out in which form an archive is: a folder, or one packed file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recorder.format import paths
from recorder.format.array_document import MAX_DOCUMENT_BYTES
from replay.archive.disk_storage import DiskStorage
from replay.archive.packed_storage import PackedStorage
from replay.archive.safe_files import attributes_in
from replay.archive.storage import Storage


def storage_of(path: Path) -> Storage:
    """The files of the archive at a path, which need not exist.

    Raises:
        Missing: if it is a file, and not a zip file.
        Damaged: if it is a zip file that is not read, with the reason.
    """
    return PackedStorage(path) if path.is_file() else DiskStorage(path)


def attributes_of(storage: Storage, node: str = "") -> dict[str, Any]:
    """The attributes of a node, without what follows them in its document. Raises Missing and Damaged."""
    return attributes_in(storage.read(paths.document(node), MAX_DOCUMENT_BYTES))
