"""The runs of `ltxtui sweep`: make those that are missing, with progress, and report those that failed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ltxtui.cli.common import CliError, command_line, is_terminal, say
from ltxtui.plot.text import clean
from recorder.format.numerals import counted
from recorder.system.open_folders import make_folders

if TYPE_CHECKING:
    from recorder.sweep.on_ray.request import RayRequest
    from recorder.sweep.runner import JobResult
    from recorder.sweep.spec import Job, Sweep

PLAIN_LINES = 40
"""Most lines of progress where standard error is not a terminal."""
_bars: list[Any] = []
"""The progress bar that is on the terminal, if any; other threads write, too."""


def make_missing(
    folder: Path, made: Sweep, workers: int, gpus: Sequence[str] = (), ray: RayRequest | None = None
) -> None:
    """Make the missing runs of a sweep, alone; exits with status 130 if interrupted.

    Args:
        folder: of the sweep.
        made: what it holds.
        workers: processes that make runs.
        gpus: one for each of them; empty to leave that to torch.
        ray: makes them on a Ray cluster instead.

    Raises:
        CliError: if another process makes them, the folder cannot be used, or no worker can run.
    """
    from recorder.sweep import claims, spec
    from recorder.sweep.jobs import JobList
    from recorder.sweep.makers import Heartbeat, makers_at_work
    from recorder.sweep.runner import run_jobs, wait_for_workers
    from replay.sweep.results import discard, find_runs, finished

    with making(folder, folder / spec.LOG, command_line("ltxtui", "sweep", folder)) as stack:
        make_folders(folder)
        stack.enter_context(spec.ownership(folder))
        heartbeat = stack.enter_context(Heartbeat(claims.prepare(folder), note, alone=True))
        wait_for_workers(folder, lambda said: click.echo(said, err=True))
        if others := makers_at_work(heartbeat.file.parent, heartbeat.maker.id, note):
            raise spec.SweepBusy(f"{', '.join(m.name for m in others)} is at work in {folder}; join it with --join")
        claims.clear(folder, keep=[heartbeat.file])
        spec.write(folder, made)
        found = find_runs(folder, made)
        done = finished(folder, found, made)
        jobs = [job for job in made.jobs() if job not in done]
        if not jobs:
            return
        if ray is None:
            check_extra()
            warn_of_versions(made)
        wanted = set(jobs)
        discard(f for f in found if f.job in wanted)
        click.echo(f"{counted(len(jobs), 'run')} to make, {len(done)} done already, in {folder}", err=True)
        if ray is not None:
            failed = _on_ray(folder, made, jobs, ray, partial(progress, len(done), len(jobs)))
        else:
            workers = min(workers, len(jobs))
            told = stack.enter_context(progress(len(done), len(jobs), workers))
            failed = run_jobs(folder, JobList(jobs), workers, told, gpus=gpus[:workers], heartbeat=heartbeat)
        say_failures({f.job.arm: str(f.error) for f in reversed(failed)}, folder / spec.LOG)


def _on_ray(
    folder: Path,
    made: Sweep,
    jobs: list[Job],
    ray: RayRequest,
    begin: Callable[[int], AbstractContextManager[Callable[[JobResult, int], None]]],
) -> list[JobResult]:
    """Make runs on a Ray cluster; gives those that failed. Raises CliError if the cluster cannot be used."""
    from recorder.sweep.on_ray.cluster import NoCluster
    from recorder.sweep.on_ray.run import run_on_ray
    from replay.sweep.results import discard, find_runs, finished

    def announced(line: str, workers: int) -> AbstractContextManager[Callable[[JobResult, int], None]]:
        say(line)
        return begin(workers)

    def kept(job: Job) -> bool:
        found = [run for run in find_runs(folder, made) if run.job == job]
        if job in finished(folder, found, made):
            return True
        discard(found)
        return False

    try:
        return run_on_ray(folder, made, jobs, ray, announced, note, kept)
    except NoCluster as error:
        raise CliError(str(error)) from error


@contextmanager
def making(folder: Path, log: Path, resume: str) -> Iterator[ExitStack]:
    """What is entered into the stack is left before an interrupt is reported; exits with status 130 then.

    Raises:
        CliError: for what may go wrong while runs are made.
    """
    from recorder.sweep import spec
    from recorder.sweep.runner import Stopped
    from recorder.system.signals import as_ctrl_c

    try:
        with as_ctrl_c(batch=True), ExitStack() as stack:
            yield stack
    except (spec.SweepBusy, spec.NotASweep) as error:
        raise CliError(str(error)) from error
    except OSError as error:
        raise CliError(f"{folder} cannot be used: {error.strerror or error}") from error
    except Stopped as error:
        raise CliError(f"{error} (finished runs are kept; details in {log})") from error
    except KeyboardInterrupt:
        say(f"ltxtui: interrupted; finished runs are kept, resume with: {resume}")
        sys.exit(130)


def note(line: str) -> None:
    """Say something about other makers, whose names come from files, above a progress bar if there is one."""
    for bar in _bars:
        bar.clear()
    say(f"note: {clean(line)}")
    for bar in _bars:
        bar.refresh()


def check_extra() -> None:
    """Raises CliError if the libraries that make runs are missing."""
    from recorder import generate

    try:
        generate.check_extra()
    except generate.CannotGenerate as error:
        raise CliError(str(error)) from error


def warn_of_versions(made: Sweep) -> None:
    """Say if the sweep was begun with other software than this."""
    from recorder.sampling.metadata import versions

    here = versions()
    changed = [f"{k} {v} then, {here[k]} now" for k, v in made.versions.items() if here.get(k, v) != v]
    if changed:
        said = clean("; ".join(changed))
        click.echo(f"note: the sweep was begun with other versions ({said}); runs may not be exact pairs", err=True)


def say_failures(arms: Mapping[str, str], log: Path) -> None:
    """Say which arms failed, each with one reason."""
    for arm, reason in arms.items():
        click.echo(f"ltxtui: {clean(arm)} failed: {clean(reason)}", err=True)
    if arms:
        click.echo(f"ltxtui: see {log}; the sweep tries these again when it is resumed", err=True)


@contextmanager
def progress(done: int, more: int, workers: int) -> Iterator[Callable[[JobResult, int], None]]:
    """A progress bar on a terminal, otherwise a few lines; both estimate the time left."""
    if is_terminal(sys.stderr):
        from tqdm import tqdm

        with tqdm(total=done + more, initial=done, unit="run", dynamic_ncols=True, file=sys.stderr) as bar:
            _bars.append(bar)

            def draw(answer: JobResult, dropped: int) -> None:
                bar.set_postfix_str(f"{clean(answer.job.arm)} seed {answer.job.seed}", refresh=False)
                bar.update(1 + dropped)

            try:
                yield draw
            finally:
                _bars.remove(bar)
        return
    count, spent = 0, 0.0

    def say(answer: JobResult, dropped: int) -> None:
        nonlocal count, spent
        from ltxtui.plot.text import duration

        before, count, spent = count, count + 1 + dropped, spent + answer.seconds
        step = max(1, more // PLAIN_LINES)
        if count // step > before // step or count == more:
            left = spent / count * (more - count) / workers
            ahead = f", about {duration(left)} left" if count < more else ""
            click.echo(f"run {done + count}/{done + more}{ahead}", err=True)

    yield say
