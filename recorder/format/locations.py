"""Where runs, sockets and the user's own files live, and which names are safe."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
import unicodedata
from pathlib import Path
from typing import Literal

from recorder.format.protocol import MAX_SOCKET_PATH
from recorder.system.open_folders import PRIVATE_MODE, make_folders

ARCHIVE_SUFFIX = ".zarr"
PACKED_SUFFIX = ".zarr.zip"
"""Of an archive that is packed into one file."""
JOURNAL_SUFFIX = ".journal"
SOCKET_SUFFIX = ".sock"
MAX_NAME = 80
MAX_NAME_BYTES = 120
"""Characters and bytes of a name: with time, number and ending a file name stays below 255 bytes."""


_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+(::[A-Za-z0-9+.-]+)*:/")
"""What URLs begin with, also where a path has made one of their slashes; a single letter may be a drive."""


class UnsafeLocation(OSError):
    """A runtime directory that another user could have prepared, or a socket path that cannot be used."""


def local_path(given: str | os.PathLike[str], what: str) -> Path:
    """A folder or file of this machine.

    Args:
        given: a path.
        what: the name of the argument, for the error.

    Raises:
        ValueError: if it is a URL, such as `s3://bucket/runs` or `file:///runs`.
    """
    if (url := _URL.match(os.fspath(given))) is not None:
        scheme = url[0].partition(":")[0]
        mounted = "use a local or mounted path; runs that have ended are copied by: ltxtui upload"
        way_out = "leave out file://" if scheme == "file" else mounted
        raise ValueError(f"{what} must be a local path, not the URL {os.fspath(given)!r}; {way_out}")
    return Path(given)


def named_path(path: Path) -> Path:
    """The same place by a path that ends in its name, as `.` and `..` do not. Raises OSError if that cannot be had."""
    return path.resolve() if path.name in ("", "..") else path


def reduced_name(name: str) -> str:
    """The part of a text that is allowed in a file name, as one path component.

    Letters, combining marks and digits of any script, `.`, `_` and `-` are kept. Anything else, such as spaces,
    slashes, emoji and control characters, becomes `-`. The result is empty if no letter or digit is in the text, and
    has at most 80 characters and 120 bytes. Where the file system's encoding knows ASCII only, so does the result.
    """
    text = unicodedata.normalize("NFC", name)
    kept = "".join(c if c in "._-" or unicodedata.category(c)[0] in "LMN" else " " for c in text)
    try:
        os.fsencode(kept)
    except UnicodeEncodeError:
        kept = "".join(c if c.isascii() else " " for c in kept)
    reduced = "-".join(kept.split()).strip("-.")[:MAX_NAME]
    reduced = reduced.encode()[:MAX_NAME_BYTES].decode(errors="ignore").rstrip("-.")
    return reduced if any(c.isalnum() for c in reduced) else ""


def safe_name(name: str) -> str:
    """A text as one path component, by `reduced_name`; `run` if nothing is left of it."""
    return reduced_name(name) or "run"


def is_packed(archive: Path) -> bool:
    """Whether the name is that of an archive in one file."""
    return archive.name.endswith(PACKED_SUFFIX) and archive.name != PACKED_SUFFIX


def run_name(archive: Path) -> str:
    """A run's name: the file name of its archive, packed or not, or of its journal, without the ending."""
    return archive.name.removesuffix(PACKED_SUFFIX) if is_packed(archive) else archive.stem


def journal_of(archive: Path) -> Path:
    """The journal next to an archive while its run is not finished."""
    return archive.parent / f"{run_name(archive)}{JOURNAL_SUFFIX}"  # `with_suffix` refuses `/`


def archive_of(journal: Path) -> Path:
    """The archive, as a folder, that a journal or a packed archive belongs to."""
    return journal.parent / f"{run_name(journal)}{ARCHIVE_SUFFIX}"


def packed_of(archive: Path) -> Path:
    """The file that an archive is packed into."""
    return archive.parent / f"{run_name(archive)}{PACKED_SUFFIX}"


