"""What the strict reader asks of the place where an archive's files are: a folder, or one packed file.

Both answer in the same words (`Missing`, `Damaged`), so that a run reads the same from either.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray


class ChunkFiles(Protocol):
    """The chunk files of one array, by their keys such as `c/0/0`; good while the array's folder is open."""

    def numbers(self, wanted: range) -> Iterator[int]:
        """Those numbers that have an entry, in no order."""

    def size(self, key: str) -> int:
        """Bytes of a chunk; −1 if there is no such file."""

    def held(self, key: str) -> int:
        """Bytes of a chunk that exist, without the holes of a sparse file; 0 if it cannot be read."""

    def read(self, key: str, limit: int) -> bytes:
        """A complete chunk. Raises Missing and Damaged, also if it has more bytes than the limit."""

    def read_into(self, key: str, offset: int, into: NDArray[Any], size: int) -> None:
        """Fill an array with the bytes from `offset` on. Raises Missing, and Damaged if the chunk has another size."""


class Storage(Protocol):
    """The files of one archive by their paths from its root, such as `stage_0/video/zarr.json`. Nothing stays open."""

    @property
    def path(self) -> Path:
        """Of the folder or the file."""

    def is_folder(self, name: str) -> bool:
        """Whether a node has a folder; links are not followed."""

    def folders(self, name: str) -> list[str]:
        """Names of the folders in a folder, sorted; empty if it does not exist."""

    def read(self, name: str, limit: int) -> bytes:
        """A complete file of at most `limit` bytes. Raises Missing and Damaged, also if it is longer."""

    def chunks(self, name: str) -> AbstractContextManager[ChunkFiles | None]:
        """The chunk files of an array's folder; None if that does not exist."""

    def files(self) -> Iterator[tuple[str, bool]]:
        """Paths of everything except folders, and whether it is a plain file."""

    def total_bytes(self) -> int:
        """Bytes that the archive takes on the disk."""


def is_chunk_number(name: str, wanted: range) -> bool:
    """Whether a name is that of a wanted chunk; `00` is not, which would be counted as another one of chunk 0."""
    return name.isascii() and name.isdigit() and len(name) < 14 and name == str(int(name)) and int(name) in wanted
