"""`ltxtui plan`: the noise schedule that a generation will use, drawn before anything is generated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ltxtui.cli.common import CliError, LocalPath, coloured, painter, text_width
from ltxtui.cli.options.numbers import FRAMES, PIXELS, SEED, STEPS
from ltxtui.cli.options.setup import SETUP_KEYS, read_setup, setup_options
from ltxtui.cli.options.shock import SHOCK_KEYS, read_shocks, shock_option, sigmas_option
from ltxtui.cli.record import check_request

if TYPE_CHECKING:
    from recorder.generate import Request


@click.command(
    epilog=f"""\b
Examples:
  ltxtui plan --steps 30 --shock restart:sigma=0.93,db=3
  ltxtui plan --model diffusers/LTX-2.3-Diffusers --shock restart:snr=-20 --shock renoise:step=20,db=3
  ltxtui plan --shock ancestral:eta=0.5                 fresh noise at every step
  ltxtui plan --shock restart:at=critical               where the critical-phase detector fires
  ltxtui plan --sigmas 1,0.97,0.9,0.95,0.7,0.4          explicit noise levels
  ltxtui plan --schedule ltx:tokens=4096,terminal=0.05 --steps 20
  ltxtui plan --schedule beta --sampler euler_ancestral --cfg 4@1.0-0.9,1
  ltxtui plan --recipe two-stage --shock restart:sigma=0.8,db=3,stage=2
  ltxtui plan --config scheduler_config.json --height 704 --width 1216 --frames 121
  ltxtui plan --shock spikes:at=0.95+0.8,db=3 --json | jq .evaluations

{SETUP_KEYS}
{SHOCK_KEYS}
\b
Run it: ltxtui record takes the same options.
"""
)
@click.option(
    "--model",
    default="nano",
    show_default=True,
    metavar="nano|PATH|HUB_ID",
    help="The model whose scheduler is used; no weights are loaded.",
)
@click.option(
    "--config",
    type=LocalPath(exists=True, dir_okay=False, path_type=Path),
    help="A scheduler_config.json to use instead of the model's.",
)
@click.option("--steps", type=STEPS, default=30, show_default=True, help="Denoising steps; --distilled sets its own 8.")
@shock_option
@sigmas_option
@setup_options
@click.option("--height", type=PIXELS, help="Pixels, a multiple of 32. Default: the model's.")
@click.option("--width", type=PIXELS, help="Pixels, a multiple of 32. Default: the model's.")
@click.option("--frames", type=FRAMES, help="Frames, 8n+1, such as 121. Default: the model's.")
@click.option("--guidance-scale", type=float, help="As for record; it changes no levels.")
@click.option("--distilled", is_flag=True, help="The distilled model's eight noise levels.")
@click.option("--prompt", default="", hidden=True)  # so that a line for `record` can be planned as it is
@click.option("--seed", type=SEED, default=0, hidden=True)
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
@click.pass_context
def plan(context: click.Context, /, config: Path | None, as_json: bool, **options: Any) -> None:
    """Draw the σ curve that a generation will use, with its shocks and warnings about them.

    Prints how many steps the shocks add, and for each shock where it acts, how far down and up it goes in σ and SNR,
    and whether the sample stays on the marginal: as noisy as the σ that the model is given. σ is shifted by the size of
    the clip, so give the size that you will generate. All levels come from the model's own scheduler, set up as
    LTX2Pipeline sets it up.
    """
    given = {n for n in options if context.get_parameter_source(n) is click.core.ParameterSource.COMMANDLINE}
    options = {**read_setup(options, given), "shocks": read_shocks(options["shocks"])}
    check_request(options["steps"], options["height"], options["width"], options["frames"])
    if config is not None:
        options = _with_config(options, config)
    from recorder.generate import Request

    _plan(Request.from_dict(options), as_json)


def _with_config(options: dict[str, Any], path: Path) -> dict[str, Any]:
    """The options with a scheduler's configuration from a file; that of a ShockScheduler includes its shocks.

    Raises:
        CliError: if the file is not such a configuration.
    """
    try:
        config = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CliError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(config, dict):
        raise CliError(f"{path} is not a scheduler configuration; it holds a {type(config).__name__}")
    from recorder.shocks.schedules import free
    from recorder.shocks.spec import Shock

    try:
        shocks = tuple(Shock.from_dict(s) for s in config.pop("shocks", None) or ())
        sigmas = config.pop("free_sigmas", None)
        own = None if sigmas is None else free(sigmas)
    except (ValueError, TypeError) as error:
        raise CliError(f"{path} has invalid shocks: {error}") from error
    chosen = {"shocks": options["shocks"] or shocks, "sigmas": options["sigmas"] or own}
    return {**options, **chosen, "scheduler": config}


def _plan(request: Request, as_json: bool) -> None:
    from recorder.generate import CannotGenerate
    from recorder.recipes.native_schedule import planned
    from recorder.shocks.plan import PlanError

    try:
        stages = planned(request)
    except (CannotGenerate, PlanError) as error:
        raise CliError(str(error)) from error
    from ltxtui.reports import plan_text

    named = str(request.model) if request.scheduler is None else "the given scheduler"
    if as_json:
        click.echo(json.dumps(plan_text.as_json(named, stages), indent=2, allow_nan=False))
        return
    from ltxtui.plot.line_plot import Style
    from ltxtui.themes import first_drawing

    ascii_only = first_drawing() is Style.ASCII
    text = plan_text.text(named, stages, text_width(), ascii_only=ascii_only, paint=painter())
    click.echo(text, color=coloured())
