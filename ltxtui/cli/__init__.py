"""The command `ltxtui`: its subcommands, and errors as one line with the way out."""

from __future__ import annotations

import click

from ltxtui.cli.compare import compare
from ltxtui.cli.config import config
from ltxtui.cli.control import control
from ltxtui.cli.demo import demo
from ltxtui.cli.plan import plan
from ltxtui.cli.record import record
from ltxtui.cli.runs import runs
from ltxtui.cli.sweep import sweep
from ltxtui.cli.view import browse, replay, watch


def _version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        from importlib.metadata import version  # slow, and every command would wait for it

        click.echo(f"ltxtui, version {version('ltxtui')}")
        context.exit()


@click.group(
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Without a command: the list of runs, to choose one and look at it.",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@click.pass_context
def cli(context: click.Context) -> None:
    """Watch LTX 2.3 denoise: sigma, signal to noise, velocity and frequency energy, step by step.

    \b
    On any machine:        ltxtui demo
    Beside the GPU:        ltxtui record --model diffusers/LTX-2.3-Diffusers --prompt "…"
    In another terminal:   ltxtui watch
    Afterwards:            ltxtui replay
    """
    if context.invoked_subcommand is None:
        browse()


for command in (demo, plan, record, watch, replay, runs, control, compare, sweep, config):
    cli.add_command(command)


def main() -> None:
    """Entry point of the command `ltxtui`."""
    cli(prog_name="ltxtui")
