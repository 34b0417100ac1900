"""`ltxtui sweep`: many arms of shocks over paired seeds, resumable, with a ranked table and a verdict at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ltxtui.cli.common import CliError, LocalPath
from ltxtui.cli.options.numbers import FRAMES, PIXELS, SEED, STEPS
from ltxtui.cli.options.ray import ray_options, ray_request
from ltxtui.cli.options.setup import setup_options
from ltxtui.cli.stores.upload import sweep_uploader, upload_option
from ltxtui.cli.sweeps.join import join
from ltxtui.cli.sweeps.report import made_runs, report
from ltxtui.cli.sweeps.request import foresee, prepared, read_sweep
from ltxtui.cli.sweeps.runs import make_missing

EXAMPLES = """\b
Examples:
  ltxtui sweep --model nano --seeds 16 --grid 'kind=restart,renoise at=0.95,0.9,0.75,0.5 db=1,2,3'
  ltxtui sweep --model nano --seeds 32 --guidance-scale 1 --workers 2 \\
      --grid 'kind=restart,renoise,predict_perturb at=0.9,critical db=3' --shock ancestral:eta=0.5
  ltxtui sweep --model nano --recipe two-stage --grid 'kind=restart at=0.85,0.75 db=3 stage=2'
  ltxtui sweep my-sweep --model nano --shock 'spikes:at=0.95+0.9+0.8,db=3'
  ltxtui sweep my-sweep                                resume
  ltxtui sweep my-sweep --seeds 64 --extend            more seeds, or more arms
  ltxtui sweep my-sweep --gpus all                     a worker for each GPU
  ltxtui sweep my-sweep --join                         in as many terminals or batch jobs as you like
  ltxtui sweep my-sweep --ray ray://head:10001         a worker on every GPU of a Ray cluster
  ltxtui sweep my-sweep --report --markdown table.md --svg forest.svg
  ltxtui sweep my-sweep --upload s3://bucket/my-sweep  a copy on an object store, once it is complete

\b
Keys of a grid. Values are separated by commas; every combination is an arm:
  kind     restart, renoise, predict_perturb, additive, sigma_bump, ancestral, spikes
  at       a σ (0.9), a step (12), critical or every; for spikes 0.95+0.9; also sigma, step, snr
  db, to, eta         strength, as for: ltxtui plan --shock
  shape, streams, frames, respace, stage (of a recipe)
