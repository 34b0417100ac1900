"""`ltxtui control`: shock, stop or snapshot a run that is being recorded with --allow-control."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ltxtui.cli.common import MAX_NAMED, CliError, LocalPath
from ltxtui.cli.remote import remote_command
from ltxtui.plot.text import clean
from recorder.format.protocol import COMMANDS, Command
from replay.remote.address import is_address

if TYPE_CHECKING:
    from recorder.shocks.spec import Shock
    from replay.library.live_runs import LiveRun

USAGE = "type: ltxtui control [RUN] shock KIND:KEY=VALUE,…   or: ltxtui control [RUN] stop   or: … snapshot"


@click.command(
    epilog="""\b
Examples:
  ltxtui control shock renoise:db=3            fresh noise in the next step, σ unchanged
  ltxtui control red-disc shock restart:db=3   raise the noise by 3 dB, then denoise in the remaining steps
  ltxtui control stop                          stop after the current step and keep what is recorded
  ltxtui control snapshot                      store the latents of the next step in the archive
  ltxtui control snapshot --json | jq -r .details.group
  ltxtui control --socket /tmp/ltx.sock stop   a socket forwarded with: ssh -L /tmp/ltx.sock:REMOTE gpu-box

\b
Start the run with --allow-control:
  ltxtui record --model nano --allow-control
In Python, call record(pipe, allow_control=True).
"""
)
@click.argument("arguments", nargs=-1, metavar="[RUN] shock SHOCK | stop | snapshot")
@click.option(
    "--socket", "socket_path", type=LocalPath(path_type=Path), help="Socket of the run, such as a forwarded one."
)
@click.option(
    "--timeout",
    type=click.FloatRange(0.0, 1e6, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds to wait for the answer. The run answers at its next step.",
)
@click.option("--json", "as_json", is_flag=True, help='Print only {"accepted": …, "text": …, …}.')
def control(arguments: tuple[str, ...], socket_path: Path | None, timeout: float, as_json: bool) -> None:
    """Send one command to a live run and wait for its answer.

    RUN is a part of the run's name, or ssh://host/run for a run of another machine; it may be omitted if only one run
    is live. The command and its answer are recorded as an event of the run. The exit status is 1 if the command was
    refused.
    """
    from replay.control import ControlError, send

    name, command, shock = _read(arguments)
    where: Path | Callable[[], socket.socket] | None = socket_path
    if where is None:
        where = remote_command(name) if name is not None and is_address(name) else _socket(name)
    try:
        answer = send(where, command, shock=shock, timeout=timeout)
    except ControlError as error:
        raise CliError(str(error)) from error
    if as_json:
        click.echo(json.dumps(answer.as_json()))
    else:
        click.echo(clean(answer.text), err=not answer.accepted)
    sys.exit(0 if answer.accepted else 1)


def _read(arguments: tuple[str, ...]) -> tuple[str | None, Command, Shock | None]:
    """The name of the run, the command and its shock.

    Raises:
        CliError: if the arguments are anything else.
    """
    from recorder.shocks.parse import parse_shock
    from recorder.shocks.spec import check_live

    given = list(arguments)
    # A word that is a command is never a run's name; such a run is found by a longer part of its name.
    name = given.pop(0) if given and given[0] not in COMMANDS else None
    command = next((c for c in COMMANDS if given and given[0] == c), None)
    if command is None or len(given) != (2 if command == "shock" else 1):
        raise CliError(f"the command is missing or has too many arguments; {USAGE}")
    if command != "shock":
        return name, command, None
    try:
        shock = parse_shock(given[1])
        check_live(shock)
    except ValueError as error:
        raise CliError(str(error)) from error
    return name, command, shock


def _socket(name: str | None) -> Path:
    """The socket of the live run with this in its name; of the only one if None."""
    from recorder.format.locations import UnsafeLocation
    from replay.library.listing import live_runs

    try:
        found = [r for r in live_runs() if name is None or name in r.name]
    except UnsafeLocation as error:
        raise CliError(str(error)) from error
    if not found:
        named = f" with {name!r} in its name" if name else ""
        raise CliError(f"no live run{named}; start one with: ltxtui record --allow-control")
    if len(found) > 1:
        names = ", ".join(r.name for r in found[:MAX_NAMED])
        raise CliError(f"{len(found)} live runs match: {names}; name one of them: ltxtui control RUN …")
    if not found[0].answers:
        _check_stalled(found[0])
    return found[0].socket


def _check_stalled(run: LiveRun) -> None:
    """Raise a CliError if a run whose recorder does not answer is stalled, not just slow to answer."""
    from replay.library.listing import describe_run
    from replay.model import pulse
    from replay.model.validation import NotARun

    try:
        line = describe_run(run.archive)
    except (NotARun, OSError):
        return
    if line.status == "stalled":
        way_on = pulse.WAY_ON.format(process=run.process or "PID")
        raise CliError(
            f"{run.name} is stalled: its recorder does not answer and has sent nothing for "
            f"{line.stalled_seconds or 0.0:.0f} s; the command was not sent; {way_on}"
        )
