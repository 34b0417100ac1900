"""Records of the files that TensorBoard and W&B append to, up to the first one that is truncated."""

from __future__ import annotations

import struct
from collections.abc import Iterator


def tf_records(data: bytes) -> Iterator[bytes]:
    """Records of an event file: u64 length, u32 checksum, data, u32 checksum."""
    at = 0
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        if at + 16 + length > len(data):
            return
        yield data[at + 12 : at + 12 + length]
        at += 16 + length


def leveldb_records(data: bytes) -> Iterator[bytes]:
    """Records of a log in blocks of 32 KB, each part with checksum, length and kind; after a header of 7 bytes."""
    at, parts, block = 7, b"", 32768
    while at + 7 <= len(data):
        left = block - at % block
        if left < 7:
            at += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, at)
        if kind == 0 or at + 7 + length > len(data):
            return
        parts += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield parts
            parts = b""
