"""`ltxtui compare`: runs side by side as text, as JSON or on the screen, compared with the first of them."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ltxtui.cli.common import Problem, coloured, need_terminal, recorded_path, runs_dir_option
from ltxtui.plot.text import clean

if TYPE_CHECKING:
    from ltxtui.screens.base import ActionScreen
    from replay.comparison.compare import Comparison
    from replay.model.run import Run

MAX_RUNS = 8
MAX_WIDTH = 100
_COLOURS = {"s1": "cyan", "s2": "yellow", "s3": "magenta", "axis": "bright_black", "tick": "bright_black"}


@click.command(
    epilog="""\b
Examples:
  ltxtui compare smooth spike                          a part of a name that one run alone has
  ltxtui compare 20261122-143015-smooth 20261122-143109-restart
  ltxtui compare --tui A.zarr B.zarr C.journal         on the screen, under one cursor
  ltxtui compare A.zarr B.zarr --align sigma           the same noise level, however it was reached
  ltxtui compare A.zarr B.zarr --metric std --metric max_abs --tolerance 1e-6
  ltxtui compare A.zarr B.zarr C.zarr --no-plot        tables only
  ltxtui compare A.zarr B.zarr --json | jq '.summaries.drift_index'
"""
)
@click.argument("runs", nargs=-1, metavar="A B [C …]")
@click.option(
    "--align",
    type=click.Choice(["step", "sigma", "snr", "evaluations"]),
    default="step",
    show_default=True,
    help="What is compared with what: rows of the same step, noise level, scheduled SNR, or evaluations spent.",
)
@click.option(
    "--metric", "metrics", multiple=True, help="A scalar metric, several times for several; a wrong name lists all."
)
@click.option("--stage", type=click.IntRange(min=0), help="Which denoising loop; the first that differs if not given.")
@click.option("--stream", type=click.Choice(["video", "audio"]), help="Video, where there is one, if not given.")
@click.option("--item", type=click.IntRange(min=0), help="One batch item; the mean over the batch if not given.")
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Relative difference up to which rows count as the same; 0 is bit for bit.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object; NaN and Inf as null.")
@click.option("--no-plot", is_flag=True, help="Tables and the first difference only.")
@click.option("--tui", is_flag=True, help="Open the dashboard's compare screen instead of printing text.")
@runs_dir_option
def compare(runs: tuple[str, ...], as_json: bool, no_plot: bool, tui: bool, runs_dir: Path, **options: Any) -> None:
    """Compare recorded runs with the first of them: the same steps, or the same noise level.

    Runs are paths of archives or journals, or parts of their names, up to eight; unfinished ones are compared as far as
    they are. Prints whether they are a fair pair, the stage's summaries, the first row that differs, and each metric
    overlaid and as a difference. With --align sigma or snr, a level that a restart visits twice is compared as it is
    left for good.

    With --tui the same is looked at on the screen: overlaid curves and differences under one cursor, any run as the
    reference, jumps to where runs part, the paired table and the pictures of all runs. Live runs go on there. Without
    it text is printed, on a terminal as in a pipe.
    """
    if not 2 <= len(runs) <= MAX_RUNS:
        raise Problem(f"give 2 to {MAX_RUNS} runs, not {len(runs)}; see the runs there are with: ltxtui runs")
    paths = [recorded_path(given, runs_dir) for given in runs]
    if tui:
        if as_json or no_plot:
            raise Problem("--tui shows the runs on the screen; leave it out for --json and --no-plot")
        _show(paths, runs_dir, options)
        return
    loaded = [_load(path) for path in paths]
    from replay.comparison.compare import CannotCompare, letter
    from replay.comparison.compare import compare as compared

    options["metrics"] = options["metrics"] or None
    try:
        comparison = compared(loaded, **options)
    except CannotCompare as error:
        raise Problem(str(error)) from error
    if as_json:
        found = comparison.as_json()
        for run, path, read in zip(found["runs"], paths, loaded, strict=True):
            run["path"], run["damage"] = str(path), read.damage
        click.echo(json.dumps(found, indent=2, allow_nan=False))
        return
    _print(comparison, plots=not no_plot)
    for index, read in enumerate(loaded):
        if read.damage:
            click.echo(f"ltxtui: run {letter(index)} is damaged: {clean(read.damage, 400)}", err=True)


def _show(paths: list[Path], runs_dir: Path, options: dict[str, Any]) -> None:
    need_terminal("without one leave out --tui")
    from ltxtui.app import Dashboard, Options
    from ltxtui.screens.compare import compare_screen
    from ltxtui.terminal.endings import show_app

    options["stream"] = options["stream"] or ""

    def first(app: Dashboard) -> ActionScreen:
        return compare_screen(paths, app.settings.keys, **options)

    app = Dashboard(options=Options(runs_dir=runs_dir), first=first)
    sys.exit(show_app(app, mouse=app.settings.mouse))


def _load(path: Path) -> Run:
    from replay.model.run import NotARun
    from replay.sources.open import load

    try:
        return load(path)
    except NotARun as error:
        raise Problem(str(error)) from error
    except OSError as error:
        raise Problem(f"{path} cannot be read: {error.strerror or error}") from error


def _print(comparison: Comparison, plots: bool) -> None:
    from ltxtui.plot.line_plot import Style
    from ltxtui.reports import compare_text
    from ltxtui.themes import first_drawing

    width = max(40, min(MAX_WIDTH, shutil.get_terminal_size((80, 24)).columns))
    ascii_only = first_drawing() is Style.ASCII
    click.echo(compare_text.tables(comparison, width, ascii_only=ascii_only))
    if plots:
        paint = _paint if coloured() else None
        click.echo("\n" + compare_text.plots(comparison, width, ascii_only=ascii_only, paint=paint), color=coloured())


def _paint(text: str, role: str) -> str:
    return click.style(text, fg=_COLOURS[role]) if role in _COLOURS else text
