"""The command `ltxtui`: its subcommands, and errors as one line with a remedy."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import sys
from pathlib import Path
from typing import Final

import click

from ltxtui.cli.baseline import baseline
from ltxtui.cli.comfy import comfy
from ltxtui.cli.common import RUNS_DIR_HELP, CliError, check_local
from ltxtui.cli.compare import compare
from ltxtui.cli.completion import complete, under_way
from ltxtui.cli.config import config
from ltxtui.cli.control import control
from ltxtui.cli.demo import demo
from ltxtui.cli.explain import explain
from ltxtui.cli.export import export
from ltxtui.cli.metrics import metrics
from ltxtui.cli.options.numbers import strict
from ltxtui.cli.pack import pack, unpack
from ltxtui.cli.plan import plan
from ltxtui.cli.record import record
from ltxtui.cli.relay import relay
from ltxtui.cli.report import report
from ltxtui.cli.run import run
from ltxtui.cli.runs import runs
from ltxtui.cli.serve import serve
from ltxtui.cli.stores.listing import RunsPlace
from ltxtui.cli.stores.upload import upload
from ltxtui.cli.sweep import sweep
from ltxtui.cli.watch_replay import browse, replay, watch
from ltxtui.plot.text import clean
from recorder.format.version import VERSION
from replay.remote.address import is_address
from replay.remote.stores.address import StoreAddress, is_store

_PLACES: Final = ("LTXTUI_CACHE", "LTXTUI_CONFIG", "LTXTUI_RUNTIME_DIR", "LTXTUI_STATE")
"""Environment variables that name folders and files of this machine; LTXTUI_RUNS_DIR is read as --runs-dir is."""
INTERRUPTED: Final = 128 + signal.SIGINT
BROKEN_PIPE: Final = 128 + signal.SIGPIPE


def _version(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not context.resilient_parsing:
        click.echo(f"ltxtui, version {VERSION}")
        context.exit()


class _Commands(click.Group):
    """The subcommands; the address of a machine in place of one lists the runs of that machine."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and (is_address(args[0]) or is_store(args[0])):
            return "runs-of", runs_of, args
        return super().resolve_command(ctx, args)


@click.command("runs-of", hidden=True)
@click.argument("address")
def runs_of(address: str) -> None:
    """Show the list of the runs of a machine, such as `ssh://gpu-box`."""
    if is_store(address):
        words = f"ltxtui runs --runs-dir {address}, and one is shown by: ltxtui replay {address.rstrip('/')}/RUN"
        raise CliError(f"runs on a store are listed by: {words}")
    browse(address=address)


@click.group(
    cls=_Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
Examples:
  ltxtui demo                       on any machine: a tiny model and the live dashboard
  ltxtui record --model diffusers/LTX-2.3-Diffusers --prompt "a fox in the snow"
  ltxtui watch                      in another terminal: the live run
  ltxtui replay                     afterwards: the newest run
  ltxtui                            the list of runs, to open and compare them
  ltxtui ssh://gpu-box              the same on another machine, over ssh
""",
)
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Show the version.")
@click.option("--runs-dir", type=RunsPlace(file_okay=False, path_type=Path), help=f"{RUNS_DIR_HELP} For any command.")
@click.option("--hosts", metavar="A,B,C", help="Other machines whose runs the list shows too. Default: [hosts].")
@click.pass_context
def cli(context: click.Context, /, runs_dir: Path | StoreAddress | None, hosts: str | None) -> None:
    """Watch LTX 2.3 denoise: sigma, signal to noise, velocity and frequency energy, step by step.

    Without a command the list of runs is shown.
    """
    for name in _PLACES:
        check_local(os.environ.get(name, ""), name)
    if context.invoked_subcommand is None:
        if isinstance(runs_dir, StoreAddress):
            check_local(str(runs_dir), "--runs-dir")
        else:
            browse(runs_dir, hosts)


for command in (
    demo,
    plan,
    record,
    run,
    watch,
    replay,
    runs,
    control,
    explain,
    baseline,
    compare,
    sweep,
    report,
    export,
    metrics,
    serve,
    pack,
    unpack,
    upload,
    relay,
    comfy,
    config,
):
    cli.add_command(strict(command))

complete(cli)


def main() -> None:
    """Entry point of the command `ltxtui`: any error ends with an exit status and at most one line."""
    _open_standard_streams()
    sys.exit(_run())


def _run() -> int:
    try:
        status = cli.main(prog_name="ltxtui", standalone_mode=False)
        sys.stdout.flush() if sys.stdout is not None else None
        return status if isinstance(status, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        _say("ltxtui: interrupted")
        return INTERRUPTED
    except OSError as error:
        if error.errno == errno.EPIPE:
            return _without_output(BROKEN_PIPE)
        where = error.filename or "standard output"
        _say(f"ltxtui: {clean(where)}: {error.strerror or clean(error)}")
        return _without_output(1)
    except Exception as error:  # noqa: BLE001 - reported as one line, with the details in a file
        from ltxtui.terminal import crash_log

        said = crash_log.report(error)
        if not under_way():
            _say(said)
        return _without_output(1)


def _say(line: str) -> None:
    with contextlib.suppress(OSError):
        click.echo(line, err=True)


def _without_output(status: int) -> int:
    """Discard what is written at exit to a closed output, which would print a traceback; returns the status."""
    with contextlib.suppress(OSError, ValueError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    return status


def _open_standard_streams() -> None:
    """Replace closed standard streams by /dev/null; otherwise the next opened file would take their place."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
