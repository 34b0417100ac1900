"""`ltxtui sweep FOLDER --join`: make runs of a sweep together with any number of other makers."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ltxtui.cli.common import CliError, command_line
from ltxtui.cli.sweeps.runs import check_extra, making, note, progress, say_failures, warn_of_versions
from recorder.format.numerals import counted
from recorder.system.open_folders import make_folders

if TYPE_CHECKING:
    from recorder.sweep.claims import Claims
    from recorder.sweep.runner import JobResult
    from recorder.sweep.spec import Sweep
    from replay.sweep.job_runs import JobRuns

_NO_LOCKS: Final = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}


def join(folder: Path, asked: Sweep, workers: int, gpus: Sequence[str], *, extend: bool) -> Sweep:
    """Make runs as long as there are free ones, and others are at work; exits with status 130 if interrupted.

    Args:
        folder: of the sweep, on a disk that all makers share.
        asked: the sweep as stored, or the one to begin with if there is none.
        workers: processes that make runs.
        gpus: one for each of them; empty to leave that to torch.
        extend: whether `asked` is the stored one with more seeds and arms.

    Returns:
        The sweep as it is stored.

    Raises:
        CliError: if a process makes it alone, the folder cannot be used, or no worker can run.
    """
    from recorder.sweep import claims, spec
    from recorder.sweep.makers import CLAIMS_VERSION, Heartbeat, Watch, makers_at_work
    from recorder.sweep.runner import log_of, run_jobs
    from recorder.sweep.shared_jobs import SharedJobs
    from replay.sweep.job_runs import JobRuns

    with making(folder, folder / spec.LOGS, command_line("ltxtui", "sweep", folder, "--join")) as stack:
        make_folders(folder)
        heartbeat = stack.enter_context(Heartbeat(claims.prepare(folder), note))
        place, own = heartbeat.file.parent, heartbeat.maker.id
        if alone := makers_at_work(place, own, note, only_alone=True):
            raise spec.SweepBusy(
                f"{alone[0].name} makes the sweep in {folder} alone; stop it, and start it with --join"
            )
        made = _begun(folder, asked, extend)
        own_claims, watch, runs = claims.Claims(folder, made.id, own), Watch(place), JobRuns(folder, made)
        if watch.newest_version() > CLAIMS_VERSION:
            raise spec.SweepBusy(f"{folder} is shared by a newer version of ltxtui; upgrade this one")
        _adopt(made, own_claims, runs)
        jobs = SharedJobs(own_claims, watch, made.jobs(), runs, note)
        known = jobs.done_count()
        missing = len(made.jobs()) - known
        if not missing:
            return made
        check_extra()
        warn_of_versions(made)
        click.echo(f"{counted(missing, 'run')} to make, {known} done already, together in {folder}", err=True)
        workers = min(workers, missing)
        told = stack.enter_context(progress(known, missing, workers))

        def told_of_all(answer: JobResult, dropped: int) -> None:
            nonlocal known
            with contextlib.suppress(OSError):  # it is counted at the next run
                before, known = known, jobs.done_count()
                dropped += max(0, known - before - (answer.error is None))
            told(answer, dropped)

        failed = run_jobs(folder, jobs, workers, told_of_all, gpus=gpus[:workers], heartbeat=heartbeat)
        arms = {**jobs.failed_elsewhere, **{f.job.arm: str(f.error) for f in reversed(failed)}}
        say_failures(arms, log_of(folder, heartbeat) if failed else folder / spec.LOGS)
    return made


def _begun(folder: Path, asked: Sweep, extend: bool) -> Sweep:
    """The sweep as it is stored, begun or extended if that is asked for.

    Raises:
        CliError: if another one was begun there in the meantime.
        SweepBusy: if it is being extended by another process.
        OSError: if the folder cannot be used.
    """
    from recorder.sweep import spec

    stored = spec.begin(folder, asked)
    if not extend:
        if different := stored.differences(asked):
            raise CliError(f"{folder} holds another sweep: {'; '.join(different)}; choose another folder")
        return stored
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(spec.ownership(folder))
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        stored = spec.read(folder)
        more = stored.extended(asked)
        if stored.differences(more):
            spec.write(folder, more)
        return more


def _adopt(made: Sweep, claims: Claims, runs: JobRuns) -> None:
    """Mark the jobs that were made before the sweep was shared, and say what is marked and no longer there.

    Raises:
        OSError: if the folder cannot be used.
    """
    from recorder.sweep.claims import key_of

    listed = claims.listed()
    jobs = {key_of(job): job for job in made.jobs()}
    unclaimed = {job for key, job in jobs.items() if key not in listed.last and key not in listed.done}
    for job, run in runs.all_finished({job for job in unclaimed if runs.has(job)}).items():
        claims.mark_done(key_of(job), run)
    gone = sum(key in jobs and runs.lacks(jobs[key]) for key in listed.done)
    if gone:
        note(
            f"{counted(gone, 'run')} marked as made {'are' if gone > 1 else 'is'} not in the folder any more; once no "
            "maker is at work, a start without --join makes what is missing"
        )
