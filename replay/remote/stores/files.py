"""The files of one archive on a store by their paths from its root: objects below a folder, or members of a packed one.

What a store lists and a zip file's directory says is checked before anything is read, and read within its limits.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, Protocol

from recorder.format import paths
from recorder.format.array_document import ITEM_BYTES, MAX_DOCUMENT_BYTES
from replay.archive.array_metadata import MAX_CHUNK_BYTES, array_spec
from replay.archive.safe_files import Damaged, Missing, checked, parse
from replay.archive.zip_directory import ReadAt, ZipMember, read_directory
from replay.archive.zip_members import whole_member
from replay.remote.stores.address import StoreAddress
from replay.remote.stores.filesystem import called
from replay.remote.stores.problems import StoreProblem, problem_of

TAIL_BYTES: Final = 256 << 10
"""Of a packed archive, read at once: the directory of some two thousand members is in them."""
GAP_BYTES: Final = 32 << 10
"""Bytes between two wanted members that are read with them rather than in another request."""
RANGE_BYTES: Final = 8 << 20
MAX_FILES: Final = 1 << 18
MAX_CLAIMED_BYTES: Final = 1 << 30
"""Of an archive whose files cannot be listed, as behind `https`: it is believed up to this."""
PLAIN: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}(/[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}){0,15}")
"""Paths of files that are fetched: no other leads out of the cache, or is one that a recorder writes."""


class StoreFiles(Protocol):
    """The files of one archive."""

    @property
    def sizes(self) -> Mapping[str, int]:
        """Bytes of each by its path."""

    @property
    def key(self) -> str:
        """Another one as soon as any of them is another."""

    def read(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        """The content of some files, in any order; what is gone or damaged is left out. Raises StoreProblem."""


def stamp_of(info: Mapping[str, Any]) -> str:
    """What changes when an object does; empty if a store does not say."""
    known = ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime", "updated", "blob_id", "created")
    return "|".join(str(info[name]) for name in known if info.get(name) is not None)


def key_of(*parts: object, stamped: bool = True) -> str:
    """A name for what is fetched from an address, as it is now; one of its own where its store has no stamps."""
    parts = parts if stamped else (*parts, uuid.uuid4().hex)
    return hashlib.sha256(repr(parts).encode(errors="replace")).hexdigest()[:24]


class FolderFiles:
    """An archive whose files are objects below a folder: one list, then a request for each."""

    def __init__(self, fs: Any, address: StoreAddress) -> None:
        """List them. Raises StoreProblem."""
        self._fs, self._address = fs, address
        root = f"{fs._strip_protocol(str(address)).rstrip('/')}/"
        found = called(address, lambda: fs.find(root.rstrip("/"), detail=True))
        self.sizes: dict[str, int] = {}
        stamps = []
        for path, info in found.items():
            name, size = path.removeprefix(root), info.get("size")
            if path.startswith(root) and PLAIN.fullmatch(name) and type(size) is int and size >= 0:
                self.sizes[name] = size
                stamps.append((name, size, stamp_of(info)))
            if len(self.sizes) > MAX_FILES:
                raise StoreProblem(f"{address.shown} has more than {MAX_FILES:,} files; pack it first: ltxtui pack")
        if not found:
            raise StoreProblem(f"{address.shown} does not exist; check the address", "missing")
        if paths.DOCUMENT not in self.sizes:
            raise StoreProblem(f"{address.shown} is no archive: it has no {paths.DOCUMENT}")
        self._root = root
        self.key = key_of(str(address), sorted(stamps), stamped=all(stamp for _, _, stamp in stamps))

    def read(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        full = [name for name in names if self.sizes[name]]
        yield from ((name, b"") for name in names if not self.sizes[name])
        yield from _read_objects(self._fs, self._address, self._root, {name: self.sizes[name] for name in full})


class ClaimedFiles:
    """An archive whose files cannot be listed, as behind `https`: they follow from its consolidated metadata."""

    def __init__(self, fs: Any, address: StoreAddress) -> None:
        """Read its root document. Raises StoreProblem, Damaged."""
        self._fs, self._address = fs, address
        self._root = f"{fs._strip_protocol(str(address)).rstrip('/')}/"
        url = f"{self._root}{paths.DOCUMENT}"
        self._document: bytes = called(address, lambda: fs.cat_file(url))
        if len(self._document) > MAX_DOCUMENT_BYTES:
            raise Damaged(f"has a {paths.DOCUMENT} of {len(self._document):,} bytes")
        self.sizes: dict[str, int] = {paths.DOCUMENT: len(self._document)}
        metadata = checked(checked(parse(self._document).get("consolidated_metadata")).get("metadata"))
        for node, document in metadata.items():
            if isinstance(document, dict) and document.get("node_type") == "array" and PLAIN.fullmatch(node):
                self._claim(node, document)
        self.key = key_of(str(address), self._document)

    def _claim(self, node: str, document: dict[str, Any]) -> None:
        try:
            spec = array_spec(document)
        except Damaged:
            return
        size = math.prod(spec.chunk) * ITEM_BYTES[spec.data_type]
        count = 0 if 0 in spec.shape else -(-spec.shape[0] // spec.chunk[0])
        if len(self.sizes) + count > MAX_FILES or sum(self.sizes.values()) + count * size > MAX_CLAIMED_BYTES:
            raise StoreProblem(f"{self._address.shown} is too large to be read as a folder; pack it: ltxtui pack")
        self.sizes.update({f"{node}/{paths.chunk(n, len(spec.shape))}": size for n in range(count)})

    def read(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        if paths.DOCUMENT in names:
            yield paths.DOCUMENT, self._document
        rest = {name: self.sizes[name] for name in names if name != paths.DOCUMENT and self.sizes[name]}
        yield from _read_objects(self._fs, self._address, self._root, rest)


def _read_objects(fs: Any, address: StoreAddress, root: str, sizes: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """Several objects at a time; what is gone, or has another size than listed, is left out."""
    if not sizes:
        return
    urls = [f"{root}{name}" for name in sizes]
    total = sum(sizes.values())
    starts, ends = [0] * len(urls), list(sizes.values())
    found = called(address, lambda: fs.cat_ranges(urls, starts, ends, on_error="return"), total)
    for name, data in zip(sizes, found, strict=True):
        if isinstance(data, BaseException):
            problem = problem_of(data, address.below(name))
            if not problem.missing:
                raise problem from data
        elif len(data) == sizes[name] <= MAX_CHUNK_BYTES:
            yield name, bytes(data)


class RangedFiles:
    """An archive in one object, too large to be fetched whole: its directory, then ranges of it."""

    def __init__(self, fs: Any, address: StoreAddress, size: int, stamp: str) -> None:
        """Read the directory. Raises StoreProblem, Damaged, Missing if it is not a zip file."""
        self._fs, self._address, self._size = fs, address, size
        self._url = fs._strip_protocol(str(address))
        self._tail_at = max(0, size - TAIL_BYTES)
        self._tail = self._range(self._tail_at, size)
        members = read_directory(self._from_tail, size)
        self._members = {name: member for name, member in members.items() if PLAIN.fullmatch(name)}
        self.sizes = {name: member.size for name, member in self._members.items()}
        self.key = key_of(str(address), size, stamp, self._tail, stamped=bool(stamp))

    def read(self, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
        for group in _together([self._members[name] for name in names]):
            start, end = group[0].at, group[-1].end
            data = self._range(start, end)
            for member in group:
                with contextlib.suppress(Damaged):
                    yield member.name, whole_member(_part(data, start), member)

    def _from_tail(self, count: int, at: int) -> bytes:
        if at >= self._tail_at:
            return self._tail[at - self._tail_at : at - self._tail_at + count]
        return self._range(at, min(self._size, at + count))

    def _range(self, start: int, end: int) -> bytes:
        return b"".join(ranges(self._fs, self._address, start, end))


def ranges(fs: Any, address: StoreAddress, start: int, end: int) -> Iterator[bytes]:
    """The bytes of an object from one place to another, in pieces. Raises StoreProblem."""
    url = fs._strip_protocol(str(address))
    while start < end:
        to = min(end, start + RANGE_BYTES)
        data = called(address, partial(fs.cat_file, url, start=start, end=to), to - start)
        if len(data) != to - start:
            raise StoreProblem(f"{address.shown} gave {len(data):,} of {to - start:,} bytes; try again later")
        yield data
        start = to


def _part(data: bytes, start: int) -> ReadAt:
    return lambda count, at: data[at - start : at - start + count]


def _together(members: Sequence[ZipMember]) -> Iterator[list[ZipMember]]:
    """Members that one request reads, in the order of the file."""
    group: list[ZipMember] = []
    for member in sorted(members, key=lambda m: m.at):
        if group and (member.at - group[-1].end > GAP_BYTES or member.end - group[0].at > RANGE_BYTES):
            yield group
            group = []
        group.append(member)
    if group:
        yield group


def files_of(fs: Any, address: StoreAddress, size: int | None = None, stamp: str = "") -> StoreFiles:
    """The files of an archive, in the form that its address says.

    Args:
        fs: of the address.
        address: of an archive.
        size, stamp: of a packed one.

    Raises:
        StoreProblem: also if it is not one that can be read.
    """
    try:
        if address.kind == "packed":
            return RangedFiles(fs, address, size or 0, stamp)
        return ClaimedFiles(fs, address) if address.scheme in ("http", "https") else FolderFiles(fs, address)
    except Missing:
        raise StoreProblem(f"{address.shown} is not a zip file") from None
    except Damaged as error:
        raise StoreProblem(f"{address.shown} cannot be read: it {error}") from error
