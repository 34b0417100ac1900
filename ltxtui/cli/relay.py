"""`ltxtui relay`: the remote side of `ltxtui watch ssh://host`, on standard input and output."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ltxtui.cli.common import runs_dir_option
from replay.remote.asked import Asked
from replay.remote.relay import relay_list, relay_run


@click.command(
    hidden=True,
    epilog="""\b
Examples:
  ltxtui relay --list                the runs of this machine, a JSON line each
  ltxtui relay --run red-disc        one of them: a line, then its messages or its archive
""",
)
@click.option("--list", "listed", is_flag=True, help="Say which runs this machine has.")
@click.option("--follow", is_flag=True, help="With --list: also what changes.")
@click.option("--run", default="", help="Part of a run's name, or a path. Default: the only live run.")
@click.option("--wait", is_flag=True, help="Wait for the next run to begin.")
@click.option("--packed", is_flag=True, help="The archive as one file, even if the run is live.")
@runs_dir_option
def relay(listed: bool, follow: bool, run: str, wait: bool, packed: bool, runs_dir: Path) -> None:
    """Send the runs of this machine to a viewer on another one.

    `ltxtui watch ssh://host` starts it there. It reads standard input, where commands to the recorder come from, and
    ends with it; what it says is not meant for people.
    """
    if listed:
        sys.exit(relay_list(runs_dir, follow=follow))
    sys.exit(relay_run(runs_dir, asked=Asked(run, wait, packed)))
