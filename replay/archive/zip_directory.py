"""The directory of a zip file, read without trusting it: what it claims is checked before anything is read or inflated.

Refused are names that lead out of the archive, two members of one name, encrypted ones, links, members that overlap,
and members that would inflate to far more than the file holds. `zipfile` would take all of these.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from replay.archive.safe_files import Damaged, Missing

ReadAt = Callable[[int, int], bytes]
"""Gives a number of bytes from a place on, fewer at the end of the file: `os.pread` with its first argument given."""

MAX_MEMBERS: Final = 1 << 18
MAX_DIRECTORY_BYTES: Final = 64 << 20
MAX_NAME_BYTES: Final = 400
MAX_RATIO: Final = 64
"""How much a member may inflate; deflate reaches 1,032. `recorder.archive.zip_writer` stays below half of it."""
SMALL_MEMBER: Final = 64 << 10
"""Members up to this size may inflate more: unmeasured values are all NaN."""
SMALL_ARCHIVE: Final = 256 << 20
"""Bytes of all members that are taken without comparing them with the size of the file."""

_END: Final = struct.Struct("<4s4H2IH")
_LOCATOR: Final = struct.Struct("<4sIQI")
_END64: Final = struct.Struct("<4sQ2H2I4Q")
_LOCATOR_SIGNATURE: Final = b"PK\x06\x07"
_ENTRY: Final = struct.Struct("<4s6H3I5H2I")
LOCAL: Final = struct.Struct("<4s5H3I2H")
LOCAL_SIGNATURE: Final = b"PK\x03\x04"
STORED: Final = 0
DEFLATED: Final = 8
_ENCRYPTED: Final = 1 | 1 << 6 | 1 << 13
_UNKNOWN: Final = 0xFFFFFFFF
_UNIX: Final = 3


@dataclass(frozen=True, slots=True)
class ZipMember:
    """One file in a zip file."""

    name: str
    at: int
    """Where its local header begins."""
    end: int
    """Where the next member or the directory begins."""
    size: int
    packed: int
    """Bytes that it takes in the file."""
    method: int
    crc: int


def read_directory(read_at: ReadAt, size: int) -> dict[str, ZipMember]:
    """The members of a zip file by their names, without folders.

    Args:
        read_at: gives bytes of the file.
        size: of the file.

    Raises:
        Missing: if it is not a zip file.
        Damaged: if it is not one that is read, with the reason.
        OSError: if it cannot be read.
    """
    count, start, length = _place(read_at, size)
    data = read_at(length, start)
    if len(data) != length:
        raise Damaged("was cut while it was read")
    found: dict[str, ZipMember] = {}
    folders: set[str] = set()
    for member in _entries(data, count, start):
        if member.name.endswith("/"):
            if member.size or member.packed:
                raise Damaged(f"has a folder {_shown(member.name)} with bytes in it")
            folders.add(member.name[:-1])
        elif member.name in found:
            raise Damaged(f"has two members {_shown(member.name)}")
        else:
            found[member.name] = member
    for name in found:
        while name := name.rpartition("/")[0]:
            folders.add(name)
    if both := folders & found.keys():
        raise Damaged(f"has a file and a folder {_shown(min(both))}")
    return _checked_sizes(found, start, size)


def _place(read_at: ReadAt, size: int) -> tuple[int, int, int]:
    """Number of entries, where the directory begins, and its bytes."""
    tail_at = max(0, size - _END.size - 0xFFFF)
    tail = read_at(size - tail_at, tail_at)
    at = tail.rfind(b"PK\x05\x06")
    while at >= 0 and (len(tail) - at < _END.size or at + _END.size + _END.unpack_from(tail, at)[7] != len(tail)):
        at = tail.rfind(b"PK\x05\x06", 0, at)
    if at < 0:
        if read_at(4, 0) == LOCAL_SIGNATURE:
            raise Damaged("has no directory at its end: it was cut, or is not complete yet")
        raise Missing("is not a zip file")
    _, disk, first_disk, here, count, length, start, _ = _END.unpack_from(tail, at)
    end = tail_at + at
    if disk or first_disk or here != count:
        raise Damaged("is one of several files")
    if read_at(4, max(0, end - _LOCATOR.size)) == _LOCATOR_SIGNATURE:
        count, length, start, end = _place64(read_at, end)
    if start + length != end:
        raise Damaged("has bytes that do not belong to it")
    if count > MAX_MEMBERS or length > MAX_DIRECTORY_BYTES:
        raise Damaged(f"has {count:,} members, over the limit of {MAX_MEMBERS:,}, or names that are too long")
    return count, start, length


def _place64(read_at: ReadAt, end: int) -> tuple[int, int, int, int]:
    """The same of a file with large sizes, and where its directory ends."""
    try:
        _, _, at, _ = _LOCATOR.unpack(read_at(_LOCATOR.size, end - _LOCATOR.size))
        fields = _END64.unpack(read_at(_END64.size, at))
    except (struct.error, OverflowError, OSError):
        raise Damaged("has a damaged directory") from None
    signature, _, _, _, disk, first_disk, here, count, length, start = fields
    if signature != b"PK\x06\x06" or disk or first_disk or here != count:
        raise Damaged("has a damaged directory")
    return count, length, start, at


def _entries(data: bytes, count: int, limit: int) -> Iterator[ZipMember]:
    at = 0
    for _ in range(count):
        if len(data) - at < _ENTRY.size:
            raise Damaged("has a damaged directory")
        entry = _ENTRY.unpack_from(data, at)
        signature, made_by, _, flags, method, _, _, crc, packed, size, name, extra, comment, disk, _, mode, offset = (
            entry
        )
        after = at + _ENTRY.size + name + extra + comment
        if signature != b"PK\x01\x02" or disk or after > len(data):
            raise Damaged("has a damaged directory")
        begins = at + _ENTRY.size
        text = _name(data[begins : begins + name])
        size, packed, offset = _large(data[begins + name : begins + name + extra], size, packed, offset)
        if flags & _ENCRYPTED:
            raise Damaged(f"is encrypted: its member {_shown(text)}")
        if method not in (STORED, DEFLATED):
            raise Damaged(f"is compressed in another way than deflate: its member {_shown(text)}")
        kind = stat.S_IFMT(mode >> 16) if made_by >> 8 == _UNIX else 0
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise Damaged(f"has a member {_shown(text)} that is a link or no file")
        if offset + LOCAL.size + name + packed > limit:
            raise Damaged(f"has a member {_shown(text)} beyond its end")
        if method == STORED and size != packed:
            raise Damaged(f"has a member {_shown(text)} of two sizes")
        if size > SMALL_MEMBER and size > MAX_RATIO * packed:
            raise Damaged(f"has a member {_shown(text)} that inflates from {packed:,} to {size:,} bytes")
        yield ZipMember(text, offset, 0, size, packed, method, crc)
        at = after
    if at != len(data):
        raise Damaged("has a damaged directory")


def _large(extra: bytes, size: int, packed: int, offset: int) -> tuple[int, int, int]:
    """Size, packed size and place, where they need more than 32 bits."""
    fields = [size, packed, offset]
    if _UNKNOWN not in fields:
        return size, packed, offset
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        body, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == 1:
            for i, field in enumerate(fields):
                if field == _UNKNOWN:
                    if len(body) < 8:
                        raise Damaged("has a damaged directory")
                    fields[i], body = int.from_bytes(body[:8], "little"), body[8:]
            break
    return fields[0], fields[1], fields[2]


def _name(data: bytes) -> str:
    try:
        name = data.decode()
    except UnicodeDecodeError:
        raise Damaged(f"has a member {_shown(repr(data))} whose name is not UTF-8") from None
    parts = name.removesuffix("/").split("/")
    if ".." in parts or name.startswith("/") or "\\" in name:
        raise Damaged(f"has a member {_shown(name)} that leads out of the archive")
    if len(data) > MAX_NAME_BYTES or "" in parts or "." in parts or not name.isprintable():
        raise Damaged(f"has a member {_shown(name)} whose name is not a plain path")
    return name


def _shown(name: str) -> str:
    return repr(name if len(name) <= 60 else f"{name[:57]}...")


def _checked_sizes(found: dict[str, ZipMember], start: int, size: int) -> dict[str, ZipMember]:
    """The members with their ends. Raises Damaged if two of them overlap, or all of them inflate too much."""
    total, end = sum(member.size for member in found.values()), start
    if total > SMALL_ARCHIVE and total > MAX_RATIO * size:
        raise Damaged(f"inflates from {size:,} to {total:,} bytes")
    ends = {}
    for member in sorted(found.values(), key=lambda m: m.at, reverse=True):
        if member.at + LOCAL.size + len(member.name.encode()) + member.packed > end:
            raise Damaged(f"has a member {_shown(member.name)} that overlaps another one")
        ends[member.name], end = end, member.at
    return {name: replace(member, end=ends[name]) for name, member in found.items()}
