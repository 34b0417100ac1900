"""`ltxtui runs`: list live and archived runs, check and repair them."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ltxtui.cli.common import CliError, json_option, recorded_path, runs_dir_option
from ltxtui.cli.stores.elsewhere import is_elsewhere, whole_path
from ltxtui.cli.stores.listing import RunsPlace, stored_listing
from ltxtui.home.columns import verdict_mark, verdict_text
from ltxtui.plot.text import ago, clean, duration, number, size
from recorder.format.declarations import drift_hint
from recorder.format.numerals import counted
from replay.remote.stores.address import StoreAddress

if TYPE_CHECKING:
    from replay.integrity.repair import Repaired
    from replay.library.run_info import RunInfo

EXAMPLES = """\b
Examples:
  ltxtui runs
  ltxtui runs --tag keep
  ltxtui runs --runs-dir /data/runs --json | jq '.runs[0].path'
  ltxtui runs --runs-dir s3://bucket/runs
  ltxtui runs check red-disc
  ltxtui runs repair red-disc
"""
CHECK_EXAMPLES = """\b
Examples:
  ltxtui runs check red-disc                           any unique part of a run's name
  ltxtui runs check runs/20261122-143015-smooth.zarr runs/20261122-143109-spike.zarr
  ltxtui runs check smooth --runs-dir /data/runs
  ltxtui runs check smooth spike --json | jq '.checked[].problems'
"""
REPAIR_EXAMPLES = """\b
Examples:
  ltxtui runs repair red-disc                          any unique part of a run's name
  ltxtui runs repair runs/20261122-143015-red-disc.zarr
  ltxtui runs repair red-disc --json | jq .lost
