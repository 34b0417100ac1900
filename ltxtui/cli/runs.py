"""`ltxtui runs`: the list of live and archived runs."""

from __future__ import annotations

import json
from pathlib import Path

import click

from ltxtui.cli.common import ago, runs_dir_option, size
from ltxtui.text import clean, duration

EXAMPLES = """\b
Examples:
  ltxtui runs
  ltxtui runs --runs-dir /data/runs --json | jq '.runs[0].path'
"""

COLUMNS = ("NAME", "WHEN", "STAGES", "STEPS", "DURATION", "STATUS", "SIZE", "PROMPT")


@click.command(epilog=EXAMPLES)
@runs_dir_option
@click.option("--json", "as_json", is_flag=True, help='Print {"runs": [...]} instead of a table.')
def runs(runs_dir: Path, as_json: bool) -> None:
    """List live and archived runs, newest first.

    `live` runs are being recorded; `unfinished` ones lost their recorder and still hold every step it acknowledged.
    """
    from replay.catalog import list_runs

    found = list_runs(runs_dir)
    if as_json:
        click.echo(json.dumps({"runs": [r.as_json() for r in found]}, indent=2))
        return
    if not found:
        click.echo(f"no runs in {runs_dir}; record one with: ltxtui demo", err=True)
        return
    rows = [
        (
            clean(r.name),
            ago(r.started),
            str(r.stages),
            f"{r.steps}/{r.planned}" if r.steps != r.planned else str(r.steps),
            "-" if r.seconds is None else duration(r.seconds),
            r.status,
            size(r.bytes),
            clean(r.prompt)[:48],
        )
        for r in found
    ]
    widths = [max(len(row[i]) for row in [COLUMNS, *rows]) for i in range(len(COLUMNS))]
    for row in [COLUMNS, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
