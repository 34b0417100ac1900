"""The bytes of one member of a zip file, wherever that lies: inflated within limits, and checked by its CRC-32."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

from replay.archive.safe_files import Damaged
from replay.archive.zip_directory import LOCAL, LOCAL_SIGNATURE, STORED, ReadAt, ZipMember

_PIECE: Final = 1 << 18


def whole_member(read_at: ReadAt, member: ZipMember) -> bytes:
    """A complete member. Raises Damaged, also if its checksum is another one than when it was packed."""
    data = b"".join(member_pieces(read_at, member))
    if zlib.crc32(data) != member.crc:
        raise Damaged("has a different checksum than when it was packed")
    return data


def member_pieces(read_at: ReadAt, member: ZipMember) -> Iterator[bytes]:
    """The bytes of a member, exactly as many as its size says. Raises Damaged."""
    at, left = data_at(read_at, member), member.packed
    inflate = None if member.method == STORED else zlib.decompressobj(-zlib.MAX_WBITS)
    given = 0
    while left:
        data = _exactly(read_at, min(_PIECE, left), at)
        at, left = at + len(data), left - len(data)
        while data:
            if inflate is None:
                piece, data = data, b""
            else:
                try:
                    piece = inflate.decompress(data, _PIECE)
                except zlib.error:
                    raise Damaged("cannot be inflated") from None
                data = inflate.unconsumed_tail
            given += len(piece)
            if given > member.size:
                raise Damaged(f"inflates to more than its {member.size:,} bytes")
            yield piece
            if inflate is not None and (inflate.eof or (not piece and not data)):
                break
        if inflate is not None and inflate.eof:
            break
    if inflate is not None and not inflate.eof and given < member.size:
        piece = inflate.flush()[: member.size - given]
        given += len(piece)
        yield piece
    if given != member.size:
        raise Damaged(f"has {given:,} of its {member.size:,} bytes")


def data_at(read_at: ReadAt, member: ZipMember) -> int:
    """Where a member's bytes begin. Raises Damaged if its local header is not the directory's."""
    header = _exactly(read_at, LOCAL.size, member.at)
    signature, _, _, method, _, _, _, _, _, name, extra = LOCAL.unpack(header)
    start: int = member.at + LOCAL.size + name + extra
    own = member.name.encode()
    if signature != LOCAL_SIGNATURE or method != member.method or name != len(own):
        raise Damaged("has another header than the directory says")
    if start + member.packed > member.end or _exactly(read_at, name, member.at + LOCAL.size) != own:
        raise Damaged("has another header than the directory says")
    return start


def _exactly(read_at: ReadAt, count: int, at: int) -> bytes:
    data = read_at(count, at)
    if len(data) != count:
        raise Damaged("was cut while it was read")
    return data
