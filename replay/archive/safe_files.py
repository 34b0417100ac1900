"""Files and JSON documents of an archive, read without trusting their content: no links, no devices, no bombs."""

from __future__ import annotations

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, Final

from recorder.format.framing import MAX_DEPTH, TooDeep, levels

MAX_VALUES: Final = 4_000_000
"""Values of one document: a list of empty lists takes thirty times its text in memory."""
_MAX_PIECES: Final = 256
"""Pieces between holes that are counted of a file."""
_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Damaged(ValueError):
    """A part of an archive that cannot be read, with what is wrong in one line."""


class Missing(Damaged):
    """A part of an archive that does not exist."""


class Awaited(Exception):
    """A part of an archive on a store that is being fetched: nothing is wrong with it, and it is not here yet."""


def open_file(path: str | Path, folder: int | None = None) -> tuple[int, int]:
    """Open a regular file for reading; gives descriptor and size. A link, pipe or device is never waited for or read.

    Raises:
        Missing: if there is none.
        Damaged: if it is not a file, or cannot be read.
    """
    try:
        descriptor = os.open(path, _FLAGS, dir_fd=folder)
    except (FileNotFoundError, NotADirectoryError):
        raise Missing("is missing") from None
    except OSError as error:
        raise Damaged(f"cannot be read: {error.strerror or error}") from error
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        os.close(descriptor)
        raise Damaged("is not a file")
    return descriptor, found.st_size


def bytes_on_disk(descriptor: int, size: int) -> int:
    """Bytes of a file of some size, without its holes; all of them where the file system does not report them."""
    data, hole = getattr(os, "SEEK_DATA", None), getattr(os, "SEEK_HOLE", None)
    if data is None or hole is None:  # Python was built for a system that has neither
        return size
    found = at = 0
    for _ in range(_MAX_PIECES):
        try:
            start = os.lseek(descriptor, at, data)
            at = os.lseek(descriptor, start, hole)
        except OSError as error:
            return found if error.errno == errno.ENXIO else size
        found += at - start
        if at >= size:
            break
    return min(found, size)


def read_file(path: str | Path, limit: int, folder: int | None = None) -> bytes:
    """A complete file of at most `limit` bytes. Raises Missing and Damaged as `open_file`, Damaged if it is longer."""
    descriptor, size = open_file(path, folder)
    try:
        if size > limit:
            raise Damaged(f"has {size:,} bytes, over the limit of {limit:,}")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(size)
    except OSError as error:
        raise Damaged(f"cannot be read: {error.strerror or error}") from error
    finally:
        os.close(descriptor)


def parse(data: bytes) -> dict[str, Any]:
    """A JSON object. Raises Damaged if it is not one, is nested too deep, or would take too much memory."""
    _bounded(data)
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"is not JSON: {str(error)[:100]}") from error
    return checked(found)


def checked(found: Any) -> dict[str, Any]:
    """The same of what has been parsed."""
    if not isinstance(found, dict):
        raise Damaged("holds no JSON object")
    try:
        for _ in levels(found):
            pass
    except TooDeep:
        raise Damaged(f"is nested deeper than {MAX_DEPTH} levels") from None
    return found


def _bounded(data: bytes) -> None:
    if len(data) > MAX_VALUES and data.count(b",") + data.count(b"[") + data.count(b"{") > MAX_VALUES:
        raise Damaged(f"holds more than {MAX_VALUES:,} values")


_ATTRIBUTES_FIRST: Final = b'"attributes":'
_PIECE: Final = 64 << 10


def attributes_in(data: bytes) -> dict[str, Any]:
    """The attributes in a node's document, without what follows them: consolidated metadata of hundreds of arrays.

    Raises:
        Damaged: if there are none that can be read.
    """
    at = data.find(_ATTRIBUTES_FIRST, 0, _PIECE)
    if at < 0 or data[:at].strip() != b"{":  # zarr-python and the recorder write them first
        attributes = parse(data).get("attributes", {})
        return checked(attributes)
    _bounded(data)
    try:
        text = data[at + len(_ATTRIBUTES_FIRST) :].decode()
        start = len(text[:64]) - len(text[:64].lstrip())
        return checked(json.JSONDecoder().raw_decode(text, start)[0])
    except (ValueError, RecursionError) as error:
        raise Damaged(f"is not JSON: {str(error)[:100]}") from error
