"""`ltxtui record`: one headless generation with recording."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ltxtui.cli.comfy import queue_again
from ltxtui.cli.common import CliError, LocalPath, check_writable, command_line, is_terminal, runs_dir_option, say
from ltxtui.cli.explain import MET
from ltxtui.cli.options.alert import notify_option, stop_if_option
from ltxtui.cli.options.numbers import FRAMES, PIXELS, SEED, STEPS
from ltxtui.cli.options.setup import SETUP_KEYS, changed_fields, read_setup, setup_options
from ltxtui.cli.options.shock import SHOCK_KEYS, read_shocks, shock_option, sigmas_option
from ltxtui.cli.rerun import Repetition, repetition
from ltxtui.cli.stores.upload import upload_option, uploader
from ltxtui.plot.text import clean
from recorder.format import locations

if TYPE_CHECKING:
    from recorder.generate import Outcome
    from recorder.recording import RunHandle

EXAMPLES = f"""\b
Examples:
  ltxtui record --model nano --prompt "a red ball moving left"
  ltxtui record --model diffusers/LTX-2.3-Diffusers --prompt "a fox in the snow" --output fox.mp4
  ltxtui record --model diffusers/LTX-2.3-Distilled-Diffusers --distilled --prompt "a fox in the snow"
  ltxtui record --model nano --steps 20 --seed 0 --json | jq -r .archive
  ltxtui record --model nano --pack                              one file, which every command reads
  ltxtui record --model nano --upload s3://bucket/runs           a copy on an object store, once it has ended
  ltxtui record --model nano --shock restart:sigma=0.93,db=3     draw it first with: ltxtui plan
  ltxtui record --model nano --schedule karras --sampler dpmpp_2m --cfg 3 --stg 0
  ltxtui record --model nano --recipe two-stage --shock restart:sigma=0.8,db=3,stage=2
  ltxtui record --model diffusers/LTX-2.3-Diffusers --recipe two-stage --lora distilled.safetensors:0.5 --image fox.png
  ltxtui record --model nano --stop-if not-finite --notify "tee -a alerts.jsonl"
  ltxtui record --like 20261122-143015-red-disc                  repeat a run, bit-identical
  ltxtui record --like 20261122-143015-red-disc --shock none     the same run without its shocks

