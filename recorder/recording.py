"""A run that is being recorded: its threads and files, from the first message to the finished archive."""

from __future__ import annotations

import atexit
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recorder.archive import journal_removal
from recorder.archive.writer import ArchiveWriter
from recorder.findings.finding import Finding
from recorder.format import paths, protocol
from recorder.format.events import event, reason_of
from recorder.format.nonfinite import broken_words
from recorder.format.protocol import Message
from recorder.format.run_status import missed_steps, standing
from recorder.journal.server import Server
from recorder.reserve import claim, make_server, run_name
from recorder.runners.own_loop import OwnLoop
from recorder.sampling.commands import Control
from recorder.sampling.stages import Stages
from recorder.system import fork_guard
from recorder.system.interrupts import shielded
from recorder.writing import run_messages
from recorder.writing.archive_thread import Archivist
from recorder.writing.completion import Completion
from recorder.writing.journal_thread import Pump
from recorder.writing.machine_load import Gpu, SystemLane
from recorder.writing.stop_rules import StopRules, reason_to_stop

if TYPE_CHECKING:
    from recorder.findings.rule import Rule

logger = logging.getLogger(__name__)

COMPLETING = "the archive is still being completed; interrupt once more to leave it unfinished"


class RunHandle(OwnLoop):
    """A run that is being recorded; what `with record(...) as run` gives."""

    def __init__(
        self,
        runs_dir: Path,
        name: str | None,
        metadata: dict[str, Any],
        *,
        save_latents: bool,
        eigenvalue: float | None,
        previews: bool,
        sync: bool,
        gpu: Gpu | None,
        allow_control: bool,
        stop_if: Sequence[Rule] = (),
    ) -> None:
        now = time.time()
        self.status: protocol.Status = "recording"
        self._server: Server | None = None
        self._system: SystemLane | None = None
        self._forked = False
        self.joins: Callable[[], Callable[[Any], None] | None] = lambda: None
        """Gives the function that hooks a further pipeline, while there is one."""
        self.path, self._journal = claim(runs_dir, run_name(name, now))
        journal_removal.settle_others(self.path)
        with contextlib.ExitStack() as undo:  # in the reverse order, if anything fails
            undo.callback(self._release, True)
            self._archivist = Archivist(ArchiveWriter(self.path, sync=sync), self._archive_failed)
            undo.callback(self._archivist.close)
            self._rules = StopRules(stop_if, self._rule_met) if stop_if else None
            also = self._rules.put if self._rules else None
            self._pump = Pump(self._journal, self._archivist, self._notify, sync, also)
            undo.callback(self._pump.close, run_messages.end("failed", None))
            self._completion = Completion(self.path, self._journal, self._archivist, self._pump, self._release)
            self.control = Control(self._pump.put, allow_control)
            self._pump.put(run_messages.header(self.path, now, metadata, allow_control))
            self._warn_of_missing_locks()
            super().__init__(Stages(self._pump.put, save_latents, eigenvalue, previews, self.control))
            self._serve()
            self._measure_load(gpu)
            undo.callback(self._stop_measuring_load)
            self._ticket = fork_guard.watch(self._let_go)
            _open_runs.add(self)
            undo.pop_all()

    def _warn_of_missing_locks(self) -> None:
        if self._journal.unlocked is not None:
            reason = reason_of(self._journal.unlocked)
            self._warn(f"the file system has no locks ({reason}): the run is shown as unfinished while it is recorded")

    def _measure_load(self, gpu: Gpu | None) -> None:
        try:
            self._system = SystemLane(self._pump.put, gpu)
        except RuntimeError as error:  # no more threads
            self._warn(f"the machine's load is not recorded: {reason_of(error)}")

    def _stop_measuring_load(self) -> None:
        if self._system is not None:
            self._system.stop()

    def _let_go(self) -> None:
        """In a forked child: detach from the run, which belongs to the parent."""
        self._forked = True
        self.stages.book.off = True
        self._pump.turn_off()
        _open_runs.discard(self)

    @property
    def name(self) -> str:
        """The run's name: the archive's file name without its ending."""
        return self.path.stem

    @property
    def kept(self) -> bool:
        """False once the run has ended without a step: then nothing is on the disk."""
        return self._completion.kept

    @property
    def socket_path(self) -> Path | None:
        """The socket that viewers connect to; None if it could not be made."""
        return self._server.path if self._server else None

    @property
    def stopping(self) -> bool:
        """True once a viewer or a rule of `stop_if` has stopped the run.

        A custom loop checks this before each step. The loops of a hooked pipeline end automatically; for those, it
        tells whether the clip is unfinished.
        """
        return self.control.stopping

    @property
    def rule_met(self) -> Finding | None:
        """The finding of a rule of `stop_if` that stopped the run, or came too late to; None without one."""
        return self._rules.finding if self._rules is not None else None

    @property
    def rows(self) -> int:
        """Rows recorded so far, of all stages and streams."""
        return self._pump.tally.rows

    @property
    def missed(self) -> int:
        """Rows that are missing so far, of all stages and streams: their steps were taken and could not be recorded."""
        return self._pump.tally.missed.total()

    @property
    def standing(self) -> str:
        """The status in a few words, with steps that could not be recorded and what is wrong with the result."""
        if self.status == "recording":
            return "live"
        tally = self._pump.tally
        missed = {paths.stream(stage, stream): count for (stage, stream), count in dict(tally.missed).items()}
        broken = broken_words(tally.broken.found)
        return standing(self.status, self.rows, missed_steps(missed), broken, tally.noise_left)

    def join(self, pipe: Any) -> None:
        """Record the calls of a further pipeline in this run, until it ends.

        Shocks need the pipeline when the run begins: in a pipeline of diffusers that joins later, none can act.

        Raises:
            RuntimeError: if the run has ended, or if the pipeline or its scheduler is being recorded already.
            ValueError: if the pipeline cannot be observed correctly.
        """
        if (hook := self.joins()) is None:
            raise RuntimeError("the run has ended; a pipeline can only join a run that is being recorded")
        hook(pipe)

    def _serve(self) -> None:
        try:
            self._server = make_server(self._journal, self.name, self.control.take, self._warn)
        except (OSError, RuntimeError) as error:
            # Without a socket the run is still recorded and can be followed in its journal.
            self._warn(f"no socket for viewers: {reason_of(error)}")

    def _notify(self) -> None:
        if self._server is not None:
            self._server.notify()

    def _archive_failed(self, message: Message) -> None:
        self.control.cannot_keep = "the archive cannot be written"
        self._pump.put(message)

    def _rule_met(self, finding: Finding) -> None:
        """Called in the rules' thread."""
        reason = reason_to_stop(finding)
        logger.warning("%s", reason)
        self._pump.put(
            event(
                "warning",
                reason,
                stage=finding.stage,
                step=finding.step,
                stream=finding.stream,
                payload={"stop_if": finding.id},
            )
        )
        self.control.stop_by_rule(reason)

    def trouble(self, what: str, error: Exception) -> None:
        """Log what could not be recorded, and add it to the run's events; the generation continues."""
        text = f"{what} could not be recorded: {reason_of(error)}"
        logger.error("%s", text, exc_info=error if logger.isEnabledFor(logging.DEBUG) else None)
        self._pump.put(event("error", text))

    def _warn(self, text: str) -> None:
        logger.warning("%s", text)
        self._pump.put(event("warning", text))

    def finish(self, status: protocol.Status, error: str | None) -> None:
        """End the run as `close` does, in its own thread.

        A Ctrl-C is raised once the archive is complete, a second one at once.
        """
        shielded(partial(self.close, status, error), "ltxtui-closer", COMPLETING)

    def close(self, status: protocol.Status, error: str | None) -> None:
        """Write the end, complete the archive, and remove the journal once the archive has everything on the disk.

        With a slow disk the journal is kept next to the complete archive, and removed later. A run in which no step was
        taken leaves nothing. Failures are logged and not raised, a disk that does not answer is not waited for, and
        threads, socket and lock are released in any case.
        """
        if self._forked or self.status != "recording":
            return
        self.status = status
        _open_runs.discard(self)
        fork_guard.unwatch(self._ticket)
        for what, function in (
            ("the end of viewers' commands", self.control.close),
            ("the end of the machine's load", self._stop_measuring_load),
            ("noise that is left", self.stages.report_left),
            ("what was lost", self._report_losses),
        ):
            try:
                function()
            except Exception as failure:  # noqa: BLE001 - the run must be closed in any case
                self.trouble(what, failure)
        ended = self._pump.close(run_messages.end(status, error))
        if self._rules is not None:
            self._rules.close()
        if ended:
            self._completion.complete(status)
        else:
            self._completion.complete_later(status)

    def _report_losses(self) -> None:
        for text in self._archivist.losses():
            self._pump.put(event("warning", text))

    def _release(self, remove: bool) -> None:
        """Release lock, journal and socket; connected viewers are sent the rest first."""
        try:
            self._journal.release(remove)
        except OSError as refused:
            logger.warning("the journal of %s stays next to it: %s", self.path, reason_of(refused))
        if self._server is not None:
            self._server.close()
        else:
            self._journal.close()


_open_runs: set[RunHandle] = set()
"""Runs that have not been ended."""


def _end_open_runs() -> None:
    """End, when the process exits, runs whose block is still open, such as one in a notebook or a daemon thread."""
    for run in list(_open_runs):
        run.finish("interrupted", "the process ended while it was recorded")
    journal_removal.wait_for_late()


atexit.register(_end_open_runs)
