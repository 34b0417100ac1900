"""The runs of `ltxtui sweep`: make those that are missing, with progress, and report those that failed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ltxtui.cli.common import CliError, command_line, is_terminal, say
from ltxtui.plot.text import clean
from recorder.format.numerals import counted
from recorder.system.open_folders import make_folders

if TYPE_CHECKING:
    from recorder.sweep.runner import JobResult
    from recorder.sweep.spec import Job, Sweep

PLAIN_LINES = 40
"""Most lines of progress where standard error is not a terminal."""


def make_missing(folder: Path, made: Sweep, workers: int) -> None:
    """Make the missing runs of a sweep; exits with status 130 if interrupted.

    Raises:
        CliError: if another process makes them, the folder cannot be used, or no worker can run.
    """
    from recorder.sweep import spec
    from recorder.sweep.jobs import JobList
    from recorder.sweep.runner import Stopped, run_jobs, wait_for_workers
    from recorder.system.signals import as_ctrl_c
    from replay.sweep.results import discard, find_runs, finished

    done: dict[Job, Path] = {}
    try:
        make_folders(folder)
        with ExitStack() as stack:
            stack.enter_context(as_ctrl_c())
            stack.enter_context(spec.ownership(folder))
            wait_for_workers(folder, lambda said: click.echo(said, err=True))
            spec.write(folder, made)
            found = find_runs(folder, made)
            done = finished(folder, found, made)
            jobs = [job for job in made.jobs() if job not in done]
            if not jobs:
                return
            _check_extra()
            _warn_of_versions(made)
            wanted = set(jobs)
            discard(f for f in found if f.job in wanted)
            click.echo(f"{counted(len(jobs), 'run')} to make, {len(done)} done already, in {folder}", err=True)
            progress = stack.enter_context(_progress(len(done), len(jobs), workers))
            failed = run_jobs(folder, JobList(jobs), min(workers, len(jobs)), progress)
    except spec.SweepBusy as error:
        raise CliError(str(error)) from error
    except OSError as error:
        raise CliError(f"{folder} cannot be used: {error.strerror or error}") from error
    except Stopped as error:
        raise CliError(f"{error} (finished runs are kept; details in {folder / spec.LOG})") from error
    except KeyboardInterrupt:
        say(f"ltxtui: interrupted; finished runs are kept, resume with: {command_line('ltxtui', 'sweep', folder)}")
        sys.exit(130)
    _say_failures(failed, folder)


def _check_extra() -> None:
    from recorder.generate import CannotGenerate, check_extra

    try:
        check_extra()
    except CannotGenerate as error:
        raise CliError(str(error)) from error


def _warn_of_versions(made: Sweep) -> None:
    from recorder.sampling.metadata import versions

    here = versions()
    changed = [f"{k} {v} then, {here[k]} now" for k, v in made.versions.items() if here.get(k, v) != v]
    if changed:
        said = clean("; ".join(changed))
        click.echo(f"note: the sweep was begun with other versions ({said}); runs may not be exact pairs", err=True)


def _say_failures(failed: list[JobResult], folder: Path) -> None:
    from recorder.sweep import spec

    arms: dict[str, str] = {}
    for answer in failed:
        arms.setdefault(answer.job.arm, str(answer.error))
    for arm, reason in arms.items():
        click.echo(f"ltxtui: {clean(arm)} failed: {clean(reason)}", err=True)
    if arms:
        click.echo(f"ltxtui: see {folder / spec.LOG}; the sweep tries these again when it is resumed", err=True)


@contextmanager
def _progress(done: int, more: int, workers: int) -> Iterator[Callable[[JobResult, int], None]]:
    """A progress bar on a terminal, otherwise a few lines; both estimate the time left."""
    if is_terminal(sys.stderr):
        from tqdm import tqdm

        with tqdm(total=done + more, initial=done, unit="run", dynamic_ncols=True, file=sys.stderr) as bar:

            def draw(answer: JobResult, dropped: int) -> None:
                bar.set_postfix_str(f"{clean(answer.job.arm)} seed {answer.job.seed}", refresh=False)
                bar.update(1 + dropped)

            yield draw
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
