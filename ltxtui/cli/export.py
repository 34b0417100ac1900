"""`ltxtui export`: runs as tables, and as runs of other tools, recorded or while they are being recorded."""

from __future__ import annotations

import contextlib
import selectors
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ltxtui.cli.common import MAX_NAMED, CliError, LocalPath, open_source, recorded_path, runs_dir_option, say
from ltxtui.plot.text import clean
from recorder.format import locations
from recorder.format.events import reason_of
from recorder.format.framing import CorruptMessage
from replay.export.names import ALL, TABLES, TO

if TYPE_CHECKING:
    from replay.export.targets import Prepared
    from replay.export.walk import Walk
    from replay.library.live_runs import LiveRun
    from replay.sources.open import Source

_FITS: Final = {
    "layout": ("csv", "parquet"),
    "table": ("csv", "parquet"),
    "project": ("wandb", "trackio"),
    "offline": ("wandb",),
    "overwrite": ("csv", "parquet", "tensorboard", "rerun"),
}
"""Options that only some targets have."""
PERIOD: Final = 0.2
"""Least seconds between two looks at a run that is followed."""
_PATIENCE: Final = 1.0


@click.command(
    epilog="""\b
Examples:
  ltxtui export red-disc --to csv                        a row per step, a column per metric
  ltxtui export red-disc --to csv --layout long -o -     a row per value, on standard output
  ltxtui export smooth spike --to csv -o both.csv        two runs in one table
  ltxtui export red-disc --to csv --table all -o tables  steps, stages, summaries, events, load, runs
  ltxtui export red-disc --to parquet                    for pandas, DuckDB and Polars
  ltxtui export smooth spike --to tensorboard            look: tensorboard --logdir tensorboard
  ltxtui export red-disc --to wandb --offline -o .       upload later: wandb sync with the printed path
  ltxtui export red-disc --to trackio -o trackio-data    look: TRACKIO_DIR=trackio-data trackio show
  ltxtui export red-disc --to rerun                      look: rerun and the printed path
  ltxtui export --follow --to csv -o live.csv            the live run, until it ends

\b
Libraries are installed with: pip install 'ltxtui[parquet]', and so on by the name of the target; csv needs none.
"""
)
@click.argument("given", metavar="[RUN…]", nargs=-1)
@click.option("--to", type=click.Choice(TO), required=True, help="The format or tool.")
@click.option(
    "--output",
    "-o",
    type=LocalPath(path_type=Path),
    help="A file or folder, by the target; - is standard output, for csv. Default: named after the run, here.",
)
@click.option(
    "--layout",
    type=click.Choice(["wide", "long"]),
    default="wide",
    show_default=True,
    help="Of the table of steps: a row per step and clip, or a row per value. Both hold every value.",
)
@click.option("--table", type=click.Choice([*TABLES, ALL]), default="steps", show_default=True, help="Which table.")
@click.option("--follow", is_flag=True, help="Export a live run as it is recorded, until it ends.")
@click.option("--overwrite", is_flag=True, help="Replace what exists at the place of the output.")
@click.option("--project", default="ltxtui", show_default=True, help="Project of the tracker that gets the runs.")
@click.option("--offline", is_flag=True, help="wandb: need neither network nor account.")
@runs_dir_option
@click.pass_context
def export(
    context: click.Context, /, given: tuple[str, ...], to: str, output: Path | None, follow: bool, runs_dir: Path,
    **options: Any,
) -> None:  # fmt: skip
    """Export runs to other tools: every step, stage, event and picture, with the settings as config.

    RUN is a path, or a part of a run's name; without one the newest run is exported. Runs that are not finished are
    exported as far as they have got. The printed paths are those of the results.

    Tools show metrics as video/velocity_rms and pictures as video/x0, over the steps of all stages.

    --follow is a viewer of one live run, named by RUN if there are several: a target that is slow or cannot be reached
    delays the export, and never the run. Ctrl-C ends the export and keeps what was exported.
    """
    _check_options(context, to)
    if follow:
        if len(given) > 1:
            raise click.UsageError("--follow takes one run")
        name, source = _live(given[0] if given else None, runs_dir)
        opened: list[tuple[str, Path | Source]] = [(name, source)]
    else:
        paths = [recorded_path(one, runs_dir) for one in given] or [_newest(runs_dir)]
        opened = [(locations.run_name(path), path) for path in paths]
    stdout = sys.stdout
    with _problems(to):
        from replay.export.targets import Wanted, prepared

        wide = options.pop("layout") == "wide"
        names = [name for name, _ in opened]
        ready = prepared(Wanted(to, names, output, wide=wide, follow=follow, stdout=stdout, **options))
        _export(ready, [one for _, one in opened])
    for place in ready.places():
        click.echo(clean(place, 4000))


def _check_options(context: click.Context, to: str) -> None:
    for option, targets in _FITS.items():
        given = context.get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE
        if given and to not in targets:
            raise click.UsageError(f"--{option} is for --to {' and '.join(targets)}")


