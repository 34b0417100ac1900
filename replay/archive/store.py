"""Reads archives, folders or packed: what `recorder.archive.zarr_writer` writes is read, anything else is refused.

Opening costs one small file per array that is looked at. Shapes, chunk sizes and names in an archive are claims of its
author: memory is taken for what the files hold, never for what they claim. The reader is our own because zarr-python
believes those claims, decodes any codec, and needs 9 times the CPU time to read the same arrays
(`python -m benchmarks.zarr_python`). `tests/replay/test_store.py` holds both to the same values.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from recorder.format import paths
from recorder.format.array_document import MAX_DOCUMENT_BYTES
from replay.archive.array import ArrayReader as ArrayReader
from replay.archive.array import Values as Values
from replay.archive.open_storage import storage_of
from replay.archive.safe_files import Damaged, Missing, checked, parse
from replay.archive.storage import Storage

MAX_NOTES: Final = 200
MAX_LOOKED_INTO: Final = 8 << 20
"""Bytes of rows whose checksums are compared when an archive is opened: some 200 steps."""
MAX_CHECKSUMS: Final = 1 << 20
MAX_CHUNKS: Final = 64
"""Chunks of an array of rows that are looked at when an archive is opened: 65,536 rows."""


class StoreReader:
    """One archive. `notes` lists what is damaged or missing so far, in a line each."""

    def __init__(self, place: Path | Storage) -> None:
        """Open it.

        Args:
            place: the archive's folder or packed file, or where its files are read.

        Raises:
            Missing, Damaged: if a file is not a packed archive.
        """
        self.storage = storage_of(place) if isinstance(place, Path) else place
        self.notes: dict[str, str] = {}
        self.recovered: set[str] = set()
        """Documents that were damaged and of which there is a copy: nothing is lost."""
        self._unread = MAX_LOOKED_INTO
        self._checksums: dict[str, int] | None = None
        self._consolidated: dict[str, Any] | None = None

    def note(self, name: str, text: str) -> None:
        """Remember what is wrong with a node, once."""
        if name not in self.notes and len(self.notes) < MAX_NOTES:
            self.notes[name] = f"{name} {text}"

    @property
    def path(self) -> Path:
        """Of the folder or the packed file."""
        return self.storage.path

    def folder(self, name: str) -> bool:
        """Whether a node has a folder."""
        return self.storage.is_folder(name)

    def document(self, name: str) -> dict[str, Any]:
        """A node's document: its own, or if that is damaged the copy in the root's consolidated metadata.

        Raises:
            Missing: if the node does not exist.
            Damaged: if neither can be read.
        """
        if not self.folder(name):
            raise Missing("is missing")
        try:
            return parse(self.storage.read(paths.document(name), MAX_DOCUMENT_BYTES))
        except Damaged as error:
            found = self._copy(name)
            if found is None:
                raise
            self.recovered.add(paths.document(name))
            self.note(paths.document(name), f"{error}; the copy in the consolidated metadata is used")
            return found

    def _copy(self, name: str) -> dict[str, Any] | None:
        if self._consolidated is None:
            self._consolidated = {}
            try:
                root = parse(self.storage.read(paths.DOCUMENT, MAX_DOCUMENT_BYTES))
                self._consolidated = checked(checked(root.get("consolidated_metadata")).get("metadata"))
            except Damaged:
                return None
        found = self._consolidated.get(name)
        return found if isinstance(found, dict) else None

    def attributes(self, name: str) -> dict[str, Any]:
        """A group's attributes. Raises Missing and Damaged as `document`."""
        found = self.document(name)
        if found.get("node_type") != "group" or found.get("zarr_format") != 3:
            raise Damaged("is not a Zarr v3 group")
        return checked(found.get("attributes", {}))

    def look(self, array: ArrayReader, rows: int) -> None:
        """Note which of an array's rows are damaged: sizes of its chunks, and checksums as long as that is little work.

        `ltxtui runs check` reads everything. Arrays of very many chunks are not checked here.
        """
        if rows // array.chunk_rows > MAX_CHUNKS:
            return
        if self._checksums is None:
            try:
                known = checked(parse(self.storage.read(paths.CHECKSUMS, MAX_CHECKSUMS)).get("crc32"))
                self._checksums = {name: crc for name, crc in known.items() if type(crc) is int}
            except Damaged:
                self._checksums = {}
        self._unread -= array.look(rows, self._checksums, self._unread)

    def names(self, name: str) -> list[str]:
        """Names of the folders in a group, sorted; empty if it does not exist."""
        return self.storage.folders(name)

    def array(self, name: str) -> ArrayReader:
        """An array. Raises Missing and Damaged as `document`, Damaged if it is not one that the recorder writes."""
        return ArrayReader(self, name, self.document(name))
