"""Forces one open file or folder onto the disk; `durability` does it for trees and the folders above them."""

from __future__ import annotations

import errno
import fcntl
import os
from typing import Final

_NOT_THERE: Final = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOTTY}
_NO_FOLDER_SYNC: Final = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


def to_disk(fd: int) -> None:
    """Force what was written to a file onto the disk, so that it survives a power cut. Raises OSError.

    On macOS `fsync` stops at the drive's cache; `F_FULLFSYNC` empties that too, where the file system has it.
    """
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        try:
            fcntl.fcntl(fd, full)
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
        else:
            return
    getattr(os, "fdatasync", os.fsync)(fd)


def sync_folder(descriptor: int) -> None:
    """Force a folder's entries onto the disk, where its file system can do that. Raises OSError."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise
