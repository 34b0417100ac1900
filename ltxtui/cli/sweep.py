"""`ltxtui sweep`: many arms of shocks over paired seeds, resumable, with a ranked table and a verdict at the end."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ltxtui.cli.common import LocalPath, Problem, is_terminal, say
from ltxtui.cli.numbers import FRAMES, PIXELS, SEED, STEPS
from ltxtui.cli.record import check_request
from ltxtui.plot.text import clean
from recorder.format.numerals import counted
from recorder.system.open_folders import make_folders

if TYPE_CHECKING:
    from recorder.sweep.runner import Answer
    from recorder.sweep.spec import Job, Sweep
    from replay.sweep.analysis import Analysis

MAX_WIDTH = 100
PLAIN_LINES = 40
EXAMPLES = """\b
Examples:
  ltxtui sweep --model nano --seeds 16 --grid 'kind=restart,renoise at=0.95,0.9,0.75,0.5 db=1,2,3'
  ltxtui sweep --model nano --seeds 32 --guidance-scale 1 --workers 2 \\
      --grid 'kind=restart,renoise,predict_perturb at=0.9,critical db=3' --shock ancestral:eta=0.5
  ltxtui sweep my-sweep --model nano --shock 'spikes:at=0.95+0.9+0.8,db=3'
  ltxtui sweep my-sweep                                go on where it was stopped
  ltxtui sweep my-sweep --seeds 64 --extend            more seeds, or more arms
  ltxtui sweep my-sweep --report --markdown table.md --svg forest.svg

\b
Keys of a grid, values with commas, every combination being an arm:
  kind     restart, renoise, predict_perturb, additive, sigma_bump, ancestral, spikes
  at       a σ (0.9), a step (12), critical, or every; for spikes 0.95+0.9; also sigma, step, snr
  db, to, eta         strength, as for: ltxtui plan --shock
  shape, streams, frames, respace
