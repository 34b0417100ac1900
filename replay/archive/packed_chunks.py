"""Chunks of early archives, whose pictures were packed: unpacked only to the size that is known beforehand."""

from __future__ import annotations

import os
from typing import Final

import numpy as np

from replay.archive.safe_files import Damaged

MAX_BYTES: Final = 4 << 20
_MAGIC: Final = b"\x28\xb5\x2f\xfd"


def unpacked(descriptor: int, size: int, expected: int) -> bytes:
    """A chunk of exactly `expected` bytes. Raises Damaged if the file says or holds anything else; OSError."""
    if size > MAX_BYTES or expected > MAX_BYTES:
        raise Damaged(f"has {max(size, expected):,} bytes, over {MAX_BYTES:,} for a packed chunk")
    data = os.pread(descriptor, size, 0)
    if claimed(data) != expected:
        raise Damaged(f"is no packed chunk of {expected:,} bytes")
    from numcodecs.zstd import Zstd  # type: ignore[import-untyped]

    into = np.empty(expected, np.uint8)
    try:
        Zstd().decode(data, out=into)  # into memory that is there: nothing grows with what is packed
    except (RuntimeError, ValueError, TypeError) as error:
        raise Damaged(f"is no packed chunk: {error}") from error
    return into.tobytes()


def claimed(data: bytes) -> int:
    """The size that a Zstandard frame says its content has (RFC 8878, 3.1.1.1); −1 if it does not say."""
    if len(data) < 5 or data[:4] != _MAGIC:
        return -1
    descriptor = data[4]
    single = bool(descriptor & 0x20)
    dictionary = (0, 1, 2, 4)[descriptor & 3]
    bytes_of_size = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    at = 5 + (0 if single else 1) + dictionary
    field = data[at : at + bytes_of_size]
    if not bytes_of_size or len(field) < bytes_of_size:
        return -1
    return int.from_bytes(field, "little") + (256 if bytes_of_size == 2 else 0)
