"""A copy of an archive's files in the user's cache that grows as files are fetched.

Documents of stages, streams and arrays are not fetched: the root document has a copy of them all.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from recorder.format import paths
from recorder.format.array_document import MAX_DOCUMENT_BYTES
from recorder.system.open_folders import PRIVATE_MODE, make_folders
from replay.archive.disk_storage import DiskStorage
from replay.archive.packed_storage import folders_of
from replay.archive.safe_files import Awaited, Damaged, Missing, checked, parse
from replay.archive.storage import ChunkFiles, is_chunk_number
from replay.remote.stores.files import PLAIN, StoreFiles

BATCH_FILES: Final = 64
BATCH_BYTES: Final = 16 << 20
_LARGE: Final = frozenset({paths.LATENTS, paths.X0})
_PICTURES: Final = frozenset({paths.PREVIEW, paths.DECODED})


class Mirror:
    """The files of an archive on a store, of which some are here.

    `fetch` is called by one thread at a time.
    """

    def __init__(self, files: StoreFiles, folder: Path) -> None:
        """Fetch the root document. Raises StoreProblem, Damaged, OSError.

        Args:
            files: on the store.
            folder: the archive's folder here, which is made.
        """
        self.files, self.folder = files, folder
        self.sizes = files.sizes
        make_folders(folder, PRIVATE_MODE)
        self._here: set[str] = set()
        self._gone: set[str] = set()
        """Files that the store listed and did not give."""
        self.copies: dict[str, Any] = {}
        """By node, its document as the root document has it."""
        self.fetch([paths.DOCUMENT])
        with contextlib.suppress(Damaged):
            root = parse(DiskStorage(folder).read(paths.DOCUMENT, MAX_DOCUMENT_BYTES))
            self.copies = checked(checked(root.get("consolidated_metadata")).get("metadata"))

    def has(self, name: str) -> bool:
        """Whether a file is here, or need not be fetched."""
        if name in self._here:
            return True
        wanted = self.sizes.get(name)
        try:
            there = wanted is not None and os.stat(self.folder / name).st_size == wanted  # noqa: PTH116 - hundreds
        except OSError:
            there = False
        if there:
            self._here.add(name)
        return there

    def copy_of(self, name: str) -> bytes | None:
        """The document of a node, as the root document has it."""
        node = paths.parse_document(name)
        found = self.copies.get(node) if node else None
        return json.dumps(found).encode() if isinstance(found, dict) else None

    def fetch(self, names: Sequence[str]) -> None:
        """Bring files here that are not. Raises StoreProblem, Damaged if they are not what they should be, OSError."""
        for batch in batches([name for name in names if name in self.sizes and not self.has(name)], self.sizes):
            for name, data in self.files.read(batch):
                self._write(name, data)
            self._gone.update(name for name in batch if not self.has(name))

    def lacks(self, name: str) -> bool:
        """Whether a file cannot be had: the store does not list it, or did not give it."""
        return name not in self.sizes or name in self._gone

    def missing(self, *, pictures: bool, latents: bool) -> list[str]:
        """Files that are not here yet; those of pictures and latents if they are asked for."""
        wanted = []
        for name in self.sizes:
            node, _, _ = name.partition(f"/{paths.CHUNKS}/")
            large = name.startswith(f"{paths.SNAPSHOTS}/") or node.rpartition("/")[2] in _LARGE
            if (large and not latents) or (node.rpartition("/")[2] in _PICTURES and not pictures):
                continue
            if self.copy_of(name) is None and not self.has(name) and not self.lacks(name):
                wanted.append(name)
        return wanted

    def settle(self) -> None:
        """Write the documents that were not fetched, so that the folder is an archive as any other. Raises OSError."""
        for node in self.copies:  # also of a store that lists nothing
            name = paths.document(node)
            copy = self.copy_of(name) if PLAIN.fullmatch(name) else None
            if copy is not None and not (self.folder / name).is_file():
                self._write(name, copy)

    def _write(self, name: str, data: bytes) -> None:
        target = self.folder / name
        make_folders(target.parent, PRIVATE_MODE)
        handle, part = tempfile.mkstemp(prefix=".part-", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            Path(part).replace(target)
        except OSError:
            Path(part).unlink(missing_ok=True)
            raise
        if name in self.sizes and len(data) == self.sizes[name]:
            self._here.add(name)


def batches(names: Iterable[str], sizes: Any) -> Iterator[list[str]]:
    """Files that are fetched at a time."""
    batch: list[str] = []
    total = 0
    for name in names:
        if batch and (len(batch) >= BATCH_FILES or total + sizes[name] > BATCH_BYTES):
            yield batch
            batch, total = [], 0
        batch.append(name)
        total += sizes[name]
    if batch:
        yield batch


class MirrorStorage:
    """The storage of a mirror: what is not here yet is fetched by the thread that may wait, and awaited by others."""

    def __init__(self, mirror: Mirror) -> None:
        """The thread that makes it is the one that may wait."""
        self._mirror = mirror
        self._disk = DiskStorage(mirror.folder)
        self._names = sorted(mirror.sizes)
        self._folders = folders_of([*self._names, *(paths.document(node) for node in mirror.copies)])
        self._fetcher = threading.get_ident()
        self._wanted: dict[str, None] = {}
        self._lock = threading.Lock()

    @property
    def path(self) -> Path:
        return self._mirror.folder

    def take_wanted(self) -> list[str]:
        """The files that were asked for since the last call and are not here, in that order."""
        with self._lock:
            found, self._wanted = list(self._wanted), {}
        return [name for name in found if not self._mirror.has(name) and not self._mirror.lacks(name)]

    def want(self, names: Iterable[str]) -> None:
        """Ask for files that could not be had."""
        with self._lock:
            self._wanted = {**dict.fromkeys(names), **self._wanted}

    def is_folder(self, name: str) -> bool:
        return name in self._folders

    def folders(self, name: str) -> list[str]:
        return sorted(self._folders.get(name, ()))

    def read(self, name: str, limit: int) -> bytes:
        if not self._mirror.has(name):
            copy = self._mirror.copy_of(name)
            if copy is not None:
                return copy
            self.need(name)
        return self._disk.read(name, limit)

    @contextlib.contextmanager
    def chunks(self, name: str) -> Iterator[ChunkFiles | None]:
        yield _MirrorChunks(self, name) if name in self._folders else None

    def files(self) -> Iterator[tuple[str, bool]]:
        return ((name, True) for name in self._names)

    def total_bytes(self) -> int:
        return sum(self._mirror.sizes.values())

    def size(self, name: str) -> int:
        """Bytes of a file on the store; −1 if there is none."""
        return self._mirror.sizes.get(name, -1)

    def below(self, folder: str) -> Iterator[str]:
        """Names of the entries in a folder that has files."""
        prefix = f"{folder}/"
        names = (name[len(prefix) :].partition("/")[0] for name in self._names if name.startswith(prefix))
        yield from dict.fromkeys(names)

    def need(self, name: str) -> None:
        """Have a file here. Raises Awaited in a thread that may not wait for the store, Damaged if it cannot be had."""
        if self._mirror.has(name):
            return
        if self._mirror.lacks(name):
            raise Missing("is missing")
        if threading.get_ident() != self._fetcher:
            with self._lock:
                self._wanted[name] = None
            raise Awaited(name)
        self._mirror.fetch([name])
        if not self._mirror.has(name):
            raise Missing("is missing")


class _MirrorChunks:
    """The chunks of one array."""

    def __init__(self, storage: MirrorStorage, folder: str) -> None:
        self._storage, self._folder = storage, folder

    def numbers(self, wanted: range) -> Iterator[int]:
        if len(wanted) <= 16:
            yield from wanted
            return
        names = self._storage.below(f"{self._folder}/{paths.CHUNKS}")
        yield from (int(name) for name in names if is_chunk_number(name, wanted))

    def size(self, key: str) -> int:
        return self._storage.size(f"{self._folder}/{key}")

    def held(self, key: str) -> int:
        return max(0, self.size(key))  # what a store lists is there

    def read(self, key: str, limit: int) -> bytes:
        return self._storage.read(f"{self._folder}/{key}", limit)

    def read_into(self, key: str, offset: int, into: NDArray[Any], size: int) -> None:
        name = f"{self._folder}/{key}"
        found = self._storage.size(name)
        if found < 0:
            raise Missing("is missing")
        if found != size:
            raise Damaged(f"has {found:,} bytes instead of {size:,}")
        self._storage.need(name)
        with DiskStorage(self._storage.path).chunks(self._folder) as files:
            if files is None:
                raise Missing("is missing")
            files.read_into(key, offset, into, size)
