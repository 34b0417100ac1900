"""The line of a run with a journal in a list of runs, kept up to date while the journal grows."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

from recorder.findings.finding import Verdict, verdict_of
from recorder.findings.follow import Follower
from recorder.format import locations
from recorder.format.protocol import Message
from recorder.journal.journal import JournalReader, is_being_written
from replay.library.archive_line import from_archive, is_archive, tags_of, tree_size
from replay.library.run_info import Gathered, RunInfo
from replay.model.pulse import Pulse
from replay.model.validation import NotARun

POLL_BYTES = 4 << 20


class JournalTail:
    """The line of a run that has a journal, kept up to date by reading what was added."""

    def __init__(self, archive: Path) -> None:
        """Open the journal. Raises OSError if that cannot be done."""
        self._archive = archive
        self._journal = locations.journal_of(archive)
        self._reader = JournalReader(self._journal)
        self._gathered = Gathered()
        self._size = (-1e9, 0)
        self._pulse = Pulse()
        self._caught_up = False
        self._follower: Follower | None = Follower()
        self._verdict: tuple[tuple[bool, int | None], Verdict] | None = None

    def read(self) -> bool:
        """Read some of what is new; returns whether there may be more.

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
        self._follow(messages)
        self._pulse.feed(messages)
        if not messages and not self._gathered.started and not is_archive(self._archive):
            raise NotARun(f"{self._journal} is not the journal of a run")
        return bool(messages)

    @property
    def suspect(self) -> bool:
        """Whether it may be stalled, and another look in `pulse.CONFIRM_SECONDS` decides."""
        return self._pulse.suspect

    def _age(self) -> float:
        """Seconds since the journal was written to, if its clock is this machine's."""
        try:
            return time.time() - self._journal.stat().st_mtime
        except OSError:
            return 0.0

    def info(self) -> RunInfo:
        """The line as of what was read; `live` while the journal's lock is held, `stalled` if no progress is made.

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
            tags=tags_of(self._archive),
            verdict=self._judged(lost=not live and not known.ended, stalled=stall.seconds if stall else None),
        )
        return line if stall is None else replace(line, stalled_seconds=round(stall.seconds, 1))

    def _follow(self, messages: list[Message]) -> None:
        """Examine the rows that came. The messages are not checked: with one that misfits, nothing is said any more."""
        follower = self._follower
        if follower is None:
            return
        try:
            for message in messages:
                follower.feed(message)
        except Exception:  # noqa: BLE001 - whatever a file may hold
            self._follower = None
        self._verdict = None if messages else self._verdict

    def _judged(self, lost: bool, stalled: float | None) -> Verdict | None:
        """What the findings so far come to."""
        mark = lost, None if stalled is None else round(stalled)
        if self._follower is None:
            return None
        if self._verdict is None or self._verdict[0] != mark:
            try:
                self._follower.facts.lost, self._follower.facts.stalled_seconds = lost, stalled
                self._verdict = mark, verdict_of(self._follower.findings())
            except Exception:  # noqa: BLE001
                self._follower = None
                return None
        return self._verdict[1]

    def _archive_ahead(self) -> RunInfo | None:
        """The archive's line, if it has more than a journal that was left without an end."""
        known = self._gathered
        try:
            line = from_archive(locations.archive_in_place(self._archive))
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
