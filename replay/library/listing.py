"""Lists the runs of a folder: archives and journals, without opening archives. Needs neither zarr nor torch."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recorder.format import locations
from recorder.journal.journal import JournalReader, is_being_written
from replay.archive.safe_files import Damaged, Missing, read_attributes
from replay.library.cache import Cache, stamp_of
from replay.library.live_runs import LiveRun as LiveRun
from replay.library.live_runs import live_runs as live_runs
from replay.library.run_info import Gathered, known_tags
from replay.library.run_info import RunInfo as RunInfo
from replay.library.unreadable import Unreadable, refuse
from replay.model import pulse, validation
from replay.model.pulse import Pulse
from replay.model.run import NotARun, check_header

POLL_BYTES = 4 << 20


def list_runs(runs_dir: Path, cache: Cache | None = None) -> list[RunInfo]:
    """All runs in a folder, newest first; what is not a run is passed over.

    With a cache only those are read that have changed since; it is filled, and the caller saves it.
    """
    return look(runs_dir, cache).runs


def look(runs_dir: Path, cache: Cache | None = None) -> Listing:
    """All runs in a folder, newest first, and what looks like one and cannot be read; with a cache as `list_runs`."""
    found: list[RunInfo] = []
    unreadable: list[Unreadable] = []
    suspects: list[JournalTail] = []
    try:
        for archive, has_journal in archives_in(runs_dir).items():
            stamp = stamp_of(archive, has_journal)
            info = cache.get(archive, stamp) if cache is not None and stamp is not None else None
            if info is None:
                try:
                    info = _described(archive, suspects)
                except (NotARun, OSError) as error:
                    if (refused := refuse(archive, error)) is not None:
                        unreadable.append(refused)
                    continue
                if cache is not None and stamp is not None and not info.live:
                    cache.put(info, stamp)
            found.append(info)
        again = {line.path: line for line in _looked_again(suspects)}
    finally:
        for tail in suspects:
            tail.close()
    found = [again.get(line.path, line) for line in found]
    found.sort(key=lambda r: (r.started, r.name), reverse=True)
    return Listing(found, sorted(unreadable, key=lambda u: u.name, reverse=True))


@dataclass(frozen=True)
class Listing:
    """What a folder has: runs, and what looks like one and cannot be read."""

    runs: list[RunInfo]
    unreadable: list[Unreadable]


def _looked_again(tails: list[JournalTail]) -> list[RunInfo]:
    """Lines of runs that may be stalled, after a second look that decides."""
    if tails:
        time.sleep(pulse.CONFIRM_SECONDS)
    found = []
    for tail in tails:
        with contextlib.suppress(NotARun, OSError):  # it has just ended; the first look stands
            while tail.read():
                pass
            found.append(tail.info())
    return found


def cached_look(runs_dir: Path) -> Listing:
    """The same as `look`, with the folder's cache: thousands of runs are listed at once."""
    cache = Cache(runs_dir)
    found = look(runs_dir, cache)
    cache.save()
    return found


def cached_runs(runs_dir: Path) -> list[RunInfo]:
    """The runs of `cached_look`."""
    return cached_look(runs_dir).runs


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
    suspects: list[JournalTail] = []
    try:
        line = _described(archive, suspects)
        return next(iter(_looked_again(suspects)), line)
    finally:
        for tail in suspects:
            tail.close()


def _described(archive: Path, suspects: list[JournalTail]) -> RunInfo:
    """One run's line; the tail of one that may be stalled is left open among the suspects, to be closed there."""
    if not locations.journal_of(archive).is_file():
        return _from_archive(archive)
    tail = JournalTail(archive)
    try:
        while tail.read():
            pass
        line = tail.info()
        if tail.suspect and line.live:
            suspects.append(tail)
        return line
    finally:
        if tail not in suspects:
            tail.close()


class JournalTail:
    """What a list says of a run that has a journal, kept up to date by reading what was added."""

    def __init__(self, archive: Path) -> None:
        """Open the journal. Raises OSError if that cannot be done."""
        self._archive = archive
        self._journal = locations.journal_of(archive)
        self._reader = JournalReader(self._journal)
        self._gathered = Gathered()
        self._size = (-1e9, 0)
        self._pulse = Pulse()
        self._caught_up = False

    def read(self) -> bool:
        """Take in some of what is new; whether there may be more.

        Raises:
            NotARun: if it is not the journal of a run, and has no archive either.
        """
        messages = self._reader.poll(POLL_BYTES)
        if not messages and not self._caught_up:
            self._caught_up = True
            self._pulse.aged(self._age())
        try:
            for message in messages:
                self._gathered.feed(message)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            raise NotARun(f"{self._journal} is not the journal of a run: {error!r}") from error
        self._pulse.feed(messages)
        if not messages and not self._gathered.started and not is_archive(self._archive):
            raise NotARun(f"{self._journal} is not the journal of a run")
        return bool(messages)

    @property
    def suspect(self) -> bool:
        """Whether it may be stalled, and another look in `pulse.CONFIRM_SECONDS` tells."""
        return self._pulse.suspect

    def _age(self) -> float:
        """Seconds since the journal was written to, if its clock is this machine's."""
        try:
            return time.time() - self._journal.stat().st_mtime
        except OSError:
            return 0.0

    def info(self) -> RunInfo:
        """The line as of what was read; `live` while the journal's lock is held, `stalled` if nothing goes on there.

        Raises:
            NotARun: if nothing could be read, nor of the archive.
            OSError: if the journal has gone.
        """
        known = self._gathered
        live = is_being_written(self._journal)
        if not live and not known.ended and (ahead := self._archive_ahead()):
            return ahead
        stall = self._pulse.stall if live and not known.ended else None
        line = known.info(
            self._archive,
            status=("stalled" if stall else "live") if live else known.ended or "unfinished",
            seconds=max(0.0, (time.time() if live and not known.ended else known.last) - known.started),
            bytes=self._archive_size() + self._journal.stat().st_size,
            tags=_tags(self._archive),
        )
        return line if stall is None else replace(line, stalled_seconds=round(stall.seconds, 1))

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
        started = validation.read_time(root["time"], "the run's time")
        known = Gathered(started=started, model=str(root["metadata"].get("model") or ""))
        for key, count in root["rows"].items():
            stage = int(key.split("/")[0].removeprefix("stage_"))
            rows = validation.read_int(count, "its number of rows")
            known.steps[stage] = max(known.steps.get(stage, 0), rows)
        for index in sorted(known.steps):
            done = known.steps[index]
            known.feed({"t": "stage", **attributes_of(archive / f"stage_{index}" / "zarr.json")})
            known.steps[index] = done
        for key, count in root.get("missed", {}).items():
            known.missed[str(key)] = validation.read_int(count, "its number of missed steps")
        for name, summary in root.get("summary", {}).items():
            known.summary(int(name.removeprefix("stage_")), summary)
        with contextlib.suppress(FileNotFoundError):
            for event in attributes_of(archive / "events" / "zarr.json")["messages"]:
                known.event(event)
        ended = root.get("ended")
        return known.info(
            archive,
            status=str(root["status"]) if ended is not None else "unfinished",
            seconds=None if ended is None else validation.read_time(ended, "its end") - started,
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