{SETUP_KEYS}
{SHOCK_KEYS}
\b
Watch it from another terminal with: ltxtui watch
"""


@click.command(epilog=EXAMPLES)
@click.option("--model", metavar="nano|PATH|HUB_ID", help="The built-in toy model, a folder, or a hub id.")
@click.option(
    "--like",
    metavar="ARCHIVE",
    help="Repeat a recorded run, with its live shocks: its path, or a part of its name. Other options override it.",
)
@click.option("--prompt", default="a red ball moving left", show_default=True, help="What to show.")
@click.option("--negative-prompt", help="What to steer away from.")
@click.option("--steps", type=STEPS, default=30, show_default=True, help="Denoising steps; --distilled sets its own 8.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of the noise.")
@shock_option
@sigmas_option
@setup_options
@click.option("--height", type=PIXELS, help="Pixels, a multiple of 32. Default: the model's.")
@click.option("--width", type=PIXELS, help="Pixels, a multiple of 32. Default: the model's.")
@click.option("--frames", type=FRAMES, help="Frames, 8n+1, such as 121. Default: the model's.")
@click.option("--guidance-scale", type=float, help="Video guidance; 1 turns all guidance off. Default: the model's 3.")
@click.option("--distilled/--no-distilled", help="Use the eight noise levels of the distilled model, without guidance.")
@click.option("--save-latents/--no-save-latents", help="Store the sample and predicted x0 of every step (float16).")
@click.option(
    "--offload",
    type=click.Choice(["none", "model", "sequential"]),
    default="model",
    show_default=True,
    help="What is moved off the GPU while idle: nothing, whole models, or single layers.",
)
@click.option("--device", help="Torch device. Default: cuda if there is one, else cpu; mps only if named.")
@click.option(
    "--output", type=LocalPath(dir_okay=False, path_type=Path), help="Write the video to this file, e.g. clip.mp4."
)
@click.option("--allow-control", is_flag=True, help="Accept commands of: ltxtui control.")
@click.option("--pack", is_flag=True, help="Keep the run as one file, ….zarr.zip, without a folder.")
@upload_option
@stop_if_option
@notify_option
@click.option("--name", help="Name added to the start time. Default: two random words.")
@click.option("--json", "as_json", is_flag=True, help='Print only {"archive": …, …} on standard output.')
@runs_dir_option
@click.pass_context
def record(
    context: click.Context, /, like: str | None, as_json: bool, notify: tuple[str, ...], upload_to: str | None,
    **options: Any,
) -> None:  # fmt: skip
    """Generate one clip with LTX 2.3 and record every step.

    Prints how to watch the run when it begins, and how to replay it when it has ended; the last line is the path of the
    archive. Ctrl-C, SIGTERM, SIGQUIT and closing the terminal stop the generation and keep what is recorded. The exit
    status is 1 if nothing was recorded, and 3 if a rule of --stop-if has found something.
    """
    from recorder.generate import CannotGenerate, Request, check_extra

    given = {n for n in options if context.get_parameter_source(n) is ParameterSource.COMMANDLINE}
    options = {**read_setup(options, given), "shocks": read_shocks(options["shocks"])}
    again = None
    if like is not None and queue_again(like, options["runs_dir"], bool(given - {"runs_dir"})):
        return
    if like is not None:
        again = repetition(like, options["runs_dir"], changed_fields(options, given))
        options |= again.fields
    elif options["model"] is None:
        raise CliError("specify a model with --model nano|PATH|HUB_ID, or a recorded run with --like ARCHIVE")
    request = Request.from_dict(options)
    check_request(request.steps, request.height, request.width, request.frames)
    upload = uploader(upload_to)
    check_writable(request.runs_dir)
    _check_files(request)
    if request.output is not None and not request.output.absolute().parent.is_dir():
        raise CliError(f"the folder of --output {request.output} does not exist; create it first")
    try:
        check_extra()
    except CannotGenerate as error:
        raise CliError(str(error)) from error
    _run(request, again, as_json, notify, upload)


def _check_files(request: Any) -> None:
    from recorder.recipes.libraries import CannotGenerate
    from recorder.recipes.loading import check_files

    try:
        check_files(request)
    except CannotGenerate as error:
        raise CliError(str(error)) from error


def _check_plan(request: Any, again: Repetition | None) -> None:
    """Plan the shocks before the weights are loaded, and print notes and warnings.

    Raises:
        CliError: if a shock cannot act.
    """
    for note in again.notes if again else ():
        click.echo(f"note: {clean(note)}", err=True)
    if not (request.shocks or request.sigmas or request.schedule or request.stages):
        return
    from recorder.recipes.native_schedule import planned
    from recorder.shocks.plan import PlanError

    try:
        plans = [plan for _, plan in planned(request)]
    except PlanError as error:
        raise CliError(str(error)) from error
    for warning in dict.fromkeys(warning for plan in plans for warning in plan.warnings):
        click.echo(f"warning: {clean(warning)}", err=True)
    known = all(plan.waiting is None for plan in plans)
    if again and again.sigmas and known and tuple(plan.sigmas for plan in plans) != again.sigmas:
        click.echo("warning: this will not be the same run: its noise levels differ from the recorded ones", err=True)


def _run(
    request: Any, again: Repetition | None, as_json: bool, notify: Sequence[str], upload: Callable[[Path], None] | None
) -> None:
    from ltxtui.alerts.watcher import Watcher
    from recorder.format.events import reason_of
    from recorder.generate import CannotGenerate, generate
    from recorder.journal.loading import Loading
    from recorder.system.signals import as_ctrl_c

    runs: list[RunHandle] = []
    watcher = Watcher(notify, say) if notify else None
    loading = Loading()

    def begun(run: RunHandle) -> None:
        runs.append(run)
        loading.over()
        _say_how_to_watch(run.name)
        if watcher is not None:
            watcher.begin(run.socket_path, run.path)

    try:
        with as_ctrl_c(), loading, watcher or contextlib.nullcontext():
            click.echo(f"loading {clean(request.model)}", err=True)
            _check_plan(request, again)
            outcome = generate(request, None if is_terminal(sys.stderr) else _progress, begun)
    except CannotGenerate as error:
        raise CliError(str(error)) from error
    except CliError:
        raise
    except KeyboardInterrupt:
        say(f"ltxtui: interrupted; {_left(runs)}")
        sys.exit(130)
    except Exception as error:
        raise CliError(f"the generation failed: {type(error).__name__}: {reason_of(error)} ({_left(runs)})") from error
    with contextlib.ExitStack() as after:
        if upload is not None and outcome.archive is not None:
            after.callback(upload, outcome.archive)  # also of a run that a rule has stopped
        _print_outcome(outcome, as_json, request.runs_dir)


def _say_how_to_watch(name: str) -> None:
    say(f"recording {clean(name)}")
    say(f"  watch it here:        {command_line('ltxtui', 'watch', name)}")
    say(f"  from another machine: {command_line('ltxtui', 'watch', f'ssh://{socket.gethostname()}/{name}')}")


def _say_what_next(archive: Path, runs_dir: Path) -> None:
    """How to replay, explain and pack a run: by its name where that is enough."""
    name = locations.run_name(archive) if runs_dir == Path("runs") else str(archive)
    say(f"  replay it:       {command_line('ltxtui', 'replay', name)}")
    say(f"  what was wrong:  {command_line('ltxtui', 'explain', name)}")
    if not locations.is_packed(archive):
        say(f"  as one file:     {command_line('ltxtui', 'pack', name)}")


def _left(runs: list[RunHandle]) -> str:
    """What is kept of a recording that was interrupted or failed."""
    if runs and runs[0].kept:
        return f"the run is kept as `{runs[0].standing}`: ltxtui runs"
    return "no step was taken, so no run is kept"


def _print_outcome(outcome: Outcome, as_json: bool, runs_dir: Path) -> None:
    """Print the outcome.

    Raises:
        CliError: if a clip was generated but nothing was recorded.
    """
    if (met := outcome.rule_met) is not None:
        done = "" if outcome.status == "interrupted" else ", too late to stop the run"
        click.echo(f"ltxtui: stopped by rule {met.id}{done}: {clean(met.text)}", err=True)
    elif outcome.status == "interrupted":
        click.echo("ltxtui: stopped by a viewer; what is recorded is kept", err=True)
    if as_json:
        click.echo(
            json.dumps(
                {
                    "archive": None if outcome.archive is None else str(outcome.archive),
                    "status": outcome.status,
                    "rows": outcome.rows,
                    "missed": outcome.missed,
                    "seconds": round(outcome.seconds, 3),
                    "output": None if outcome.output is None else str(outcome.output),
                    "stopped_by": None if outcome.rule_met is None else outcome.rule_met.as_json(),
                }
            )
        )
    else:
        if outcome.output is not None:
            click.echo(f"video: {outcome.output}")
        if outcome.archive is not None:
            _say_what_next(outcome.archive, runs_dir)
            click.echo(str(outcome.archive))
    if outcome.archive is None:
        raise CliError("nothing was recorded: no step was taken, so no run is kept")
    if not outcome.rows:
        raise CliError(f"nothing was recorded: no step could be measured; the reasons are in {outcome.archive}")
    if outcome.standing != outcome.status:
        click.echo(f"ltxtui: the run is kept as `{outcome.standing}`; the reasons are among its events", err=True)
    if outcome.rule_met is not None:
        raise click.exceptions.Exit(MET)


def _progress(done: int, total: int) -> None:
    """Print at most about ten lines, for logs and pipes."""
    if done == total or done % max(1, total // 10) == 0:
        click.echo(f"step {done}/{total}", err=True)


def check_request(steps: int, height: int | None, width: int | None, frames: int | None) -> None:
    """Refuse sizes that the model does not support, before it is loaded.

    Raises:
        CliError: with the nearest valid value.
    """
    if steps < 1:
        raise CliError(f"--steps must be at least 1, not {steps}")
    for option, value in (("--height", height), ("--width", width)):
        if value is not None and (value < 32 or value % 32):
            near = max(32, round(value / 32) * 32)
            raise CliError(f"{option} must be a multiple of 32, not {value}; the nearest is {near}")
    if frames is not None and (frames < 1 or frames % 8 != 1):
        near = max(1, round((frames - 1) / 8) * 8 + 1)
        raise CliError(f"--frames must be 8n+1, such as 65 or 121, not {frames}; the nearest is {near}")
