"""`ltxtui serve`: the dashboard in a browser of this machine, or of another one through `ssh -L`."""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import signal
import socket
import webbrowser
from pathlib import Path
from typing import Final

import click

from ltxtui.cli.common import CliError, runs_dir_option
from ltxtui.plot.text import clean
from recorder.system.signals import ENDING

PORT: Final = 9390
MAX_VIEWERS: Final = 64
_LIBRARIES: Final = ("aiohttp", "textual_serve")
_EXTRA: Final = "pip install 'ltxtui[serve]'"


@click.command(
    epilog="""\b
Examples:
  ltxtui serve                          the list of runs
  ltxtui serve red-disc                 one run, live or recorded
  ltxtui serve red-disc --open          in the browser at once
  ltxtui serve --control --port 9400    runs may be stopped, renamed and deleted
\b
From a laptop, with ltxtui serve on the machine gpu-box; then open the printed address on the laptop:
  ssh -L 9390:127.0.0.1:9390 gpu-box
"""
)
@click.argument("run", required=False)
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0: any that is free.")
@click.option("--control", is_flag=True, help="Let viewers change runs: stop, shock, rename, tag, delete, export.")
@click.option(
    "--viewers",
    type=click.IntRange(1, MAX_VIEWERS),
    default=4,
    show_default=True,
    help="Most browsers at once; each has a process of some 70 MB.",
)
@click.option("--open", "show", is_flag=True, help="Open the address in the browser.")
@runs_dir_option
def serve(run: str | None, port: int, control: bool, viewers: int, show: bool, runs_dir: Path) -> None:
    """Show the dashboard in a browser until Ctrl-C.

    RUN is a part of the name of a live or recorded run, or a path; without it the list of runs is shown. Only this
    machine can connect, and only with the printed address, whose token is new at every start. Dashboards are read-only
    unless --control is given. The printed address is all of standard output.
    """
    for library in _LIBRARIES:
        if importlib.util.find_spec(library) is None:
            raise CliError(f"serving needs {library.replace('_', '-')}; install it with: {_EXTRA}")
    from ltxtui.terminal.browser.dashboard import Shown, source_of
    from ltxtui.terminal.browser.page import check_files
    from ltxtui.terminal.browser.server import HOST, DashboardServer, Served
    from ltxtui.terminal.browser.server import serve as serve_until

    if (missing := check_files()) is not None:
        raise CliError(f"this version of textual-serve has no {missing.name}; install another with: {_EXTRA}")
    if run is not None:
        source_of(run, runs_dir)[0].close()
    shown = Shown(run, str(runs_dir), not control)
    served = Served(shown.command(), f"ltxtui {run}" if run else "ltxtui", not control, viewers)

    def ready(port: int) -> None:
        address = f"http://{HOST}:{port}/{served.guard.token}/"
        click.echo(address)
        allowed = "viewers may change runs" if control else "read-only; --control lets viewers change runs"
        click.echo(f"{allowed}; Ctrl-C ends it", err=True)
        click.echo(f"from another machine: ssh -L {port}:{HOST}:{port} {clean(socket.gethostname(), 80)}", err=True)
        if show and not webbrowser.open(address):
            click.echo("ltxtui: no browser was found; open the address in one", err=True)

    async def until_signalled() -> None:
        over = asyncio.Event()
        for number in (signal.SIGINT, *ENDING):
            if signal.getsignal(number) is not signal.SIG_IGN:
                asyncio.get_running_loop().add_signal_handler(number, over.set)
        await serve_until(DashboardServer(served), port, ready, over)

    try:
        asyncio.run(until_signalled())
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CliError(f"port {port} is taken; choose another with --port, or --port 0 for any") from error
        raise CliError(f"port {port} cannot be used: {error.strerror or error}") from error
