"""`ltxtui compare`: runs side by side as text, as JSON or on the screen, compared with the first of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ltxtui.cli.common import (
    CliError,
    load_run,
    need_terminal,
    page,
    painter,
    recorded_path,
    runs_dir_option,
    text_width,
)
from ltxtui.plot.text import clean
from replay.comparison import MAX_RUNS

if TYPE_CHECKING:
    from ltxtui.screens.base import ActionScreen
    from replay.comparison.compare import Comparison


@click.command(
    epilog="""\b
Examples:
  ltxtui compare smooth spike                          any unique part of a run's name
  ltxtui compare runs/20261122-143015-smooth.zarr runs/20261122-143109-spike.zarr
  ltxtui compare --tui smooth spike red-disc           on the screen, with one cursor for all runs
  ltxtui compare smooth spike --align sigma            at the same noise level
  ltxtui compare smooth spike --metric std --metric max_abs --tolerance 1e-6
  ltxtui compare smooth spike red-disc --no-plot       tables only
  ltxtui compare smooth spike --json | jq '.summaries.drift_index'
"""
)
@click.argument("runs", nargs=-1, metavar="A B [C …]")
@click.option(
    "--align",
    type=click.Choice(["step", "sigma", "snr", "evaluations"]),
    default="step",
    show_default=True,
    help="Which rows are compared: those of the same step, σ, scheduled SNR or number of evaluations.",
)
@click.option("--metric", "metrics", multiple=True, help="A scalar metric; may be repeated. An unknown name lists all.")
@click.option(
    "--stage", type=click.IntRange(min=0), help="Which denoising loop, counted from 0. Default: the first that differs."
)
@click.option("--stream", type=click.Choice(["video", "audio"]), help="Which stream. Default: video if there is one.")
@click.option(
    "--item", type=click.IntRange(min=0), help="One batch item, counted from 0. Default: the mean over the batch."
)
@click.option(
    "--tolerance",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Largest relative difference of rows that count as equal; 0 means bit-identical.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object; NaN and Inf as null.")
@click.option("--no-plot", is_flag=True, help="Tables and the first difference only.")
@click.option("--pager/--no-pager", default=True, help="On a terminal, show long output with PAGER. Default: yes.")
@click.option("--tui", is_flag=True, help="Open the dashboard's compare screen instead of printing text.")
@runs_dir_option
def compare(
    runs: tuple[str, ...], as_json: bool, no_plot: bool, pager: bool, tui: bool, runs_dir: Path, **options: Any
) -> None:
    """Compare recorded runs with the first one, step by step or at the same noise level.

    Runs are given as paths of archives or journals, or as parts of their names, up to eight. Unfinished runs are
    compared as far as they have got. Prints whether the runs are a fair pair, the summaries of the stage, the first row
    that differs, and each metric as overlaid curves and as a difference. With --align sigma or snr, a level that a
    restart visits twice is compared at its last visit.

    --tui opens the compare screen instead: overlaid curves and differences with one cursor, any run as the reference,
    jumps to the first differences, the table of summaries and the pictures of all runs. Live runs are updated there.
    """
    if not 2 <= len(runs) <= MAX_RUNS:
        raise CliError(f"give 2 to {MAX_RUNS} runs, not {len(runs)}; list the runs with: ltxtui runs")
    paths = [recorded_path(given, runs_dir) for given in runs]
    if tui:
        if as_json or no_plot:
            raise CliError("--tui cannot be combined with --json or --no-plot")
        _show(paths, runs_dir, options)
        return
    loaded = [load_run(path) for path in paths]
    from replay.comparison.compare import CannotCompare, letter
    from replay.comparison.compare import compare as compared
    from replay.comparison.run_findings import as_json as as_json_of
    from replay.comparison.run_findings import compared_findings

    options["metrics"] = options["metrics"] or None
    try:
        comparison = compared(loaded, **options)
    except CannotCompare as error:
        raise CliError(str(error)) from error
    if as_json:
        found = comparison.as_json()
        for run, path, read in zip(found["runs"], paths, loaded, strict=True):
            run["path"], run["damage"] = str(path), read.damage
        found["findings"] = [as_json_of(finding, names) for finding, names in compared_findings(loaded)]
        click.echo(json.dumps(found, indent=2, allow_nan=False))
        return
    page(_text(comparison, plots=not no_plot), pager=pager)
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


def _text(comparison: Comparison, plots: bool) -> str:
    from ltxtui.plot.line_plot import Style
    from ltxtui.reports import compare_text
    from ltxtui.themes import first_drawing

    width = text_width()
    ascii_only = first_drawing() is Style.ASCII
    tables = compare_text.tables(comparison, width, ascii_only=ascii_only)
    if not plots:
        return tables
    return f"{tables}\n\n{compare_text.plots(comparison, width, ascii_only=ascii_only, paint=painter())}"
