"""What `ltxtui sweep` reports: the analysis as text or JSON, and the files of --markdown and --svg."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ltxtui.cli.common import MAX_WIDTH, CliError, is_terminal
from recorder.format.numerals import counted

if TYPE_CHECKING:
    from recorder.sweep.spec import Sweep
    from replay.sweep.analysis import Analysis


def report(folder: Path, made: Sweep, as_json: bool, markdown: Path | None, svg: Path | None) -> None:
    """Analyse the runs of a sweep, print the result and write the files that were asked for.

    Raises:
        CliError: if runs or results cannot be read, or a file cannot be written.
    """
    from recorder.sweep import spec
    from replay.model.run import NotARun
    from replay.sweep.analysis import analyse
    from replay.sweep.results import as_csv, collect, find_runs, finished, from_csv

    try:
        if not (folder / spec.RUNS).exists() and (folder / spec.RESULTS).exists():
            # The archives were deleted; the results are all that is left.
            rows = from_csv((folder / spec.RESULTS).read_text("utf-8"), made)
        else:
            rows = collect(folder, made, finished(folder, find_runs(folder, made), made))
            spec.replace_file(folder / spec.RESULTS, as_csv(rows, made))
    except NotARun as error:
        raise CliError(f"{error}; remove it and resume the sweep") from error
    except ValueError as error:
        raise CliError(f"{folder / spec.RESULTS} cannot be read: {error}") from error
    except OSError as error:
        raise CliError(f"{error.filename or folder}: {error.strerror or error}") from error
    analysis = analyse(made, rows)
    _write_files(analysis, markdown, svg)
    if as_json:
        click.echo(json.dumps(analysis.as_json(), indent=2, ensure_ascii=False, allow_nan=False))
        return
    from ltxtui.plot.line_plot import Style
    from ltxtui.reports import sweep_text
    from ltxtui.themes import first_drawing

    width = MAX_WIDTH  # output to a file does not depend on a terminal
    if is_terminal(sys.stdout):
        width = max(80, min(width, shutil.get_terminal_size((MAX_WIDTH, 24)).columns))
    click.echo(sweep_text.report(analysis, width, ascii_only=first_drawing() is Style.ASCII))
    click.echo(f"\n{counted(len(rows), 'run')}: {folder / spec.RESULTS}")


def made_runs(folder: Path, made: Sweep) -> list[Path]:
    """The archives of a sweep's finished runs."""
    from replay.sweep.results import find_runs, finished

    return sorted(finished(folder, find_runs(folder, made), made).values())


def _write_files(analysis: Analysis, markdown: Path | None, svg: Path | None) -> None:
    from ltxtui.reports import forest_plot, sweep_text

    try:
        if markdown is not None:
            markdown.write_text(sweep_text.markdown(analysis), "utf-8")
        if svg is not None:
            svg.write_text(
                forest_plot.svg(sweep_text.effects(analysis), sweep_text.TITLE, sweep_text.subtitle(analysis)), "utf-8"
            )
    except OSError as error:
        raise CliError(f"{error.filename} cannot be written: {error.strerror}") from error