"""


@click.command(epilog=EXAMPLES)
@click.argument("folder", required=False, type=LocalPath(file_okay=False, path_type=Path), metavar="[FOLDER]")
@click.option("--model", metavar="nano|PATH|HUB_ID", help="The built-in toy, a folder, or a hub id.")
@click.option("--grid", "grids", multiple=True, help="Arms as key=value,value …; may be repeated.")
@click.option("--shock", "shocks", multiple=True, help="One arm: a shock, or several joined by ';'. May be repeated.")
@click.option("--seeds", type=click.IntRange(1, 100_000), help="How many paired seeds.  [default: 16]")
@click.option("--first-seed", type=SEED, help="The first of them.  [default: 0]")
@click.option(
    "--prompt",
    "prompts",
    multiple=True,
    help="One per seed, taken in turn; may be repeated.  [default for nano: all it knows]",
)
@click.option("--negative-prompt", help="What to steer away from.")
@click.option("--steps", type=STEPS, default=30, show_default=True, help="Denoising steps of smooth sampling.")
@setup_options
@click.option("--height", type=PIXELS, help="Pixels, a multiple of 32. Default: the model's.")
@click.option("--width", type=PIXELS, help="Pixels, a multiple of 32. Default: the model's.")
@click.option("--frames", type=FRAMES, help="Frames, 8n+1. Default: the model's.")
@click.option("--guidance-scale", type=float, help="Video guidance; 1 turns all guidance off. Default: the model's.")
@click.option(
    "--distilled",
    is_flag=True,
    help="The distilled model's eight noise levels; controls with more steps interpolate them.",
)
@click.option(
    "--offload",
    type=click.Choice(["none", "model", "sequential"]),
    default="model",
    show_default=True,
    help="What is moved off the GPU while idle.",
)
@click.option("--device", help="Torch device. Default: cuda if there is one, else cpu; mps only if named.")
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Processes that make runs at the same time; with --ray: one per GPU unless given.",
)
@click.option("--gpus", metavar="0,1,…|all", help="One worker per GPU, which sees no other one.")
@click.option(
    "--join", is_flag=True, help="Share FOLDER with other makers, of this and other machines: docs/clusters.md."
)
@ray_options
@click.option("--extend", is_flag=True, help="Add seeds and arms to an existing sweep.")
@click.option(
    "--report",
    "report_only",
    is_flag=True,
    help="Only analyse FOLDER: its archives, or its results.csv if there are no archives.",
)
@click.option("--json", "as_json", is_flag=True, help="Print every number as one JSON object; NaN as null.")
@click.option(
    "--markdown", type=LocalPath(dir_okay=False, path_type=Path), help="Also write tables and verdict to this file."
)
@upload_option
@click.option("--svg", type=LocalPath(dir_okay=False, path_type=Path), help="Also write the forest plot to this file.")
@click.pass_context
def sweep(context: click.Context, /, folder: Path | None, **options: Any) -> None:
    """Compare kinds, positions and strengths of shocks over paired seeds, and test whether any helps.

    Every arm is compared, seed by seed, with smooth sampling that takes the same number of steps. The primary endpoint
    is the drift index, with Holm's correction over all arms; all other results are exploratory. Each run is an archive
    in FOLDER/runs, and FOLDER/results.csv has one line per run. Started again with the same arguments, the sweep makes
    only the missing runs. Without FOLDER, it is stored under sweeps/, in a folder named after the arguments.
    """
    given = {n for n in options if context.get_parameter_source(n) is not click.core.ParameterSource.DEFAULT}
    outputs = {name: options.pop(name) for name in ("as_json", "markdown", "svg")}
    for path in (outputs["markdown"], outputs["svg"]):
        if path is not None and not path.absolute().parent.is_dir():
            raise CliError(f"the folder of {path} does not exist; create it first")
    upload = sweep_uploader(options.pop("upload_to"))
    ray = ray_request(options, given)
    given -= {*outputs, "upload_to", "workers", "gpus", "join", "extend", "report_only"}
    if options["report_only"]:
        if folder is None:
            raise CliError("specify a sweep: ltxtui sweep FOLDER --report")
        made = read_sweep(folder)
    else:
        if options["join"] and folder is None:
            raise CliError("specify the folder to share: ltxtui sweep FOLDER --join")
        if options["gpus"] and context.get_parameter_source("workers") is not click.core.ParameterSource.DEFAULT:
            raise CliError("--gpus sets the number of workers; leave out --workers")
        folder, made = prepared(folder, given, options)
        gpus = _gpus(options["gpus"], made.settings.device)
        workers = len(gpus) or options["workers"]
        foresee(folder, made)
        if options["join"]:
            made = join(folder, made, workers, gpus, extend=options["extend"])
        else:
            make_missing(folder, made, workers, gpus, ray)
    report(folder, made, **outputs)
    if upload is not None:
        upload(folder, made_runs(folder, made))


def _gpus(text: str | None, device: str | None) -> tuple[str, ...]:
    """One GPU for each worker; none if that is not asked for. Raises CliError."""
    from recorder.sweep.gpus import chosen_gpus, visible_gpus

    if text is None:
        return ()
    if device not in (None, "cuda"):
        raise CliError(f"--gpus sets which GPU each worker sees; this sweep has --device {device}")
    try:
        return chosen_gpus(text, visible_gpus())
    except ValueError as error:
        raise CliError(str(error)) from error
