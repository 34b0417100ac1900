"""`ltxtui report`: runs as one web page, to be sent, printed or kept."""

from __future__ import annotations

import os
import webbrowser
from pathlib import Path

import click

from ltxtui.cli.common import CliError, LocalPath, load_run, recorded_path, runs_dir_option
from ltxtui.plot.text import clean
from recorder.format import locations
from replay.comparison import MAX_RUNS


@click.command(
    epilog="""\b
Examples:
  ltxtui report red-disc                       red-disc.html, to be opened, mailed or printed
  ltxtui report smooth spike --output pair.html
  ltxtui report red-disc --open                in the browser at once
"""
)
@click.argument("given", metavar="RUN...", nargs=-1, required=True)
@click.option(
    "--output",
    "-o",
    type=LocalPath(dir_okay=False, path_type=Path),
    help="The file. Default: the run's name, here.",
)
@click.option("--open", "show", is_flag=True, help="Open it in the browser.")
@runs_dir_option
def report(given: tuple[str, ...], output: Path | None, show: bool, runs_dir: Path) -> None:
    """Write a web page about runs: verdict, findings, curves, frames and pictures.

    RUN is a path, or a part of a run's name. Several runs are compared with the first. The page is one file that asks
    for nothing else, so that it also works without a network. The printed path is that of the file.
    """
    from ltxtui.html_report.page import Reported, page
    from recorder.journal.journal import is_being_written
    from recorder.system.open_folders import replace_file, replaceable

    if len(given) > MAX_RUNS:
        raise CliError(f"at most {MAX_RUNS} runs fit on a page, not {len(given)}")
    paths = [recorded_path(name, runs_dir) for name in given]
    runs = [Reported(load_run(path), not is_being_written(locations.journal_of(path))) for path in paths]
    target = output or Path(f"{locations.safe_name(runs[0].run.name or locations.run_name(paths[0]))}.html")
    data = page(runs).encode("utf-8", "replace")
    place = replaceable(target)
    try:
        if place is None:
            target.write_bytes(data)
        else:
            replace_file(place, data)
    except OSError as error:
        raise CliError(f"{target} cannot be written: {error.strerror or error}") from error
    click.echo(clean(os.fspath(target), 4000))
    if show and not webbrowser.open(target.absolute().as_uri()):
        raise CliError(f"no browser was found; open {target} in one")