"""


@click.command(epilog=EXAMPLES)
@click.argument("folder", required=False, type=LocalPath(file_okay=False, path_type=Path), metavar="[FOLDER]")
@click.option("--model", metavar="nano|PATH|HUB_ID", help="The built-in toy, a folder, or a hub id.")
@click.option("--grid", "grids", multiple=True, help="Arms as key=value,value …; may be given several times.")
@click.option("--shock", "shocks", multiple=True, help="One arm: a shock, or several joined by ';'. May be repeated.")
@click.option("--seeds", type=click.IntRange(1, 100_000), help="How many paired seeds.  [default: 16]")
@click.option("--first-seed", type=SEED, help="The first of them.  [default: 0]")
@click.option(
    "--prompt", "prompts", multiple=True, help="Taken in turn, one per seed. Default for nano: its grammar's."
)
@click.option("--negative-prompt", help="What to steer away from.")
@click.option("--steps", type=STEPS, default=30, show_default=True, help="Of plain smooth sampling.")
@click.option("--height", type=PIXELS, help="Pixels, a multiple of 32. Default: the model's.")
@click.option("--width", type=PIXELS, help="Pixels, a multiple of 32. Default: the model's.")
@click.option("--frames", type=FRAMES, help="Frames, 8n+1. Default: the model's.")
@click.option("--guidance-scale", type=float, help="Video guidance; 1 turns all guidance off. Default: the model's.")
@click.option(
    "--distilled", is_flag=True, help="The distilled model's eight levels; controls spread more on the same line."
)
@click.option("--offload", type=click.Choice(["none", "model", "sequential"]), default="model", show_default=True)
@click.option("--device", help="Torch device. Default: cuda if there is one, else cpu; mps only if named.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes that make runs.")
@click.option("--extend", is_flag=True, help="Add seeds and arms to a sweep that is there.")
@click.option(
    "--report",
    "report_only",
    is_flag=True,
    help="Only analyse what FOLDER holds: archives, or without them its results.csv.",
)
@click.option("--json", "as_json", is_flag=True, help="Print every number as one JSON object; NaN as null.")
@click.option("--markdown", type=click.Path(dir_okay=False, path_type=Path), help="Also write tables and verdict here.")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Also write the forest plot here.")
@click.pass_context
def sweep(context: click.Context, /, folder: Path | None, **options: Any) -> None:
    """Compare kinds, places and strengths of shocks over paired seeds, and say whether any helps.

    Every arm is compared with smooth sampling at as many model evaluations, seed by seed. The primary endpoint is the
    drift index, corrected by Holm over all arms; everything else is exploratory. Each run is an archive in FOLDER/runs;
    FOLDER/results.csv has a line per run. Started again with the same arguments, it makes only the runs that are
    missing. Without FOLDER, one under sweeps/ is named after what is asked.
    """
    given = {n for n in options if context.get_parameter_source(n) is not click.core.ParameterSource.DEFAULT}
    outputs = {name: options.pop(name) for name in ("as_json", "markdown", "svg")}
    for path in (outputs["markdown"], outputs["svg"]):
        if path is not None and not path.absolute().parent.is_dir():
            raise Problem(f"the folder of {path} does not exist; make it first")
    given -= {*outputs, "workers", "extend", "report_only"}
    if options["report_only"]:
        if folder is None:
            raise Problem("say which sweep: ltxtui sweep FOLDER --report")
        made = _read(folder)
    else:
        folder, made = _prepared(folder, given, options)
        _foresee(folder, made)
        _run(folder, made, options["workers"])
    _report(folder, made, **outputs)


# -- what is asked for


def _read(folder: Path) -> Sweep:
    from recorder.sweep import spec

    try:
        return spec.read(folder)
    except spec.NotASweep as error:
        raise Problem(str(error)) from error
    except OSError as error:
        raise Problem(f"{folder} cannot be read: {error.strerror or error}") from error


def _prepared(folder: Path | None, given: set[str], options: dict[str, Any]) -> tuple[Path, Sweep]:
    """The folder and the sweep in it: as it is there, extended, or new."""
    from recorder.sweep import spec

    there = folder is not None and (folder / spec.SPEC).exists()
    if there and folder is not None and not given:
        return folder, _read(folder)
    if there and folder is not None and options["extend"]:
        options = {**options, **_left_as_they_are(_read(folder), given)}
    asked = _asked(options, bool(there and options["extend"]))
    if folder is None:
        folder = _default_folder(asked)
        there = (folder / spec.SPEC).exists()
    if not there:
        return folder, asked
    stored = _read(folder)
    if options["extend"]:
        if different := stored.settings_differences(asked):
            raise Problem(f"{folder} cannot be extended: {'; '.join(different)}; choose another folder")
        return folder, stored.extended(asked)
    if different := stored.differences(asked):
        raise Problem(
            f"{folder} holds another sweep: {'; '.join(different)}. Give the same arguments or none to go on, "
            "--extend to add seeds and arms, or another folder"
        )
    return folder, stored


def _left_as_they_are(stored: Sweep, given: set[str]) -> dict[str, Any]:
    """What an extension need not say again."""
    from dataclasses import asdict

    known: dict[str, Any] = asdict(stored.settings)
    known |= {"seeds": len(stored.seeds), "first_seed": stored.seeds[0]}
    return {name: value for name, value in known.items() if name not in given}


def _asked(options: dict[str, Any], more: bool) -> Sweep:
    """A sweep as the command line says it; `more` if it may name no arm, because there are some already."""
    from recorder.sampling.metadata import versions
    from recorder.sweep.grid import arms_of, with_controls
    from recorder.sweep.spec import Settings, Sweep

    model = options["model"]
    if model is None:
        raise Problem("say which model: --model nano, or a folder, or a hub id such as diffusers/LTX-2.3-Diffusers")
    if not options["grids"] and not options["shocks"] and not more:
        raise Problem("say what to compare, such as --grid 'kind=restart,renoise at=0.95,0.9 db=3,6' or --shock SPEC")
    check_request(options["steps"], options["height"], options["width"], options["frames"])
    try:
        arms, notes = arms_of(options["grids"], options["shocks"])
    except ValueError as error:
        raise Problem(str(error)) from error
    for note in notes:
        click.echo(f"note: {note}", err=True)
    prompts = tuple(options["prompts"]) or _own_prompts(model)
    names = (
        "negative_prompt",
        "steps",
        "height",
        "width",
        "frames",
        "guidance_scale",
        "distilled",
        "offload",
        "device",
    )
    settings = Settings(model, prompts, **{name: options[name] for name in names})
    first = options["first_seed"] or 0
    seeds = tuple(range(first, first + (options["seeds"] or 16)))
    return Sweep.make(settings, seeds, with_controls(arms), versions())


def _foresee(folder: Path, made: Sweep) -> None:
    """Say before any run is made what the verdict will not be able to say."""
    from recorder.sweep import spec
    from replay.sweep.feasibility import foreseen

    found = foreseen(made)
    if found.refused and not (folder / spec.SPEC).exists():
        raise Problem(found.refused)
    for note in filter(None, (found.refused, *found.notes)):
        click.echo(f"note: {note}", err=True)


def _own_prompts(model: str) -> tuple[str, ...]:
    from recorder.nano.names import is_nano

    if not is_nano(model):
        raise Problem("say what to generate: --prompt '…', several times for several, taken in turn by the seeds")
    import numpy as np

    from recorder.nano.clips import all_prompts

    found = all_prompts()
    # Shuffled, so that few seeds hold all colours, shapes and directions; always in the same way.
    return tuple(found[i] for i in np.random.default_rng(0).permutation(len(found)))


def _default_folder(asked: Sweep) -> Path:
    from recorder.format.locations import safe_name

    said = {k: v for k, v in asked.as_dict().items() if k in ("settings", "arms")}
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:8]
    return Path("sweeps") / f"{safe_name(Path(asked.settings.model).name)}-{digest}"


# -- making runs


def _run(folder: Path, made: Sweep, workers: int) -> None:
    """Make the runs that are missing, and say how to go on if that is interrupted."""
    from recorder.sweep import spec
    from recorder.sweep.runner import Stopped, run_jobs, wait_for_workers
    from recorder.system.signals import as_ctrl_c
    from replay.sweep.results import discard, find_runs, finished

    done: dict[Job, Path] = {}
    try:
        make_folders(folder)
        with ExitStack() as stack:
            stack.enter_context(as_ctrl_c())
            stack.enter_context(spec.ownership(folder))
            wait_for_workers(folder, lambda said: click.echo(said, err=True))
            spec.write(folder, made)
            found = find_runs(folder, made)
            done = finished(folder, found, made)
            jobs = [job for job in made.jobs() if job not in done]
            if not jobs:
                return
            _check_extra()
            _warn_of_versions(made)
            wanted = set(jobs)
            discard(f for f in found if f.job in wanted)
            click.echo(f"{counted(len(jobs), 'run')} to make, {len(done)} done already, in {folder}", err=True)
            told = stack.enter_context(_progress(len(done), len(jobs), workers))
            failed = run_jobs(folder, jobs, workers, told)
    except spec.Busy as error:
        raise Problem(str(error)) from error
    except OSError as error:
        raise Problem(f"{folder} cannot be used: {error.strerror or error}") from error
    except Stopped as error:
        raise Problem(f"{error} (finished runs are kept; details in {folder / spec.LOG})") from error
    except KeyboardInterrupt:
        say(f"ltxtui: interrupted; finished runs are kept, go on with: ltxtui sweep {folder}")
        sys.exit(130)
    _say_failures(failed, folder)


def _check_extra() -> None:
    from recorder.generate import CannotGenerate, check_extra

    try:
        check_extra()
    except CannotGenerate as error:
        raise Problem(str(error)) from error


def _warn_of_versions(made: Sweep) -> None:
    from recorder.sampling.metadata import versions

    here = versions()
    changed = [f"{k} {v} then, {here[k]} now" for k, v in made.versions.items() if here.get(k, v) != v]
    if changed:
        said = clean("; ".join(changed))
        click.echo(f"note: begun with other versions ({said}): runs may not be exact pairs", err=True)


def _say_failures(failed: list[Answer], folder: Path) -> None:
    from recorder.sweep import spec

    arms: dict[str, str] = {}
    for answer in failed:
        arms.setdefault(answer.job.arm, str(answer.error))
    for arm, reason in arms.items():
        click.echo(f"ltxtui: {clean(arm)} failed: {clean(reason)}", err=True)
    if arms:
        click.echo(f"ltxtui: see {folder / spec.LOG}; started again, the sweep tries these once more", err=True)


@contextmanager
def _progress(done: int, more: int, workers: int) -> Iterator[Callable[[Answer, int], None]]:
    """A bar on a terminal, else a line now and then; both with an estimate of the time left."""
    if is_terminal(sys.stderr):
        from tqdm import tqdm

        with tqdm(total=done + more, initial=done, unit="run", dynamic_ncols=True, file=sys.stderr) as bar:

            def draw(answer: Answer, dropped: int) -> None:
                bar.set_postfix_str(f"{clean(answer.job.arm)} seed {answer.job.seed}", refresh=False)
                bar.update(1 + dropped)

            yield draw
        return
    count, spent = 0, 0.0

    def say(answer: Answer, dropped: int) -> None:
        nonlocal count, spent
        from ltxtui.plot.text import duration

        before, count, spent = count, count + 1 + dropped, spent + answer.seconds
        step = max(1, more // PLAIN_LINES)
        if count // step > before // step or count == more:
            left = spent / count * (more - count) / workers
            ahead = f", about {duration(left)} left" if count < more else ""
            click.echo(f"run {done + count}/{done + more}{ahead}", err=True)

    yield say


# -- what was found


def _report(folder: Path, made: Sweep, as_json: bool, markdown: Path | None, svg: Path | None) -> None:
    from recorder.sweep import spec
    from replay.model.run import NotARun
    from replay.sweep.analysis import analyse
    from replay.sweep.results import as_csv, collect, find_runs, finished, from_csv

    try:
        if not (folder / spec.RUNS).exists() and (folder / spec.RESULTS).exists():
            # The archives were not kept: their summary is what there is.
            rows = from_csv((folder / spec.RESULTS).read_text("utf-8"), made)
        else:
            rows = collect(folder, made, finished(folder, find_runs(folder, made), made))
            spec.replace_file(folder / spec.RESULTS, as_csv(rows, made))
    except NotARun as error:
        raise Problem(f"{error}; remove it and start the sweep again") from error
    except ValueError as error:
        raise Problem(f"{folder / spec.RESULTS} cannot be read: {error}") from error
    except OSError as error:
        raise Problem(f"{error.filename or folder}: {error.strerror or error}") from error
    analysis = analyse(made, rows)
    _write_files(analysis, markdown, svg)
    if as_json:
        click.echo(json.dumps(analysis.as_json(), indent=2, ensure_ascii=False, allow_nan=False))
        return
    from ltxtui.plot.line_plot import Style
    from ltxtui.reports.sweep_text import report
    from ltxtui.themes import first_drawing

    width = MAX_WIDTH  # what is not read on a terminal should not depend on one
    if is_terminal(sys.stdout):
        width = max(80, min(width, shutil.get_terminal_size((MAX_WIDTH, 24)).columns))
    click.echo(report(analysis, width, ascii_only=first_drawing() is Style.ASCII))
    click.echo(f"\n{counted(len(rows), 'run')}: {folder / spec.RESULTS}")


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
        raise Problem(f"{error.filename} cannot be written: {error.strerror}") from error
