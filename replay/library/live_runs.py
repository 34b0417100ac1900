"""Runs that answer on a socket of this user, found by looking into the runtime directory."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, replace
from pathlib import Path

from recorder.format import locations, protocol
from recorder.journal import peers
from recorder.journal.tail import JournalReader
from replay.model.validation import check_header, table_or_empty
from replay.sources.open import SocketSource

HEADER_SECONDS = 2.0
_YOUNG_SECONDS = 10.0
"""A socket that no process listens on may be a recorder that is about to: between the two calls it is there already."""


@dataclass(frozen=True)
class LiveRun:
    """A run whose recorder answers on a socket, or lives and does not answer: it is stopped, or hangs."""

    name: str
    socket: Path
    archive: Path
    started: float
    host: str
    process: int
    answers: bool = True


def live_runs() -> list[LiveRun]:
    """Runs of this user that have a socket and a recorder, newest first; sockets that no process serves are removed.

    A recorder that does not answer within two seconds is identified by the journal that its socket names.

    Raises:
        locations.UnsafeLocation: if the runtime directory could have been prepared by another user.
    """
    found = (_live_run(path) for path in _sockets())
    return sorted((run for run in found if run is not None), key=lambda r: r.started, reverse=True)


class LiveSockets:
    """The live runs, asked again and again: each recorder is connected to once, not at every look."""

    def __init__(self) -> None:
        self._known: dict[tuple[Path, int, int], LiveRun | None] = {}

    def look(self) -> list[LiveRun]:
        """Runs that answer now, newest first. Waits for new sockets only; a silent one costs two seconds once.

        Raises:
            locations.UnsafeLocation: if the runtime directory could have been prepared by another user.
        """
        known: dict[tuple[Path, int, int], LiveRun | None] = {}
        for path in _sockets():
            with contextlib.suppress(FileNotFoundError):  # its run has just ended
                status = path.stat()
                key = (path, status.st_ino, status.st_mtime_ns)
                known[key] = self._known[key] if key in self._known else _live_run(path)
        self._known = known
        return sorted((run for run in known.values() if run is not None), key=lambda r: r.started, reverse=True)


def _sockets() -> list[Path]:
    directory = locations.runtime_path()
    try:
        locations.check_runtime_directory(directory)
    except FileNotFoundError:
        return []
    return sorted(directory.glob(f"*{locations.SOCKET_SUFFIX}"))


def _sweep(path: Path) -> None:
    """Remove a socket that no process serves: its recorder was killed. A new one's may only not listen yet."""
    with contextlib.suppress(OSError):
        if time.time() - path.stat().st_mtime > _YOUNG_SECONDS and not peers.is_served(path):
            peers.remove(path)


def _live_run(path: Path) -> LiveRun | None:
    """The run that answers on a socket; None if none does, and then a socket that is left over is removed."""
    try:
        source = SocketSource(path)
    except ConnectionRefusedError:
        _sweep(path)
        return None
    except OSError:  # such as a full queue of a recorder that is stopped
        return _silent(path)
    with contextlib.closing(source):
        header = _first_header(source)
    return _silent(path) if header is None else _told(path, header)


def _silent(path: Path) -> LiveRun | None:
    """A recorder that lives and does not answer, by its journal; None if that is not known, or it has just ended."""
    if not peers.is_served(path):
        return None
    try:
        reader = JournalReader(peers.lock_of(path).readlink())
        try:
            first = reader.poll(1)
        finally:
            reader.close()
    except OSError:
        return None
    found = _told(path, first[0]) if first and first[0]["t"] == protocol.HEADER else None
    return None if found is None else replace(found, answers=False)


def _told(path: Path, header: protocol.Message) -> LiveRun | None:
    """What a header tells of the run behind a socket."""
    archive = locations.told_archive(header.get("archive"))
    try:
        check_header(header)
        known = table_or_empty(header.get("metadata"))
        return LiveRun(
            name=str(header["run"]),
            socket=path,
            archive=Path(f"{locations.safe_name(str(header['run']))}{locations.ARCHIVE_SUFFIX}")
            if archive is None
            else archive,
            started=float(header["time"]),
            host=str(known.get("host", "")),
            process=int(known.get("process", 0)),
        )
    except (KeyError, ValueError, TypeError, OverflowError):
        return None  # what answers there is not a recorder of this version


def _first_header(source: SocketSource) -> protocol.Message | None:
    limit = time.monotonic() + HEADER_SECONDS
    while time.monotonic() < limit:
        for message in source.poll():
            return message if message["t"] == protocol.HEADER else None
        time.sleep(0.01)
    return None