def archive_in_place(archive: Path) -> Path:
    """The form of an archive that exists: the one that is named, or else the folder, or else the packed file.

    The path is returned unchanged if neither exists, or if it has another ending.
    """
    if os.path.lexists(archive) or not (archive.suffix == ARCHIVE_SUFFIX or is_packed(archive)):
        return archive
    return next((path for path in (archive_of(archive), packed_of(archive)) if os.path.lexists(path)), archive)


def told_archive(said: object) -> Path | None:
    """The archive's path as reported by a stream; None if it is not an absolute path of an archive."""
    if not isinstance(said, str) or "\0" in said:
        return None
    path = Path(said)
    return path if path.is_absolute() and path.suffix == ARCHIVE_SUFFIX and path.stem else None


def runtime_path() -> Path:
    """The directory of this user's sockets, whether it exists or not.

    `<temporary directory>/ltxtui-<uid>`, as tmux does it, since the XDG runtime directory disappears at the last
    logout under a run that tmux keeps alive. `LTXTUI_RUNTIME_DIR` overrides it.
    """
    override = os.environ.get("LTXTUI_RUNTIME_DIR")
    return Path(override) if override else Path(tempfile.gettempdir()) / f"ltxtui-{os.getuid()}"


def user_folder(kind: Literal["cache", "config", "data", "state"]) -> Path | None:
    """Where this program keeps what is the user's, after the XDG rules; None if no home directory is known."""
    import platformdirs

    try:
        folder = getattr(platformdirs, f"user_{kind}_path")("ltxtui")
    except (RuntimeError, KeyError, OSError):  # a container may have no home and no such user
        return None
    return folder if isinstance(folder, Path) and folder.is_absolute() else None


def cache_folder() -> Path | None:
    """The folder of what can be made again: `LTXTUI_CACHE`, or that of `user_folder`; None if there is none."""
    override = os.environ.get("LTXTUI_CACHE")
    if override and _URL.match(override):
        return None
    return Path(override) if override else user_folder("cache")


def check_runtime_directory(path: Path) -> None:
    """Accept a directory only if it is a real one, owned by this user and closed to all others.

    Raises:
        UnsafeLocation: otherwise.
        FileNotFoundError: if it does not exist.
    """
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise UnsafeLocation(f"{path} is not a directory; remove it or set LTXTUI_RUNTIME_DIR to another place")
    if found.st_uid != os.getuid():
        raise UnsafeLocation(f"{path} belongs to another user; set LTXTUI_RUNTIME_DIR to a directory of your own")
    if found.st_mode & 0o077:
        raise UnsafeLocation(f"{path} is open to other users; run: chmod 700 {path}")


def make_runtime_directory() -> Path:
    """The runtime directory, made with mode 0700 if missing and checked either way."""
    path = runtime_path()
    try:
        local_path(os.environ.get("LTXTUI_RUNTIME_DIR", ""), "LTXTUI_RUNTIME_DIR")
    except ValueError as error:
        raise UnsafeLocation(str(error)) from None
    make_folders(path, PRIVATE_MODE)
    check_runtime_directory(path)
    return path


def socket_of(directory: Path, name: str) -> Path:
    """The path of a run's socket.

    A name too long for a socket is cut and ends in a hash of the name, so that two long names have two sockets; the
    run's header has the full name.
    """
    path = directory / f"{name}{SOCKET_SUFFIX}"
    over = len(os.fsencode(path)) - MAX_SOCKET_PATH
    if over <= 0:
        return path
    encoded = os.fsencode(name)
    digest = hashlib.sha256(encoded).hexdigest()[:8]
    room = max(0, len(encoded) - over - len(f"-{digest}"))
    return directory / f"{encoded[:room].decode(errors='ignore')}-{digest}{SOCKET_SUFFIX}"


def check_socket_path(path: Path) -> None:
    """Refuse a socket path that the system would cut.

    Raises:
        UnsafeLocation: if it is longer than every system allows.
    """
    length = len(os.fsencode(path))
    if length > MAX_SOCKET_PATH:
        raise UnsafeLocation(
            f"the socket path {path} has {length} bytes, over {MAX_SOCKET_PATH}; "
            "set LTXTUI_RUNTIME_DIR to a shorter directory"
        )
