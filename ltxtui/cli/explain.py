"""`ltxtui explain`: what is wrong with recorded runs, where, since when, and what to try."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from ltxtui.cli.common import CliError, load_run, recorded_path, runs_dir_option, say, stored_path
from ltxtui.cli.stores.listing import stored_runs
from recorder.findings.finding import verdict_of
from replay.remote.stores.address import is_store

if TYPE_CHECKING:
    from recorder.findings.finding import Finding
    from replay.findings import RunFindings

FORMAT: Final = 1
MET: Final = 3
"""Exit status where `--fail-on` is met."""


@click.command(
    epilog="""\b
Examples:
  ltxtui explain                                      the newest run
  ltxtui explain spike                                a part of a name that one run alone has
  ltxtui explain --verbose spike                      with the rules' formulas and bounds
  ltxtui explain spike --json | jq .verdict.text
  ltxtui explain runs/                                every run of a folder
  ltxtui explain s3://bucket/runs/red-disc            a run on an object store
  ltxtui explain --fail-on error spike                for scripts: status 3 if there is an error
"""
)
@click.argument("runs", nargs=-1, metavar="[RUN|FOLDER…]")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per run; of several runs one per line.")
@click.option(
    "--fail-on", type=click.Choice(["warning", "error"]), help="End with status 3 on findings this bad or worse."
)
@click.option("-v", "--verbose", is_flag=True, help="Also formulas, bounds, and rules that could not decide.")
@runs_dir_option
def explain(runs: tuple[str, ...], as_json: bool, fail_on: str | None, verbose: bool, runs_dir: Path) -> None:
    """Say what is wrong with runs: findings, worst first, with the step they begin at and what to try.

    Runs are paths, parts of names, or folders of runs; the newest run if none is given. Runs that are not finished are
    examined as far as they are. Stages, clips, steps and frames count from 0, as in archives.

    An error spoils the result. A warning names what is probably wrong. A note names what is unusual and may be meant;
    notes alone leave the verdict at ok. With a baseline (`ltxtui baseline`) there are notes on what is unusual.
    """
    paths = [path for given in runs or _newest(runs_dir) for path in _paths(given, runs_dir)]
    worst = "ok"
    for number, path in enumerate(paths):
        found = _examined(path)
        if as_json:
            click.echo(json.dumps(as_object(found, path), indent=None if len(paths) > 1 else 2, allow_nan=False))
        else:
            click.echo(("\n" if number else "") + _text(found, verbose))
        severity = found.verdict.severity
        worst = max(worst, severity, key=("ok", "note", "warning", "error").index)
    if met(worst, fail_on):
        raise click.exceptions.Exit(MET)


def met(severity: str, fail_on: str | None) -> bool:
    """Whether a verdict's severity is as bad as `--fail-on` says, or worse."""
    return fail_on is not None and severity in ("warning", "error")[("warning", "error").index(fail_on) :]


def as_object(found: RunFindings, path: Path) -> dict[str, Any]:
    """The findings of one run as `--json` gives them."""
    run, findings = found.run, with_baseline(found)
    return {
        "explain": FORMAT,
        "run": run.name,
        "archive": str(path),
        "status": str(run.end.get("status", "")) if run.end else "unfinished",
        "verdict": verdict_of(findings).as_json(),
        "findings": [f.as_json() for f in findings],
    }


def _text(found: RunFindings, verbose: bool) -> str:
    from ltxtui.reports import findings_text
    from ltxtui.themes import first_drawing

    findings = with_baseline(found)
    return findings_text.text(
        found.run, verdict_of(findings), findings, found.undecided, style=first_drawing(), verbose=verbose
    )


def with_baseline(found: RunFindings) -> list[Finding]:
    """The findings of a run, and notes on what leaves the user's baseline of its model and sizes, if there is one."""
    from replay import baseline, baseline_store

    try:
        notes = baseline.notes(found.run, baseline_store.read(baseline.model_of(found.run)))
    except (OSError, baseline.OtherBaseline) as problem:
        say(f"ltxtui: no baseline is used: {problem}")
        notes = []
    return [*found.update(), *notes]


def _newest(runs_dir: Path) -> list[str]:
    from replay.library.listing import archives_in

    found = sorted(archives_in(runs_dir))
    if not found:
        raise CliError(f"no runs in {runs_dir}; record one with: ltxtui demo")
    return [str(found[-1])]


def _paths(given: str, runs_dir: Path) -> list[Path]:
    """The runs that an argument means: one, or all of a folder, also on a store if it ends in a slash."""
    from replay.library.listing import archives_in

    if is_store(given) and given.endswith("/"):
        return [stored_path(str(run.address)) for run in reversed(stored_runs(given))]
    folder = Path(given)
    if folder.is_dir() and folder.suffix != ".zarr" and (inside := sorted(archives_in(folder))):
        return inside
    return [recorded_path(given, runs_dir)]


def _examined(path: Path) -> RunFindings:
    from recorder.format import locations
    from recorder.journal.journal import is_being_written
    from replay.findings import RunFindings

    found = RunFindings(load_run(path))
    found.lost = not is_being_written(locations.journal_of(path))
    return found