"""

COLUMNS = ("", "NAME", "VERDICT", "AGO", "STAGES", "STEPS", "DURATION", "STATUS", "SHOCKS", "DRIFT", "SIZE", "PROMPT")
MAX_VERDICT = 44
JUDGING_SECONDS = 3.0
"""How long a table waits for runs to be examined whose archives keep no verdict; `--json` waits for all."""
LINES_AT_ONCE = 1000
"""Lines of the table that are written together."""
FLUSH_SECONDS = 0.1
"""How long a line of `--json` waits at most for others to be written with it, unless one takes longer to read."""


@click.group(epilog=EXAMPLES, invoke_without_command=True)
@click.option("--tag", help="Only runs that have this tag.")
@partial(runs_dir_option, kind=RunsPlace)
@json_option('Print {"runs": [...], …} instead of a table, a run per line as soon as it is read.')
@click.pass_context
def runs(context: click.Context, /, tag: str | None, runs_dir: Path | StoreAddress, as_json: bool) -> None:
    """List live and archived runs, newest first.

    VERDICT is what is wrong with a run, in a few words: `x` marks an error, `!` a warning. `ltxtui explain RUN` says
    more. It is `-` for a run of an older version that was not examined yet.

    SHOCKS is the number of shocks that acted. DRIFT is the drift of the last stage's clip, from 0 to 1;
    lower is steadier. A clean clip is below .1, one with a hard cut at about .7.

    A `live` run is being recorded. A `stalled` run is live, but its recorder sends nothing or its loop takes no step.
    An `unfinished` run lost its recorder; it holds every step that the recorder acknowledged. NaN in STATUS names the
    metrics that are NaN or Inf. Archives and journals that cannot be read are listed below the table, with a remedy.
    """
    if context.invoked_subcommand is not None:
        return
    wanted = None if tag is None else tag.removeprefix("#")
    if isinstance(runs_dir, StoreAddress):
        _list_stored(runs_dir, wanted, as_json)
        return
    if as_json:
        _print_json(runs_dir, wanted)
        return
    from replay.library.listing import cached_look
    from replay.library.verdicts import with_verdicts

    listing = cached_look(runs_dir, partial(with_verdicts, seconds=JUDGING_SECONDS))
    found = [run for run in listing.runs if wanted is None or wanted in run.tags]
    if tag is not None and not found:
        click.echo(f"no runs with the tag {clean(tag)} in {runs_dir}", err=True)
        return
    _print(found, runs_dir, bool(listing.unreadable))
    if any(verdict_mark(run) for run in found):
        click.echo("x error, ! warning; what is wrong and what to try: ltxtui explain RUN", err=True)
    if listing.unreadable:
        many = len(listing.unreadable)
        click.echo(f"{counted(many, 'archive or journal', 'archives or journals')} cannot be read:", err=True)
        for refused in listing.unreadable:
            click.echo(f"  {clean(refused.name)}: {clean(refused.text, 400)}", err=True)


def _list_stored(folder: StoreAddress, tag: str | None, as_json: bool) -> None:
    """The runs in a folder on a store."""
    listing = stored_listing(folder)
    found = [one for one in listing.runs if tag is None or tag in one.info.tags]
    if as_json:
        said: dict[str, Any] = {"runs": [{**one.info.as_json(), "path": str(one.address)} for one in found]}
        if listing.unreadable:
            said["unreadable"] = [{"path": str(at), "problem": text} for at, text in listing.unreadable]
        click.echo(json.dumps(said, indent=2))
        return
    if found:
        _print([one.info for one in found], Path("runs"), unreadable=False)
    elif not listing.unreadable:
        click.echo(f"no runs in {folder.shown}; upload one with: ltxtui upload RUN {folder.shown}", err=True)
    for at, text in listing.unreadable:
        click.echo(f"cannot be read: {clean(at.shown, 400)}: {clean(text, 400)}", err=True)


def _print_json(runs_dir: Path, tag: str | None) -> None:
    """Print one object, a run a line, each as soon as it is known."""
    from replay.library.cache import ListingCache
    from replay.library.in_turn import each
    from replay.library.run_info import RunInfo
    from replay.library.unreadable import Unreadable
    from replay.library.verdicts import with_verdicts

    unreadable: list[Unreadable] = []

    def readable() -> Iterator[RunInfo]:
        for one in each(runs_dir, cache):
            if isinstance(one, RunInfo):
                yield one
            else:
                unreadable.append(one)

    cache, out = ListingCache(runs_dir), sys.stdout
    head, flushed = '{"runs": [', time.monotonic()
    before = head
    try:
        for run in with_verdicts(readable(), cache):
            if tag is None or tag in run.tags:
                out.write(f"{before}\n{json.dumps(run.as_json())}")
                before = ","
            if time.monotonic() - flushed > FLUSH_SECONDS:
                out.flush()
                flushed = time.monotonic()
    finally:
        cache.close()
    unreadable.sort(key=lambda refused: refused.name, reverse=True)
    rest = f', "unreadable": {json.dumps([refused.as_json() for refused in unreadable])}' if unreadable else ""
    out.write(f"{head if before == head else ''}\n]{rest}}}\n")


def _status(run: RunInfo) -> str:
    """The status; of a stalled run with its duration."""
    if run.stalled_seconds is None:
        return run.standing
    return run.standing.replace("stalled", f"stalled for {duration(run.stalled_seconds)}", 1)


def _print(found: list[RunInfo], runs_dir: Path, unreadable: bool) -> None:
    if not found and unreadable:
        return
    if not found:
        click.echo(f"no runs in {runs_dir}; record one with: ltxtui demo", err=True)
        return
    # Two passes: 50,000 rows would take as much memory as their runs.
    now = time.time()
    widths = [len(title) for title in COLUMNS]
    for run in found:
        widths = [max(width, len(cell)) for width, cell in zip(widths, _cells(run, now), strict=True)]
    rows = itertools.chain([COLUMNS], (_cells(run, now) for run in found))
    lines = ("  ".join(c.ljust(width) for c, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    while some := list(itertools.islice(lines, LINES_AT_ONCE)):
        click.echo("\n".join(some))
    if any(r.drift is not None for r in found):
        click.echo(f"DRIFT: {drift_hint()}")


def _cells(run: RunInfo, now: float) -> tuple[str, ...]:
    """The cells of a run, in the order of `COLUMNS`."""
    return (
        verdict_mark(run),
        clean(run.name),
        "-" if run.verdict is None else clean(verdict_text(run.verdict), MAX_VERDICT),
        ago(max(0.0, now - run.started)),
        str(run.stages),
        f"{run.steps}/{run.planned}" if run.planned and run.steps != run.planned else str(run.steps),
        "-" if run.seconds is None else duration(run.seconds),
        clean(_status(run)),
        str(run.shocks),
        "-" if run.drift is None else number(run.drift),
        size(run.bytes),
        clean(run.prompt, 200)[:48],
    )


@runs.command(epilog=CHECK_EXAMPLES)
@click.argument("given", metavar="RUN...", nargs=-1, required=True)
@json_option('Print {"checked": [...]} instead of text.')
@runs_dir_option
def check(given: tuple[str, ...], runs_dir: Path, as_json: bool) -> None:
    """Verify the metadata, row counts and checksums of runs, and their journals against their archives.

    RUN is a path, or a part of a run's name. Nothing is changed. The exit status is 1 if anything is missing or
    damaged, or if nothing was recorded.
    """
    from replay.integrity.check import check as verify

    reports = []
    for name in given:
        try:
            reports.append(verify(whole_path(name, runs_dir)))
        except OSError as error:
            raise CliError(f"{name} cannot be read: {error.strerror or error}") from error
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


@runs.command(epilog=REPAIR_EXAMPLES)
@click.argument("given", metavar="RUN")
@json_option('Print {"archive": …, "rows": …, "lost": […], …} instead of text.')
@runs_dir_option
def repair(given: str, runs_dir: Path, as_json: bool) -> None:
    """Rebuild the archive of a run that was not finalised or is damaged.

    RUN is a path, or a part of a run's name. The original archive and journal are kept in a folder next to the new
    archive, whose name ends in .before-repair. Values that cannot be recovered are NaN or missing; they are listed here
    and in an event of the new archive. A packed run stays packed. If the archive is complete, only a leftover journal
    is removed.
    """
    from replay.integrity.repair import CannotRepair
    from replay.integrity.repair_packed import repair_run

    if is_elsewhere(given):
        raise CliError(f"{given} is not on this machine; copy it here, and repair the copy")
    try:
        done = repair_run(recorded_path(given, runs_dir))
    except CannotRepair as error:
        raise CliError(str(error)) from error
    except OSError as error:
        raise CliError(f"{error.filename or given}: {error.strerror or error}") from error
    if as_json:
        click.echo(json.dumps(_as_json(done), indent=2))
        return
    click.echo(f"{clean(str(done.archive))}: {_rows(done.rows)}")
    if done.note:
        click.echo(f"  note: {clean(done.note, 400)}")
    for line in done.lost[:100]:
        click.echo(f"  lost: {clean(line, 400)}")
    if done.kept is not None:
        click.echo(f"  original: {clean(str(done.kept))}")


def _as_json(done: Repaired) -> dict[str, Any]:
    return {
        "archive": str(done.archive),
        "rows": dict(done.rows),
        "note": done.note or None,
        "lost": list(done.lost),
        "original": None if done.kept is None else str(done.kept),
    }


def _rows(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{counted(count, 'row')} of {clean(stream)}" for stream, count in counts.items()) or "no rows"
