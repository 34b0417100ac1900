"""The remote side of one run: the messages of a live one, its journal if it has no recorder, or its packed archive."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from recorder.archive.zip_writer import write_zip
from recorder.format import locations
from recorder.format.locations import UnsafeLocation
from recorder.journal.journal import is_being_written
from recorder.journal.tail import open_journal
from replay.archive.array_metadata import MAX_CHUNK_BYTES
from replay.archive.disk_storage import DiskStorage
from replay.archive.safe_files import Damaged
from replay.library.folder_names import stamp_of
from replay.library.listing import archives_in
from replay.library.live_runs import LiveRun, live_runs
from replay.remote.asked import Asked
from replay.remote.pipe_ends import READ_BYTES, PipeEnds

LOOK_SECONDS: Final = 0.25
"""Seconds between looks for a run that is waited for."""
TAIL_SECONDS: Final = 0.05
MOST_NAMED: Final = 50
"""Runs that an answer names at most."""


def serve_run(ends: PipeEnds, runs_dir: Path, asked: Asked) -> int:
    """Answer with a line, and then with what was asked for; gives the exit status.

    Raises:
        ViewerLeft: when the other end is closed.
    """
    try:
        if asked.wait:
            ends.say(waiting=True)
            return _stream(ends, _next(ends, asked.run))
        live = [] if asked.packed else _named(live_runs(), asked.run)
        if len(live) == 1:
            return _stream(ends, live[0])
        if live:
            ends.say(choose=[_as_choice(run) for run in live[:MOST_NAMED]])
            return 1
        found = _recorded(runs_dir, asked.run) if asked.run else []
    except UnsafeLocation as error:
        ends.say(error=str(error))
        return 1
    if len(found) == 1:
        return _ended(ends, found[0], packed=asked.packed)
    ends.say(error=_missing(runs_dir, asked.run, found), missing=not found)
    return 1


def _missing(runs_dir: Path, name: str, found: Sequence[Path]) -> str:
    if found:
        names = ", ".join(locations.run_name(path) for path in found[:5]) + ", …" * (len(found) > 5)
        return f"{len(found)} runs match {name!r}: {names}; be more specific"
    if not name:
        return "no live run; wait for one with --wait"
    return f"no live run with {name!r} in its name, and none in {runs_dir.absolute()}"


def _as_choice(run: LiveRun) -> dict[str, object]:
    return {"name": run.name, "host": run.host, "started": run.started, "answers": run.answers}


def _named(runs: Sequence[LiveRun], name: str) -> list[LiveRun]:
    """The runs with this in their names; the one with this name or path if there is one."""
    exact = [run for run in runs if name in (run.name, str(run.archive))]
    return exact or [run for run in runs if name in run.name]


def _recorded(runs_dir: Path, name: str) -> list[Path]:
    path = Path(name)
    if path.is_absolute():
        path = locations.archive_in_place(path)
        return [path] if path.exists() or locations.journal_of(path).exists() else []
    known = sorted(archives_in(runs_dir), reverse=True)
    exact = [path for path in known if locations.run_name(path) == name]
    return exact or [path for path in known if name in locations.run_name(path)]


def _next(ends: PipeEnds, name: str) -> LiveRun:
    """The next run that begins. Raises ViewerLeft, UnsafeLocation."""
    begun = time.time()
    while True:
        for run in reversed(live_runs()):
            if run.started >= begun and name in run.name:
                return run
        ends.wait(LOOK_SECONDS)


def _ended(ends: PipeEnds, archive: Path, *, packed: bool = False) -> int:
    journal = locations.journal_of(archive)
    if packed and journal.is_file():
        name = locations.run_name(archive)
        live = f"{name} is being recorded; it can be fetched once it has ended"
        ends.say(
            error=live if is_being_written(journal) else f"{name} has no end; run there: ltxtui runs repair {name}"
        )
        return 1
    if journal.is_file():
        return _tail(ends, archive)
    return _send_packed(ends, archive)


def _stream(ends: PipeEnds, run: LiveRun) -> int:
    """Join the pipe to the run's socket, in both directions, until one of them ends."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as recorder:
        try:
            recorder.connect(str(run.socket))
        except OSError:  # it has just ended, or does not answer: its files have what it recorded
            return _ended(ends, locations.archive_in_place(run.archive))
        known = {"path": str(run.archive)} if run.archive.is_absolute() else {}
        ends.say(run=run.name, stream=True, live=True, **known)
        both: list[Any] = [recorder, ends.reading]
        while True:
            ready, _, _ = select.select(both, [], [])
            if ends.reading in ready:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # its last messages are read below
                    recorder.sendall(ends.heard())
            if recorder in ready:
                try:
                    data = recorder.recv(READ_BYTES)
                except ConnectionResetError:
                    data = b""
                if not data:
                    return 0
                ends.write(data)


def _tail(ends: PipeEnds, archive: Path) -> int:
    """The bytes of a journal, as they come while its recorder runs. Raises ViewerLeft."""
    journal = locations.journal_of(archive)
    try:
        opened = open_journal(journal)
    except OSError as error:
        ends.say(error=f"{journal} cannot be read: {error.strerror or error}")
        return 1
    with os.fdopen(opened, "rb") as file:
        live = is_being_written(journal)
        ends.say(run=locations.run_name(archive), stream=True, live=live, path=str(archive.absolute()))
        while True:
            live = is_being_written(journal)
            while data := file.read(READ_BYTES):
                ends.write(data)
            if not live:
                return 0
            ends.wait(TAIL_SECONDS)


def _send_packed(ends: PipeEnds, archive: Path) -> int:
    """The archive as one file. It is packed in a temporary place that has no name any more when it is sent."""
    name = locations.run_name(archive)
    stamp = list(stamp_of(archive, has_journal=False) or ())
    try:
        with tempfile.TemporaryDirectory(prefix="ltxtui-relay-") as place:
            packed = archive if locations.is_packed(archive) else _packed(archive, Path(place))
            file = packed.open("rb")
    except Damaged as error:
        ends.say(error=f"a file of {archive.name} {error}")
        return 1
    except OSError as error:
        ends.say(error=f"{archive} cannot be read: {error.strerror or error}")
        return 1
    with file:
        left = os.fstat(file.fileno()).st_size
        ends.say(run=name, archive=left, path=str(archive.absolute()), stamp=stamp)
        while left and (data := file.read(min(left, READ_BYTES))):
            left -= len(data)
            ends.write(data)
    return 1 if left else 0


def _packed(archive: Path, place: Path) -> Path:
    """Raises Damaged, OSError."""
    storage = DiskStorage(archive)
    target = place / f"run{locations.PACKED_SUFFIX}"
    names = [name for name, plain in storage.files() if plain and not name.endswith(".part")]
    write_zip(target, names, lambda name: storage.read(name, MAX_CHUNK_BYTES), small=True, sync=False)
    return target
