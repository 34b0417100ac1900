"""`ltxtui baseline`: what is usual, from runs that are good."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ltxtui.cli.common import CliError, json_option, load_run, recorded_path, runs_dir_option
from ltxtui.plot.text import clean

if TYPE_CHECKING:
    from replay.baseline import Baseline

FORMAT: Final = 1
_SHOWN: Final = (0.9, 0.5, 0.1)
"""σ at which `show` prints the usual range."""


@click.group(
    epilog="""\b
Examples:
  ltxtui baseline add smooth red-disc     two runs that are good; from five on, explain uses them
  ltxtui baseline show                    what there is
  ltxtui baseline clear smooth            take a run out again
"""
)
def baseline() -> None:
    """The usual range of every metric, from runs that you call good: per model and size, at equal σ.

    `ltxtui explain` notes where a run leaves the range from the 10th to the 90th percentile by more than its width,
    for three steps or more; the fewer curves there are, the further. Baselines are kept in the user's data directory;
    LTXTUI_DATA names another one.
    """


@baseline.command(
    epilog="""\b
Examples:
  ltxtui baseline add smooth
  ltxtui baseline add runs/20261122-143015-smooth.zarr red-disc
"""
)
@click.argument("runs", nargs=-1, required=True, metavar="RUN…")
@runs_dir_option
def add(runs: tuple[str, ...], runs_dir: Path) -> None:
    """Add complete runs of one model and size. A run that is in it already is replaced."""
    from replay import baseline_store

    with _problems():
        changed = baseline_store.add([load_run(recorded_path(run, runs_dir)) for run in runs])
    for each in changed:
        click.echo(_line(each))


@baseline.command(
    epilog="""\b
Examples:
  ltxtui baseline show
  ltxtui baseline show --json | jq .baselines
"""
)
@click.argument("runs", nargs=-1, metavar="[RUN…]")
@json_option('{"baseline": 1, "baselines": [{"model", "size", "runs", "curves"}…]} on standard output.')
@runs_dir_option
def show(runs: tuple[str, ...], as_json: bool, runs_dir: Path) -> None:
    """List the baselines; with runs, the usual ranges of those for their models and sizes."""
    from replay import baseline_store

    with _problems():
        found = baseline_store.read_all()
        wanted = [each for run in runs for each in _of_run(run, runs_dir, found)] if runs else found
    if as_json:
        click.echo(json.dumps({"baseline": FORMAT, "baselines": [_as_json(b) for b in wanted]}, indent=2))
        return
    for each in wanted:
        click.echo(_line(each))
        for line in _ranges(each) if runs else [f"  {clean(name)}" for name in each.runs]:
            click.echo(line)
    if not wanted:
        click.echo("no baseline; make one with: ltxtui baseline add RUN…")


@baseline.command(
    epilog="""\b
Examples:
  ltxtui baseline clear smooth
  ltxtui baseline clear --all
"""
)
@click.argument("runs", nargs=-1, metavar="[RUN…]")
@click.option("--all", "everything", is_flag=True, help="Remove all baselines.")
def clear(runs: tuple[str, ...], everything: bool) -> None:
    """Take runs out of all baselines, by their names or parts of them; the runs themselves stay."""
    from replay import baseline_store

    if bool(runs) == everything:
        raise click.UsageError("give runs, or --all")
    with _problems():
        known = {name for each in baseline_store.read_all() for name in each.runs}
        given = [Path(run).name.removesuffix(".zip").removesuffix(".zarr") for run in runs]
        names = [name for name in known if any(part in name for part in given)]
        removed = baseline_store.clear(None if everything else names)
    for name in removed:
        click.echo(f"removed: {clean(name)}")
    if not removed:
        click.echo("no baseline has such a run" if runs else "no baseline")


def _of_run(run: str, runs_dir: Path, known: list[Baseline]) -> list[Baseline]:
    """The baselines for a run. Raises CliError, with what there is, if there is none."""
    from replay.baseline import model_of, size_of, streams_of

    loaded = load_run(recorded_path(run, runs_dir))
    model, sizes = model_of(loaded), [size_of(stream) for _, stream in streams_of(loaded)]
    found = [each for each in known if each.model == model and each.size in sizes]
    if not found:
        there = "; ".join(f"{each.model}, {each.size}" for each in known) or "none"
        raise CliError(
            f"no baseline for {loaded.name}: it is of the model {model}, {', '.join(sizes)}; baselines: {there}"
        )
    return found


def _line(found: Baseline) -> str:
    from replay.baseline import FEWEST

    count = len(found.curves)
    few = "" if count >= FEWEST else f"; explain uses it from {FEWEST} curves on"
    return f"{clean(found.model)}, {found.size}: {len(found.runs)} runs, {count} curves{few}"


def _ranges(found: Baseline) -> Iterator[str]:
    import numpy as np

    from replay.baseline import band

    for metric in sorted({name for curves in found.curves for name in curves}):
        usual = band(found, metric, np.array(_SHOWN))
        ranges = [
            f"σ {level:g}: {low:.3g} to {high:.3g}"
            for level, low, high in zip(_SHOWN, usual.low, usual.high, strict=True)
            if low == low
        ]
        yield f"  {clean(metric)}  {'  '.join(ranges)}"


def _as_json(found: Baseline) -> dict[str, Any]:
    return {"model": found.model, "size": found.size, "runs": list(found.runs), "curves": len(found.curves)}


@contextmanager
def _problems() -> Iterator[None]:
    from replay.baseline import OtherBaseline
    from replay.baseline_store import CannotBeUsual

    try:
        yield
    except (OtherBaseline, CannotBeUsual) as error:
        raise CliError(str(error)) from error
    except OSError as error:
        raise CliError(f"the baseline cannot be read or written: {error.strerror or error}") from error
