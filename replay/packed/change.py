"""Changes the root attributes of a packed archive: the file is written again, with every other member as it was."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from recorder.archive.zip_writer import write_zip
from recorder.format import paths
from replay.archive.packed_storage import PackedStorage
from replay.archive.safe_files import Damaged, checked, parse
from replay.archive.zip_directory import STORED
from replay.model.validation import NotARun


def set_attributes(packed: Path, changes: dict[str, Any]) -> None:
    """Give a packed archive other root attributes.

    A file with a damaged member is not changed: written again, its damage would have a right checksum.

    Raises:
        NotARun: if it is not an archive that can be read completely.
        OSError: when the disk does; the file is then as it was.
    """
    try:
        storage = PackedStorage(packed)
        names = [name for name, _ in storage.files()]
        document = parse(_whole(storage, paths.DOCUMENT))
        attributes = {**checked(document.get("attributes")), **changes}
        root = json.dumps({**document, "attributes": attributes}).encode()
        small = any(storage.member(name).method != STORED for name in names)
        write_zip(packed, names, lambda n: root if n == paths.DOCUMENT else _whole(storage, n), small=small)
    except Damaged as error:
        raise NotARun(f"{packed.name} {error}; repair it first") from error


def _whole(storage: PackedStorage, name: str) -> bytes:
    """Raises Damaged."""
    try:
        data, right = storage.as_stored(name)
    except Damaged as error:
        raise Damaged(f"has a damaged member: {name} {error}") from error
    if not right:
        raise Damaged(f"has a damaged member: {name}")
    return data
