"""`ltxtui watch`, `ltxtui replay` and `ltxtui` alone: the dashboard on a live or a recorded run."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ltxtui.cli.common import Problem, has_terminal, need_terminal, run_path, runs_dir_option

if TYPE_CHECKING:
    from replay.catalog import LiveRun
    from replay.source import Source

WAIT_SECONDS = 0.5


@click.command(
    epilog="""\b
Examples:
  ltxtui watch                        the live run, or a choice of several
  ltxtui watch red-disc               the live run whose name contains this
  ltxtui watch --wait                 the next run, as soon as it begins
  ltxtui watch /shared/runs/X.journal where no socket reaches: tail the journal
  ltxtui watch --socket /tmp/ltx.sock a socket forwarded with: ssh -L /tmp/ltx.sock:REMOTE gpu-box
"""
)
@click.argument("run", required=False)
@click.option(
    "--socket", "socket_path", type=click.Path(path_type=Path), help="Socket of a run, such as a forwarded one."
)
@click.option("--wait", is_flag=True, help="Wait for the next run to begin.")
@runs_dir_option
def watch(run: str | None, socket_path: Path | None, wait: bool, runs_dir: Path) -> None:
    """Show a run while it is being recorded. `q` leaves; the run goes on.

    RUN is a part of a live run's name, or the path of an archive or journal to tail.
    """
    need_terminal("on a terminal type: ltxtui watch; for data use: ltxtui runs --json")
    _show(_live_source(run, socket_path, wait, runs_dir))


def _live_source(run: str | None, socket_path: Path | None, wait: bool, runs_dir: Path) -> Source:
    from replay.source import AwaitedSource, SocketSource

    if socket_path is not None:
        try:
            return SocketSource(socket_path)
        except OSError as error:
            raise Problem(
                f"nobody answers at the socket {socket_path} ({error.strerror or error}); "
                "is the run still going, and the forwarding up?"
            ) from error
    if run is not None and (path := run_path(run, runs_dir)).exists():
        return _open(path)
    if wait:
        begun = time.time()
        return AwaitedSource(lambda: _first_since(begun, run), "waiting for the next run to begin")
    found = [r for r in _live_runs() if run is None or run in r.name]
    if not found:
        named = f" with {run!r} in its name" if run else ""
        raise Problem(f"no live run{named}; start one with: ltxtui record, wait with: ltxtui watch --wait")
    if len(found) == 1:
        return SocketSource(found[0].socket)
    from ltxtui.chooser import choose

    chosen = choose("Live runs", [(r.name, r.host, "live", r.started) for r in found])
    if chosen is None:
        sys.exit(0)
    return SocketSource(found[chosen].socket)


def _live_runs() -> list[LiveRun]:
    from recorder.locations import UnsafeLocation
    from replay.catalog import live_runs

    try:
        return live_runs()
    except UnsafeLocation as error:
        raise Problem(str(error)) from error


def _first_since(begun: float, name: str | None) -> Source | None:
    from replay.source import SocketSource

    for found in reversed(_live_runs()):
        if found.started >= begun and (name is None or name in found.name):
            return SocketSource(found.socket)
    return None


@click.command(
    epilog="""\b
Examples:
  ltxtui replay                          the newest run
  ltxtui replay runs/20261122-143015-red-disc.zarr
  ltxtui replay red-disc --play --speed 4
"""
)
@click.argument("path", required=False)
@click.option("--play", is_flag=True, help="Start playing from the first step; otherwise the whole run is shown.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0.0, min_open=True),
    default=1.0,
    show_default=True,
    help="Pace; 1 is as it happened.",
)
@runs_dir_option
def replay(path: str | None, play: bool, speed: float, runs_dir: Path) -> None:
    """Play a recorded run, finished or not: pause, step, seek, change the speed.

    PATH is an archive, or the name of a run in the runs directory, or a part of it; without it the newest run is taken.
    """
    chosen = _recorded(path, runs_dir)
    source = _open(chosen)
    need_terminal("for data use: ltxtui runs --json, or open the archive with xarray.open_datatree")
    _show(source, playing=play, speed=speed)


def _recorded(path: str | None, runs_dir: Path) -> Path:
    from replay.catalog import list_runs

    if path is not None and run_path(path, runs_dir).exists():
        return run_path(path, runs_dir)
    found = [r for r in list_runs(runs_dir) if path is None or path in r.name]
    if path is not None and len(found) != 1:
        named = f"; {len(found)} runs have that in their name: {', '.join(r.name for r in found[:3])}" if found else ""
        raise Problem(f"{path} does not exist{named}; see the runs there are with: ltxtui runs --runs-dir {runs_dir}")
    if not found:
        raise Problem(f"no runs in {runs_dir}; record one with: ltxtui demo, or choose another folder with --runs-dir")
    return found[0].path


def _open(path: Path) -> Source:
    from replay.run import NotARun
    from replay.source import open_path

    try:
        return open_path(path)
    except NotARun as error:
        raise Problem(str(error)) from error
    except OSError as error:
        raise Problem(f"{path} cannot be read: {error.strerror or error}") from error


def _show(source: Source, *, playing: bool = False, speed: float = 1.0) -> None:
    from ltxtui.app import Dashboard

    app = Dashboard(source, playing=playing, speed=speed)
    app.run()
    sys.exit(app.return_code or 0)


def browse(runs_dir: Path = Path("runs")) -> None:
    """The list of runs to choose from; after looking at one, back to the list."""
    import os

    from replay.catalog import list_runs

    runs_dir = Path(os.environ.get("LTXTUI_RUNS_DIR", runs_dir))
    if not has_terminal():
        raise Problem("the list of runs needs a terminal; without one use: ltxtui runs, and see: ltxtui --help")
    from ltxtui.app import Dashboard
    from ltxtui.chooser import choose

    while True:
        found = list_runs(runs_dir)
        if not found:
            raise Problem(f"no runs in {runs_dir} yet; make one with: ltxtui demo, and see: ltxtui --help")
        chosen = choose(f"Runs in {runs_dir}", [(r.name, r.prompt, r.status, r.started) for r in found])
        if chosen is None:
            return
        app = Dashboard(_open(found[chosen].path))
        app.run()
