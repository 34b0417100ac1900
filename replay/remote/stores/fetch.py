"""Brings archives from stores into the user's cache: whole if they are small, and else without their latents."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recorder.format import locations
from replay.archive.safe_files import Damaged
from replay.remote.fetched import Fetching, Offered, fetched_folder, kept, make_room
from replay.remote.stores.address import StoreAddress
from replay.remote.stores.files import StoreFiles, files_of, key_of, ranges, stamp_of
from replay.remote.stores.filesystem import called, file_system
from replay.remote.stores.mirror import Mirror
from replay.remote.stores.problems import StoreProblem

SMALL_BYTES: Final = 50 << 20
"""Archives up to this size are fetched whole."""

Progress = Callable[[int, int], None]
"""Called with the bytes that have come, and how many will."""


@dataclass(frozen=True)
class PackedObject:
    """A packed archive on a store, as it is now."""

    address: StoreAddress
    size: int | None
    """None where the store does not say."""
    stamp: str

    @property
    def small(self) -> bool:
        return self.size is None or self.size <= SMALL_BYTES


def look_at(fs: Any, address: StoreAddress) -> PackedObject:
    """Size and stamp of a packed archive. Raises StoreProblem if there is none."""
    url = fs._strip_protocol(str(address))
    info = called(address, lambda: fs.info(url))
    if info.get("type") == "directory":
        raise StoreProblem(f"{address.shown} is a folder, not a packed archive")
    size = info.get("size")
    return PackedObject(address, size if type(size) is int and size >= 0 else None, stamp_of(info))


def fetch(address: StoreAddress, *, whole: bool = False) -> Path:
    """An archive on a store, as one in the cache. Waits for the store.

    Args:
        address: of the archive.
        whole: with the latents of an archive of more than `SMALL_BYTES`, which nothing but `open_run` shows.

    Raises:
        StoreProblem, MissingStoreExtra, UnknownScheme: if it cannot be had.
    """
    fs = file_system(address)
    with _reading(address):
        if address.kind == "packed":
            found = look_at(fs, address)
            if found.small or whole:
                return fetch_whole(fs, found)
            return fetch_files(open_mirror(address, files_of(fs, address, found.size, found.stamp)))
        return fetch_files(open_mirror(address, files_of(fs, address)), whole=whole)


def fetch_small(address: StoreAddress) -> Path | None:
    """The same of an archive of up to `SMALL_BYTES`; None for a larger one."""
    fs = file_system(address)
    with _reading(address):
        if address.kind == "packed":
            found = look_at(fs, address)
            return fetch_whole(fs, found) if found.small else None
        files = files_of(fs, address)
        return fetch_files(open_mirror(address, files)) if is_small(files) else None


@contextlib.contextmanager
def _reading(address: StoreAddress) -> Iterator[None]:
    try:
        yield
    except Damaged as error:
        raise StoreProblem(f"{address.shown} cannot be read: a file {error}") from error
    except OSError as error:
        raise StoreProblem(f"the cache cannot be written: {error.filename}: {error.strerror or error}") from error


def fetch_whole(fs: Any, found: PackedObject, progress: Progress | None = None) -> Path:
    """A packed archive as one file in the cache. Raises StoreProblem, OSError."""
    address = found.address
    data = None
    if found.size is None:
        url = fs._strip_protocol(str(address))
        data = called(address, lambda: fs.cat_file(url), SMALL_BYTES)
    size = len(data) if data is not None else found.size or 0
    key = key_of(str(address), size, found.stamp, stamped=bool(found.stamp))
    offered = Offered(address.name, size, key)
    known = kept(offered)
    if known is not None:
        return known
    fetching = Fetching(offered)
    try:
        for piece in ranges(fs, address, 0, size) if data is None else (data,):
            fetching.take(piece)
            if progress is not None:
                progress(fetching.received, size)
        path = fetching.done()
    except BaseException:
        fetching.close()
        raise
    if fetching.temporary:
        atexit.register(fetching.close)
    return path


def open_mirror(address: StoreAddress, files: StoreFiles) -> Mirror:
    """The mirror of an archive in the cache, with its root document. Raises StoreProblem, Damaged, OSError."""
    cache = fetched_folder()
    if cache is None:  # no home: it goes with the program
        cache = Path(tempfile.mkdtemp(prefix="ltxtui-remote-"))
        atexit.register(shutil.rmtree, cache, ignore_errors=True)
    folder = cache / files.key / f"{address.name}{locations.ARCHIVE_SUFFIX}"
    known = folder.is_dir()
    mirror = Mirror(files, folder)
    if known:
        with contextlib.suppress(OSError):
            os.utime(folder)  # it was used now
    else:
        make_room(cache, files.key, sum(files.sizes.values()))
    return mirror


def fetch_files(mirror: Mirror, *, whole: bool = False) -> Path:
    """The archive's folder here, with all its files, or all but its latents. Raises StoreProblem, Damaged, OSError."""
    mirror.fetch(mirror.missing(pictures=True, latents=whole or is_small(mirror.files)))
    mirror.settle()
    return mirror.folder


def is_small(files: StoreFiles) -> bool:
    """Whether all files of an archive are fetched."""
    return sum(files.sizes.values()) <= SMALL_BYTES
