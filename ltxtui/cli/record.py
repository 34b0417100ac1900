"""`ltxtui record`: one headless generation with recording."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from ltxtui.cli.common import Problem, check_writable, is_terminal, runs_dir_option, say
from ltxtui.cli.numbers import FRAMES, PIXELS, SEED, STEPS
from ltxtui.cli.rerun import Repetition, repetition
from ltxtui.cli.shock_options import SHOCK_KEYS, read_shocks, read_sigmas, shock_option, sigmas_option
from ltxtui.plot.text import clean

if TYPE_CHECKING:
    from recorder.generate import Outcome
    from recorder.recording import Run

EXAMPLES = f"""\b
Examples:
  ltxtui record --model nano --prompt "a red ball moving left"
  ltxtui record --model diffusers/LTX-2.3-Diffusers --prompt "a fox in the snow" --output fox.mp4
  ltxtui record --model diffusers/LTX-2.3-Distilled-Diffusers --distilled --prompt "a fox in the snow"
  ltxtui record --model nano --steps 20 --seed 0 --json | jq -r .archive
  ltxtui record --model nano --shock restart:sigma=0.93,db=3     see it beforehand: ltxtui plan
  ltxtui record --like 20261122-143015-red-disc                  the same run again, bit for bit
  ltxtui record --like 20261122-143015-red-disc --shock none     its smooth twin

