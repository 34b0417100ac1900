"""Completes a run after its last message: the archive is finished, and the journal removed once it is not needed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from recorder.archive import journal_removal
from recorder.archive.rebuild import rebuild
from recorder.format import protocol
from recorder.format.events import reason_of
from recorder.journal.journal import Journal
from recorder.writing.archive_thread import Archivist
from recorder.writing.journal_thread import Pump

logger = logging.getLogger(__name__)


class Completion:
    """Brings a run's archive to its end, and then releases the run's files."""

    def __init__(
        self, path: Path, journal: Journal, archivist: Archivist, pump: Pump, release: Callable[[bool], None]
    ) -> None:
        """Prepare for the end of a run.

        Args:
            path: the archive.
            journal: written to by `pump`, which has been given the last message before `complete` is called.
            archivist: writes the archive.
            pump: the thread that writes the journal.
            release: gives up lock, journal and socket; with True the journal is removed.
        """
        self._path = path
        self._journal = journal
        self._archivist = archivist
        self._pump = pump
        self._release = release
        self.kept = True
        """False once the run has ended without a step: then nothing of it is on the disk."""

    def complete(self, status: protocol.Status) -> None:
        """Complete the archive after the pump has ended, and release everything. Never raises."""
        whole = False
        try:
            whole = self._write_end(status)
        except Exception as failure:  # noqa: BLE001 - the caller's program continues, and the journal is there
            logger.error("closing %s failed (%s); its journal is kept", self._path, reason_of(failure))
        finally:
            self._release(whole)

    def complete_later(self, status: protocol.Status) -> None:
        """Complete the archive in a thread of its own, when the disk answers again.

        Until then the pump's thread may still write to the journal, which stays open and locked.
        """
        logger.warning("the disk does not answer: %s is left unfinished, its journal is kept", self._path)
        try:
            waiting = partial(self._complete_after_pump, status)
            threading.Thread(target=waiting, name="ltxtui-closer", daemon=True).start()
        except RuntimeError as failure:
            logger.warning("%s stays locked as long as the process lives: %s", self._path, reason_of(failure))

    def _complete_after_pump(self, status: protocol.Status) -> None:
        self._pump.join()
        self.complete(status)

    def _write_end(self, status: protocol.Status) -> bool:
        """Complete the archive; True if the journal may go: the archive is on the disk and lacks nothing of it."""
        self._journal.flush()
        nothing = self._pump.tally.idle
        # A stream may have been declared all the same: by a first step that a Ctrl-C cut off.
        answers = self._archivist.close(discard=nothing)
        if nothing:
            self._leave_nothing(status)
            return True
        failure: Exception | None = TimeoutError("the disk does not answer")
        on_disk = False
        if answers:
            failure = self._archivist.error
            if failure is None and not self._archivist.ended:
                failure = RuntimeError("its end was not written")
            if failure is None:
                on_disk = self._archivist.on_disk(journal_removal.SETTLE_SECONDS)
            else:
                failure = self._rebuild(failure)
                on_disk = failure is None
        if failure is not None:
            logger.warning("%s is unfinished (%s); its journal is kept", self._path, reason_of(failure))
        if not self._pump.tally.rows:
            logger.warning("%s has no row: no step that was taken could be recorded", self._path.name)
        return on_disk

    def _leave_nothing(self, status: protocol.Status) -> None:
        self.kept = False
        level = logging.WARNING if status == "complete" else logging.INFO
        logger.log(level, "nothing was recorded, since no step was taken; %s is not kept", self._path.name)

    def _rebuild(self, failure: Exception) -> Exception | None:
        """Write the archive again from its journal; the failure that is left, None if there is none."""
        try:
            rebuild(self._journal, self._path)
        except Exception as again:  # noqa: BLE001 - the journal has everything
            # The room that the attempt took is the journal's again.
            self._journal.flush()
            logger.debug("rebuilding from the journal failed too: %s", again)
            return failure
        logger.warning("%s is complete: it was rebuilt from its journal", self._path.name)
        return None