def _newest(runs_dir: Path) -> Path:
    from replay.library.listing import archives_in

    found = sorted(archives_in(runs_dir))
    if not found:
        raise CliError(f"no runs in {runs_dir}; record one with: ltxtui demo, or choose another folder with --runs-dir")
    return found[-1]


@contextlib.contextmanager
def _problems(to: str) -> Iterator[None]:
    """What goes wrong in an export, in one line: libraries raise exceptions of any kind."""
    from replay.export.problems import ExportProblem

    try:
        # Libraries print what they do; the output of this command is the places, or a table.
        with contextlib.redirect_stdout(sys.stderr):
            yield
    except click.ClickException:
        raise
    except ExportProblem as error:
        raise CliError(str(error)) from error
    except BrokenPipeError:
        raise
    except OSError as error:
        where = str(error.filename or to).removesuffix(".part")
        raise CliError(f"{where} cannot be written: {error.strerror or error}") from error
    except Exception as error:
        remedy = "; without an account use --offline" if to == "wandb" and "key" in str(error).lower() else ""
        raise CliError(f"{to} failed: {reason_of(error)}{remedy}") from error


def _export(ready: Prepared, opened: Sequence[Path | Source]) -> None:
    """Give runs to a target, and close it whatever happens."""
    from replay.export.walk import Walk

    complete = False
    try:
        walks: list[Walk] = []
        for one in opened:
            walk = Walk(ready.target)
            if not isinstance(one, Path):
                _follow(walk, one, ready)
                continue
            _read(walk, one)
            if ready.needs_runs:
                walks.append(walk)
                ready.runs.append(walk.run)
            else:
                walk.turn(over=True)
        for walk in walks:
            walk.turn(over=True)
        complete = True
    finally:
        try:
            ready.target.close()
            complete = complete or any(not isinstance(one, Path) for one in opened)
            (ready.settle if complete else ready.discard)()
        except BaseException:
            ready.discard()
            raise


def _read(walk: Walk, path: Path) -> None:
    """Read a recorded run, as far as it is recorded."""
    from replay.sources.open import damage_of

    with contextlib.closing(open_source(path)) as source, _of_run(path):
        while messages := source.poll():
            walk.feed(messages)
        _warn(walk, damage_of(source))


@contextlib.contextmanager
def _of_run(path: Path) -> Iterator[None]:
    """Reading, whose errors are not those of the target."""
    from replay.model.validation import NotARun

    try:
        yield
    except (NotARun, CorruptMessage) as error:
        raise CliError(f"{path}: {error}") from error
    except OSError as error:
        raise CliError(f"{path} cannot be read: {error.strerror or error}") from error


def _warn(walk: Walk, damage: str) -> None:
    name = clean(walk.run.name)
    for what in (f"is damaged: {damage}" if damage else "", walk.run.note):
        if what:
            say(f"ltxtui: {name}: {clean(what, 400)}")


def _follow(walk: Walk, source: Source, ready: Prepared) -> None:
    """Pass a live run on as it is recorded, until it is over."""
    from replay.sources.open import Liveness, damage_of

    with contextlib.closing(source):
        announced = False
        while True:
            with _of_run(Path(walk.run.name or "the run")):
                messages = source.poll()
                walk.feed(messages)
            if walk.run.name and not announced:
                announced = True
                say(f"exporting {clean(walk.run.name)} until it ends; Ctrl-C ends the export, and not the run")
            over = not messages and source.liveness is not Liveness.LIVE
            walk.turn(over=over)
            if over:
                _warn(walk, damage_of(source))
                return
            if not messages:
                ready.target.flush()
                _wait(source)


def _wait(source: Source) -> None:
    time.sleep(PERIOD)
    if (descriptor := source.fileno()) is not None:
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            selector.select(_PATIENCE)


def _live(given: str | None, runs_dir: Path) -> tuple[str, Source]:
    """The live run to follow, by a part of its name; or a recorded one, which may just have ended, or whose socket is
    elsewhere."""
    found = [run for run in _live_runs() if given is None or given in run.name]
    if len(found) == 1:
        return found[0].name, _opened(found[0])
    if found:
        names = ", ".join(clean(run.name) for run in found[:MAX_NAMED])
        raise CliError(f"{len(found)} live runs match: {names}; name one of them")
    if given is None:
        raise CliError("no live run; start one with: ltxtui record, or export a recorded one without --follow")
    path = recorded_path(given, runs_dir)
    return locations.run_name(path), open_source(path)


def _live_runs() -> list[LiveRun]:
    from recorder.format.locations import UnsafeLocation
    from replay.library.live_runs import live_runs

    try:
        return live_runs()
    except UnsafeLocation as error:
        raise CliError(str(error)) from error


def _opened(run: LiveRun) -> Source:
    from replay.sources.reconnect import open_live

    if not run.answers:
        return open_source(run.archive)
    try:
        return open_live(run.socket, run.archive)
    except OSError as error:
        raise CliError(f"{run.name} no longer answers ({error.strerror or error}); see: ltxtui runs") from error
