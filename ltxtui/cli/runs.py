"""`ltxtui runs`: the list of live and archived runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ltxtui.cli.common import Problem, ago, recorded_path, runs_dir_option, size
from ltxtui.plot.text import clean, duration, number
from recorder.format.numerals import counted

if TYPE_CHECKING:
    from replay.library.run_info import RunInfo

EXAMPLES = """\b
Examples:
  ltxtui runs
  ltxtui runs --tag keep
  ltxtui runs check runs/20261122-143015-red-disc.zarr
  ltxtui runs repair runs/20261122-143015-red-disc.zarr
  ltxtui runs --runs-dir /data/runs --json | jq '.runs[0].path'
"""

COLUMNS = ("NAME", "WHEN", "STAGES", "STEPS", "DURATION", "STATUS", "SHOCKS", "DRIFT", "SIZE", "PROMPT")


@click.group(epilog=EXAMPLES, invoke_without_command=True)
@click.option("--tag", help="Only runs that have this tag.")
@runs_dir_option
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help='Print {"runs": [...], …} instead of a table.',
)
@click.pass_context
def runs(context: click.Context, /, tag: str | None, runs_dir: Path, as_json: bool) -> None:
    """List live and archived runs, newest first.

    SHOCKS is how many shocks acted, DRIFT the drift index of the last stage (0: frames stay as the first one).

    `live` runs are being recorded, `stalled` ones too, but nothing comes from their recorder, or their loop takes no
    step; `unfinished` ones lost their recorder and still hold every step it acknowledged. NaN names what of a run is
    NaN or Inf. What looks like a run and cannot be read is named below the table, with what to do about it.
    """
    if context.invoked_subcommand is not None:
        context.obj = runs_dir
        return
    from replay.library.listing import cached_look

    listing = cached_look(runs_dir)
    found = [run for run in listing.runs if tag is None or tag.removeprefix("#") in run.tags]
    if tag is not None and not found and not as_json:
        click.echo(f"no runs with the tag {clean(tag)} in {runs_dir}", err=True)
        return
    if as_json:
        said = {"runs": [r.as_json() for r in found]}
        if listing.unreadable:
            said["unreadable"] = [u.as_json() for u in listing.unreadable]
        click.echo(json.dumps(said, indent=2))
        return
    _print(found, runs_dir, bool(listing.unreadable))
    if listing.unreadable:
        many = len(listing.unreadable)
        click.echo(f"{counted(many, 'archive or journal', 'archives or journals')} cannot be read:", err=True)
        for refused in listing.unreadable:
            click.echo(f"  {clean(refused.name)}: {clean(refused.text, 400)}", err=True)


def _status(run: RunInfo) -> str:
    """The standing; of a stalled run also for how long."""
    if run.stalled_seconds is None:
        return run.standing
    return run.standing.replace("stalled", f"stalled for {duration(run.stalled_seconds)}", 1)


def _print(found: list[RunInfo], runs_dir: Path, unreadable: bool) -> None:
    if not found and unreadable:
        return
    if not found:
        click.echo(f"no runs in {runs_dir}; record one with: ltxtui demo", err=True)
        return
    rows = [
        (
            clean(r.name),
            ago(r.started),
            str(r.stages),
            f"{r.steps}/{r.planned}" if r.planned and r.steps != r.planned else str(r.steps),
            "-" if r.seconds is None else duration(r.seconds),
            clean(_status(r)),
            str(r.shocks),
            "-" if r.drift is None else number(r.drift),
            size(r.bytes),
            clean(r.prompt, 200)[:48],
        )
        for r in found
    ]
    widths = [max(len(row[i]) for row in [COLUMNS, *rows]) for i in range(len(COLUMNS))]
    for row in [COLUMNS, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@runs.command()
@click.argument("given", metavar="RUN...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help='Print {"checked": [...]} instead of text.')
@click.pass_obj
def check(runs_dir: Path, given: tuple[str, ...], as_json: bool) -> None:
    """Verify runs: documents, row counts, checksums of every chunk, and the journal against the archive.

    Changes nothing. Ends with status 1 if anything is missing or damaged, or if nothing was recorded.
    """
    from replay.integrity.check import check as verify

    reports = []
    for name in given:
        try:
            reports.append(verify(recorded_path(name, runs_dir)))
        except OSError as error:
            raise Problem(f"{name} cannot be read: {error.strerror or error}") from error
    if as_json:
        click.echo(json.dumps({"checked": [r.as_json() for r in reports]}, indent=2))
    else:
        for report in reports:
            checked = f"{_rows(report.rows)}, {counted(report.chunks, 'checksum')}"
            click.echo(f"{clean(str(report.path))}: {clean(report.status)}, {checked}: {report.word}")
            for line in (*report.problems, *(f"note: {n}" for n in report.notes)):
                click.echo(f"  {clean(line, 400)}")
    if not all(report.sound and not report.empty for report in reports):
        raise click.exceptions.Exit(1)


@runs.command()
@click.argument("given", metavar="RUN")
@click.pass_obj
def repair(runs_dir: Path, given: str) -> None:
    """Make a whole archive of what is left of a run that was never ended or is damaged.

    The journal and the archive as they were are kept beside it, in a folder that ends in .before-repair. What cannot
    be had any more is NaN or missing; it is listed, and told by an event of the new archive. Of a whole archive whose
    journal stands beside it the journal is removed.
    """
    from replay.integrity.repair import CannotRepair
    from replay.integrity.repair import repair as mend

    try:
        done = mend(recorded_path(given, runs_dir))
    except CannotRepair as error:
        raise Problem(str(error)) from error
    except OSError as error:
        raise Problem(f"{error.filename or given}: {error.strerror or error}") from error
    click.echo(f"{clean(str(done.archive))}: {_rows(done.rows)}")
    if done.note:
        click.echo(f"  note: {clean(done.note, 400)}")
    for line in done.lost[:100]:
        click.echo(f"  lost: {clean(line, 400)}")
    if done.kept is not None:
        click.echo(f"  as it was: {clean(str(done.kept))}")


def _rows(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counted(count, 'row')} of {clean(stream)}" for stream, count in counts.items()) or "no rows"
