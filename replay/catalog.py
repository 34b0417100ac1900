"""Finds runs: archives and journals in a folder, live ones by their sockets. Needs neither zarr nor torch."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from recorder import locations, words
from recorder.journal import JournalReader, is_being_written
from replay.archive import root_attributes
from replay.run import NotARun
from replay.source import SocketSource

HEADER_SECONDS = 2.0


@dataclass(frozen=True)
class RunInfo:
    """One line of the list of runs. `status` is the stored one, or `live` or `unfinished`."""

    name: str
    path: Path
    started: float
    stages: int
    steps: int
    planned: int
    seconds: float | None
    status: str
    bytes: int
    prompt: str

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "path": str(self.path)}


@dataclass(frozen=True)
class LiveRun:
    """A run whose recorder answers on a socket."""

    name: str
    socket: Path
    archive: Path
    started: float
    host: str
    process: int


def list_runs(runs_dir: Path) -> list[RunInfo]:
    """All runs in a folder, newest first; what is not a run is passed over."""
    if not runs_dir.is_dir():
        return []
    archives = {p for p in runs_dir.iterdir() if p.suffix == locations.ARCHIVE_SUFFIX}
    archives |= {locations.archive_of(p) for p in runs_dir.iterdir() if p.suffix == locations.JOURNAL_SUFFIX}
    found = []
    for archive in archives:
        with contextlib.suppress(NotARun, OSError):
            found.append(describe_run(archive))
    return sorted(found, key=lambda r: (r.started, r.name), reverse=True)


def describe_run(archive: Path) -> RunInfo:
    """One run's line. Raises NotARun or OSError if it cannot be read."""
    journal = locations.journal_of(archive)
    size = _size(archive)
    if journal.is_file():
        return _from_journal(archive, journal, size + journal.stat().st_size)
    attributes = root_attributes(archive)
    rows: dict[str, int] = attributes["rows"]
    steps: dict[str, int] = {}
    for key, count in rows.items():
        stage = key.split("/")[0]
        steps[stage] = max(steps.get(stage, 0), int(count))
    ended = attributes.get("ended")
    done = sum(steps.values())
    return RunInfo(
        name=archive.stem,
        path=archive,
        started=float(attributes["time"]),
        stages=len(steps),
        steps=done,
        planned=int(attributes.get("planned", done)),
        seconds=None if ended is None else ended - attributes["time"],
        status=str(attributes["status"]) if ended is not None else "unfinished",
        bytes=size,
        prompt=str(attributes.get("prompt") or ""),
    )


def _from_journal(archive: Path, journal: Path, size: int) -> RunInfo:
    live = is_being_written(journal)
    reader = JournalReader(journal)
    started = last = 0.0
    prompt, planned = "", 0
    steps: dict[int, int] = {}
    try:
        while messages := reader.poll():
            for m in messages:
                last = m["time"] if isinstance(m.get("time"), float) else last
                if m["t"] == words.HEADER:
                    started = float(m["time"])
                elif m["t"] == words.STAGE:
                    steps[m["stage"]] = 0
                    planned += len(m["sigmas"])
                    prompt = prompt or str(m["metadata"].get("prompt") or "")
                elif m["t"] == words.STEP:
                    steps[m["stage"]] = max(steps[m["stage"]], m["step"] + 1)
    except (KeyError, TypeError, AttributeError) as error:
        raise NotARun(f"{journal} is not the journal of a run: {error!r}") from error
    finally:
        reader.close()
    if not started:
        raise NotARun(f"{journal} is not the journal of a run")
    return RunInfo(
        name=archive.stem,
        path=archive,
        started=started,
        stages=len(steps),
        steps=sum(steps.values()),
        planned=planned,
        seconds=(time.time() if live else last) - started,
        status="live" if live else "unfinished",
        bytes=size,
        prompt=prompt,
    )


def _size(path: Path) -> int:
    total = 0
    for folder, _, files in os.walk(path):
        for file in files:
            with contextlib.suppress(OSError):  # a file that vanished between the two is no longer part of the size
                total += (Path(folder) / file).stat().st_size
    return total


def live_runs() -> list[LiveRun]:
    """Runs of this user that answer on a socket, newest first; sockets that nobody serves are removed.

    Raises:
        locations.UnsafeLocation: if the runtime directory could have been prepared by somebody else.
    """
    directory = locations.runtime_path()
    try:
        locations.check_runtime_directory(directory)
    except FileNotFoundError:
        return []
    found = []
    for path in directory.glob(f"*{locations.SOCKET_SUFFIX}"):
        try:
            source = SocketSource(path)
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)  # nobody listens: its recorder was killed
            continue
        except OSError:
            continue
        with contextlib.closing(source):
            header = _first_header(source)
        if header is not None:
            known = header.get("metadata", {})
            found.append(
                LiveRun(
                    name=str(header["run"]),
                    socket=path,
                    archive=Path(str(header["archive"])),
                    started=float(header["time"]),
                    host=str(known.get("host", "")),
                    process=int(known.get("process", 0)),
                )
            )
    return sorted(found, key=lambda r: r.started, reverse=True)


def _first_header(source: SocketSource) -> words.Message | None:
    limit = time.monotonic() + HEADER_SECONDS
    while time.monotonic() < limit:
        for message in source.poll():
            return message if message["t"] == words.HEADER else None
        time.sleep(0.01)
    return None
