"""Lists the runs of a folder: archives and journals, without opening archives. Needs neither zarr nor torch."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from recorder import locations
from recorder.journal import JournalReader, is_being_written
from replay import format
from replay.catalog_cache import Cache, stamp_of
from replay.documents import Damaged, Missing, read_attributes
from replay.live import LiveRun as LiveRun
from replay.live import live_runs as live_runs
from replay.run import NotARun, check_header
from replay.run_info import Gathered, known_tags
from replay.run_info import RunInfo as RunInfo

POLL_BYTES = 4 << 20


def list_runs(runs_dir: Path, cache: Cache | None = None) -> list[RunInfo]:
    """All runs in a folder, newest first; what is not a run is passed over.

    With a cache only those are read that have changed since; it is filled, and the caller saves it.
    """
    found = []
    for archive, has_journal in archives_in(runs_dir).items():
        with contextlib.suppress(NotARun, OSError):
            stamp = stamp_of(archive, has_journal)
            info = cache.get(archive, stamp) if cache is not None and stamp is not None else None
            if info is None:
                info = describe_run(archive)
                if cache is not None and stamp is not None and not info.live:
                    cache.put(info, stamp)
            found.append(info)
    return sorted(found, key=lambda r: (r.started, r.name), reverse=True)


def cached_runs(runs_dir: Path) -> list[RunInfo]:
    """The same as `list_runs`, with the folder's cache: thousands of runs are listed at once."""
    cache = Cache(runs_dir)
    found = list_runs(runs_dir, cache)
    cache.save()
    return found


def archives_in(runs_dir: Path) -> dict[Path, bool]:
    """The archives that a folder has or, by their journals, will have, and whether there is a journal.

    Nothing but the folder is read.
    """
    found: dict[str, bool] = {}
    try:
        with os.scandir(runs_dir) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith("."):
                    continue
                if name.endswith(locations.ARCHIVE_SUFFIX):
                    found.setdefault(name.removesuffix(locations.ARCHIVE_SUFFIX), False)
                elif name.endswith(locations.JOURNAL_SUFFIX):
                    found[name.removesuffix(locations.JOURNAL_SUFFIX)] = True
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {runs_dir / f"{stem}{locations.ARCHIVE_SUFFIX}": journal for stem, journal in found.items()}


def describe_run(archive: Path) -> RunInfo:
    """One run's line. Raises NotARun or OSError if it cannot be read."""
    if locations.journal_of(archive).is_file():
        tail = JournalTail(archive)
        try:
            while tail.read():
                pass
            return tail.info()
        finally:
            tail.close()
    return _from_archive(archive)


class JournalTail:
    """What a list says of a run that has a journal, kept up to date by reading what was added."""

    def __init__(self, archive: Path) -> None:
        """Open the journal. Raises OSError if that cannot be done."""
        self._archive = archive
        self._journal = locations.journal_of(archive)
        self._reader = JournalReader(self._journal)
        self._gathered = Gathered()
        self._size = (-1e9, 0)

    def read(self) -> bool:
        """Take in some of what is new; whether there may be more.

        Raises:
            NotARun: if it is not the journal of a run, and has no archive either.
        """
        messages = self._reader.poll(POLL_BYTES)
        try:
            for message in messages:
                self._gathered.feed(message)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise NotARun(f"{self._journal} is not the journal of a run: {error!r}") from error
        if not messages and not self._gathered.started and not is_archive(self._archive):
            raise NotARun(f"{self._journal} is not the journal of a run")
        return bool(messages)

    def info(self) -> RunInfo:
        """The line as of what was read; `live` while the journal's lock is held.

        Raises:
            NotARun: if nothing could be read, nor of the archive.
            OSError: if the journal has gone.
        """
        known = self._gathered
        live = is_being_written(self._journal)
        if not live and not known.ended and (ahead := self._archive_ahead()):
            return ahead
        return known.info(
            self._archive,
            status="live" if live else known.ended or "unfinished",
            seconds=max(0.0, (time.time() if live and not known.ended else known.last) - known.started),
            bytes=self._archive_size() + self._journal.stat().st_size,
            tags=_tags(self._archive),
        )

    def _archive_ahead(self) -> RunInfo | None:
        """The archive's line, if it has more than a journal that was left without an end."""
        known = self._gathered
        try:
            line = _from_archive(self._archive)
        except (NotARun, OSError):
            if not known.started:
                raise
            return None
        if line.status == "unfinished" and line.steps <= sum(known.steps.values()) and known.started:
            return None
        return replace(line, bytes=line.bytes + self._journal.stat().st_size)

    def _archive_size(self) -> int:
        """Bytes of the archive's files, counted every few seconds at most: there are hundreds of them."""
        now = time.monotonic()
        if now - self._size[0] > 5:
            self._size = (now, tree_size(self._archive))
        return self._size[1]

    def close(self) -> None:
        self._reader.close()


def _from_archive(archive: Path) -> RunInfo:
    root = attributes_of(archive / "zarr.json")
    try:
        check_header(root)
        started = format.moment(root["time"], "the run's time")
        known = Gathered(started=started, model=str(root["metadata"].get("model") or ""))
        for key, count in root["rows"].items():
            stage = int(key.split("/")[0].removeprefix("stage_"))
            rows = format.whole(count, "its number of rows")
            known.steps[stage] = max(known.steps.get(stage, 0), rows)
        for index in sorted(known.steps):
            done = known.steps[index]
            known.feed({"t": "stage", **attributes_of(archive / f"stage_{index}" / "zarr.json")})
            known.steps[index] = done
        for key, count in root.get("missed", {}).items():
            known.missed[str(key)] = format.whole(count, "its number of missed steps")
        for name, summary in root.get("summary", {}).items():
            known.summary(int(name.removeprefix("stage_")), summary)
        with contextlib.suppress(FileNotFoundError):
            for event in attributes_of(archive / "events" / "zarr.json")["messages"]:
                known.event(event)
        ended = root.get("ended")
        return known.info(
            archive,
            status=str(root["status"]) if ended is not None else "unfinished",
            seconds=None if ended is None else format.moment(ended, "its end") - started,
            bytes=tree_size(archive),
            tags=known_tags(root),
        )
    except NotARun as error:
        raise NotARun(f"{archive}: {error}") from error
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise NotARun(f"{archive} has damaged metadata: {error!r}") from error


def is_archive(path: Path) -> bool:
    """Whether there is something that may be an archive."""
    return (path / "zarr.json").is_file()


def attributes_of(file: Path) -> dict[str, Any]:
    """The attributes in a `zarr.json`, without taking apart the metadata of all its arrays where that can be saved.

    Raises:
        NotARun: if it has none that can be read.
        OSError: if it cannot be read.
    """
    try:
        return read_attributes(file)
    except Missing:
        raise FileNotFoundError(errno.ENOENT, "there is no such file", str(file)) from None
    except Damaged as error:
        raise NotARun(f"{file} is damaged: it {error}") from error


def _tags(archive: Path) -> tuple[str, ...]:
    """Tags of a run that has a journal still; its archive may not exist yet."""
    try:
        return known_tags(attributes_of(archive / "zarr.json"))
    except (NotARun, OSError):
        return ()


def tree_size(path: Path) -> int:
    """Bytes of all files below a folder; links are not followed."""
    total = 0
    folders = [str(path)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    with contextlib.suppress(OSError):  # what vanished between the two is no longer part of the size
                        if entry.is_dir(follow_symlinks=False):
                            folders.append(entry.path)
                        else:
                            total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total
