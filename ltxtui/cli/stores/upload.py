"""`ltxtui upload`, and `--upload` of commands that make runs: copies on an object store."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import click

from ltxtui.cli.common import CliError, Command, command_line, recorded_path, runs_dir_option, say, store_problems
from ltxtui.plot.text import clean
from recorder.format.numerals import counted
from replay.remote.stores.address import StoreAddress, is_store, parse_store
from replay.remote.stores.upload import UploadTarget, check_target


def upload_option(command: Command) -> Command:
    """`--upload URL`."""
    return click.option(
        "--upload",
        "upload_to",
        metavar="URL",
        help="Copy what was made to a folder on a store, such as s3://bucket/runs, at its end. It stays here too.",
    )(command)


def target_of(text: str) -> UploadTarget:
    """Where `--upload` leads, looked at before a run is made.

    Raises:
        CliError: if nothing can be uploaded there.
    """
    target = _parsed(text)
    with store_problems():
        note = check_target(target)
    if note:
        say(f"note: {clean(note, 400)}")
    return target


def _parsed(text: str) -> UploadTarget:
    if not is_store(text):
        raise CliError(f"{text} is not the address of an object store; use one such as s3://bucket/runs")
    with store_problems():
        return UploadTarget.of(parse_store(text))


def upload_runs(paths: Sequence[Path], target: UploadTarget, again: str) -> list[StoreAddress]:
    """Upload runs, and say what is done.

    Args:
        paths: archives of runs that have ended.
        target: where to.
        again: the command that does it again, if it fails.

    Raises:
        CliError: if one cannot be uploaded; what is here stays as it is.
    """
    from replay.remote.stores.upload import upload as write

    done = 0

    def told(address: StoreAddress, existed: bool) -> None:
        nonlocal done
        done += 1
        say(f"{'is there already' if existed else 'uploaded'}: {clean(address.shown, 400)}")

    def kept() -> str:
        if len(paths) == 1:
            return "the run is kept here"
        return f"all runs are kept here; {done} of {counted(len(paths), 'run')} uploaded"

    with _problems(lambda: f"{kept()}; again with: {again}"):
        return write(paths, target, told)


@contextlib.contextmanager
def _problems(way_out: Callable[[], str]) -> Iterator[None]:
    """What goes wrong in an upload, in one line that ends in what is kept and how to go on."""
    from replay.packed.pack import CannotPack

    try:
        with store_problems():
            yield
    except CannotPack as error:
        raise CliError(clean(error, 400)) from error
    except CliError as error:
        raise CliError(f"{error.message} ({way_out()})") from error
    except OSError as error:
        raise CliError(f"{error.filename or 'the upload'}: {error.strerror or error} ({way_out()})") from error


def uploader(text: str | None) -> Callable[[Path], None] | None:
    """What uploads a run once it has ended, to where `--upload` leads; None without it.

    Raises:
        CliError: if nothing can be uploaded there.
    """
    if text is None:
        return None
    target = target_of(text)

    def upload(archive: Path) -> None:
        upload_runs([archive], target, command_line("ltxtui", "upload", os.fspath(archive), text))

    return upload


def sweep_uploader(text: str | None) -> Callable[[Path, Sequence[Path]], None] | None:
    """What uploads a sweep's folder and its runs; None without `--upload`. Raises CliError as `uploader`."""
    if text is None:
        return None
    target = target_of(text)
    if target.object:
        raise CliError(f"{text} is one object; give a folder for a sweep")

    def upload(folder: Path, runs: Sequence[Path]) -> None:
        from recorder.sweep import spec
        from replay.remote.stores.upload import upload_file

        again = command_line("ltxtui", "sweep", folder, "--upload", text)
        there = target.folder.below(spec.RUNS)

        def way_out() -> str:
            return f"the sweep is kept here; again with: {again}"

        with _problems(way_out):  # first: another sweep there is told before any run is uploaded
            upload_file(folder / spec.SPEC, target.folder.below(spec.SPEC))
        upload_runs(runs, UploadTarget(there), again)
        with _problems(way_out):
            upload_file(folder / spec.RESULTS, target.folder.below(f"results-of-{len(runs)}-runs.csv"))
        say(f"  its runs: {command_line('ltxtui', 'runs', '--runs-dir', there.shown)}")

    return upload


@click.command(
    epilog="""\b
Examples:
  ltxtui upload red-disc s3://bucket/runs                  one object, red-disc.zarr.zip, and a line in the index
  ltxtui upload smooth spike gs://bucket/ltx/runs
  ltxtui upload red-disc hf://datasets/me/runs
  ltxtui runs --runs-dir s3://bucket/runs                  what is there
  ltxtui replay s3://bucket/runs/red-disc                  from anywhere

\b
Each store is an extra: pip install 'ltxtui[s3]', 'ltxtui[gcs]' or 'ltxtui[hf]'.
"""
)
@click.argument("given", metavar="RUN... URL", nargs=-1, required=True)
@runs_dir_option
def upload(given: tuple[str, ...], runs_dir: Path) -> None:
    """Copy runs that have ended to a folder on an object store, packed.

    RUN is a path, or a part of a run's name. URL is a folder, or for one run an object that ends in .zarr.zip. Nothing
    there is overwritten: a run that is there already is left as it is, and another object of its name is an error. The
    run here stays.
    """
    *names, place = given
    if not names:
        raise CliError(f"name the runs and then the folder: ltxtui upload RUN {place if is_store(place) else 'URL'}")
    target = _parsed(place)
    if target.object and len(names) > 1:
        raise CliError(f"{place} is one object; give a folder for {len(names)} runs")
    paths = [recorded_path(name, runs_dir) for name in names]
    for address in upload_runs(paths, target, command_line("ltxtui", "upload", *map(os.fspath, paths), place)):
        click.echo(clean(str(address), 4000))