{SHOCK_KEYS}
\b
Watch it meanwhile from another terminal with: ltxtui watch
"""


@click.command(epilog=EXAMPLES)
@click.option("--model", metavar="nano|PATH|HUB_ID", help="The built-in toy, a folder, or a hub id.")
@click.option(
    "--like",
    metavar="ARCHIVE",
    help="Repeat a recorded run, live shocks included; a path, or a part of its name. Options given with it change it.",
)
@click.option("--prompt", default="a red ball moving left", show_default=True)
@click.option("--negative-prompt", help="What to steer away from.")
@click.option("--steps", type=STEPS, default=30, show_default=True, help="Denoising steps; --distilled sets its own 8.")
@click.option("--seed", type=SEED, default=0, show_default=True)
@shock_option
@sigmas_option
@click.option("--height", type=PIXELS, help="Pixels, a multiple of 32. Default: the model's.")
@click.option("--width", type=PIXELS, help="Pixels, a multiple of 32. Default: the model's.")
@click.option("--frames", type=FRAMES, help="Frames, 8n+1, such as 121. Default: the model's.")
@click.option("--guidance-scale", type=float, help="Video guidance; 1 turns all guidance off. Default: the model's 3.")
@click.option("--distilled/--no-distilled", help="Use the distilled model's eight noise levels, without guidance.")
@click.option("--save-latents/--no-save-latents", help="Keep the sample and predicted x0 of every step (float16).")
@click.option(
    "--offload",
    type=click.Choice(["none", "model", "sequential"]),
    default="model",
    show_default=True,
    help="What leaves the GPU while it is not used: nothing, whole models, or single layers.",
)
@click.option("--device", help="Torch device. Default: cuda if there is one, else cpu; mps only if named.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="Write the video here, e.g. clip.mp4.")
@click.option("--allow-control", is_flag=True, help="Let your other processes steer it with: ltxtui control.")
@click.option("--name", help="Name added to the run's time; two random words otherwise.")
@click.option("--json", "as_json", is_flag=True, help='Print {"archive": …, …} on standard output and nothing else.')
@runs_dir_option
@click.pass_context
def record(context: click.Context, /, like: str | None, as_json: bool, **options: Any) -> None:
    """Generate once with LTX 2.3 and record every step.

    The last line printed is the archive's path. Ctrl-C, SIGTERM, SIGQUIT and the end of the terminal stop the
    generation and keep what was recorded. Ends with status 1 if nothing was recorded.
    """
    from recorder.generate import CannotGenerate, Request, check_extra

    options |= {"shocks": read_shocks(options["shocks"]), "sigmas": read_sigmas(options["sigmas"])}
    given = {n for n in options if context.get_parameter_source(n) is ParameterSource.COMMANDLINE}
    if "steps" in given and options["sigmas"] is not None:
        raise Problem("--sigmas says how many steps there are; leave out --steps")
    again = None
    if like is not None:
        again = repetition(like, options["runs_dir"], {name: options[name] for name in given})
        options |= again.fields
    elif options["model"] is None:
        raise Problem("name a model with --model nano|PATH|HUB_ID, or a recorded run with --like ARCHIVE")
    request = Request.from_dict(options)
    check_request(request.steps, request.height, request.width, request.frames)
    check_writable(request.runs_dir)
    if request.output is not None and not request.output.absolute().parent.is_dir():
        raise Problem(f"the folder of --output {request.output} does not exist; make it first")
    try:
        check_extra()
    except CannotGenerate as error:
        raise Problem(str(error)) from error
    _run(request, again, as_json)


def _check_plan(request: Any, again: Repetition | None) -> None:
    """Find out before the weights are loaded whether the shocks can act, and say what should be known of them."""
    for note in again.notes if again else ():
        click.echo(f"note: {clean(note)}", err=True)
    if not request.shocks and request.sigmas is None:
        return
    from recorder.native_schedule import planned
    from recorder.shocks.plan import PlanError

    try:
        _, plan = planned(request)
    except PlanError as error:
        raise Problem(str(error)) from error
    for warning in plan.warnings:
        click.echo(f"warning: {clean(warning)}", err=True)
    if again and again.sigmas and plan.waiting is None and plan.sigmas != again.sigmas:
        click.echo("warning: this cannot be the same run: its noise levels will not be the recorded ones", err=True)


def _run(request: Any, again: Repetition | None, as_json: bool) -> None:
    from recorder.format.events import reason_of
    from recorder.generate import CannotGenerate, generate
    from recorder.system.signals import as_ctrl_c

    runs: list[Run] = []
    try:
        with as_ctrl_c():
            if not is_terminal(sys.stderr):
                click.echo(f"loading {clean(request.model)}", err=True)
            _check_plan(request, again)
            outcome = generate(request, None if is_terminal(sys.stderr) else _progress, runs.append)
    except CannotGenerate as error:
        raise Problem(str(error)) from error
    except Problem:
        raise
    except KeyboardInterrupt:
        say(f"ltxtui: interrupted; {_left(runs)}")
        sys.exit(130)
    except Exception as error:
        raise Problem(f"the generation failed: {type(error).__name__}: {reason_of(error)} ({_left(runs)})") from error
    _tell(outcome, as_json)


def _left(runs: list[Run]) -> str:
    """What there is of a recording that did not come to its end."""
    if runs and runs[0].kept:
        return f"the run is kept as `{runs[0].standing}`, see: ltxtui runs"
    return "no step was taken, so no run is kept"


def _tell(outcome: Outcome, as_json: bool) -> None:
    """Say what came of it; ends with status 1 if nothing was recorded, though it was generated."""
    if outcome.status == "interrupted":
        click.echo("ltxtui: stopped by a viewer; what was recorded is kept", err=True)
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
                }
            )
        )
    else:
        if outcome.output is not None:
            click.echo(f"video: {outcome.output}")
        if outcome.archive is not None:
            click.echo(str(outcome.archive))
    if outcome.archive is None:
        raise Problem("nothing was recorded: no step was taken, so no run is kept")
    if not outcome.rows:
        raise Problem(f"nothing was recorded: no step could be measured; the reasons are in {outcome.archive}")
    if outcome.standing != outcome.status:
        click.echo(f"ltxtui: the run is kept as `{outcome.standing}`; the reasons are among its events", err=True)


def _progress(done: int, total: int) -> None:
    """Ten plain lines at most, for logs and pipes."""
    if done == total or done % max(1, total // 10) == 0:
        click.echo(f"step {done}/{total}", err=True)


def check_request(steps: int, height: int | None, width: int | None, frames: int | None) -> None:
    """Refuse sizes that the model cannot have, before it is loaded.

    Raises:
        Problem: naming the nearest value that works.
    """
    if steps < 1:
        raise Problem(f"--steps must be at least 1, not {steps}")
    for option, value in (("--height", height), ("--width", width)):
        if value is not None and (value < 32 or value % 32):
            near = max(32, round(value / 32) * 32)
            raise Problem(f"{option} must be a multiple of 32, not {value}; the nearest is {near}")
    if frames is not None and (frames < 1 or frames % 8 != 1):
        near = max(1, round((frames - 1) / 8) * 8 + 1)
        raise Problem(f"--frames must be 8n+1, such as 65 or 121, not {frames}; the nearest is {near}")
