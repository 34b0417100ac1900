"""`ltxtui watch`, `ltxtui replay` and plain `ltxtui`: the dashboard on live or recorded runs."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ltxtui.cli.common import (
    MAX_NAMED,
    CliError,
    Command,
    LocalPath,
    address_of,
    check_local,
    connect,
    has_terminal,
    need_terminal,
    open_source,
    recorded_path,
    run_path,
    runs_dir_option,
)
from ltxtui.cli.options.alert import notify_option
from ltxtui.cli.remote import hosts_of, need_terminal_unless, remote_source
from ltxtui.cli.stores.replaying import store_source
from ltxtui.viewmodel.layout import PRESETS
from recorder.journal.loading import is_loading
from replay.remote.address import is_address
from replay.remote.stores.address import is_store

if TYPE_CHECKING:
    from ltxtui.screens.run import Opening
    from replay.library.listing import LiveRun
    from replay.sources.open import Source

_PRESETS = "Set of panels: " + ", ".join(f"{p.key} {p.name}" for p in PRESETS) + "."
_AXES = ("step", "sigma", "snr", "seconds", "evaluations", "run")


def looking_options(command: Command) -> Command:
    """Options of the first view, the same for `watch` and `replay`; `y` in the dashboard copies such a command."""
    for option in (
        click.option(
            "--axis", type=click.Choice(_AXES), help="Quantity of the horizontal axis; run: the steps of all stages."
        ),
        click.option("--item", type=click.IntRange(min=0), help="Clip of the batch, counted from 0."),
        click.option(
            "--stream", type=click.Choice(["video", "audio", "both"]), help="One stream, or both in separate lanes."
        ),
        click.option("--stage", type=click.IntRange(min=0), help="Denoising loop, counted from 0."),
        click.option("--at-step", type=click.IntRange(min=0), help="Step of the cursor, counted from 0."),
        click.option("--preset", type=click.IntRange(min=1, max=len(PRESETS)), help=_PRESETS),
    ):
        command = option(command)
    return command


@click.command(
    epilog="""\b
Examples:
  ltxtui watch                          the live run, or a choice of several
  ltxtui watch red-disc                 the live run with this in its name
  ltxtui watch --wait                   the next run, as soon as it begins
  ltxtui watch --until-done             without the dashboard, until the run has ended; then use $?
  ltxtui watch --until-done --fail-on warning --json
  ltxtui watch --notify "tee -a alerts.jsonl"
  ltxtui watch /data/runs/20261122-143015-red-disc.journal    without a socket: read the journal
  ltxtui watch ssh://gpu-box            the live run of another machine, over ssh
  ltxtui watch ssh://gpu-box --wait     its next run
  ltxtui watch --socket /tmp/ltx.sock   a socket forwarded with: ssh -L /tmp/ltx.sock:REMOTE gpu-box
"""
)
@click.argument("run", required=False)
@click.option(
    "--socket", "socket_path", type=LocalPath(path_type=Path), help="Socket of the run, such as a forwarded one."
)
@click.option("--wait", is_flag=True, help="Wait for the next run to begin.")
@click.option("--until-done", is_flag=True, help="No dashboard: print progress and findings until the run has ended.")
@click.option(
    "--fail-on",
    type=click.Choice(["warning", "error"]),
    help="With --until-done: end with status 3 on findings this bad or worse.",
)
@click.option("--json", "as_json", is_flag=True, help="With --until-done: one JSON object per event and line.")
@notify_option
@looking_options
@runs_dir_option
def watch(
    run: str | None, socket_path: Path | None, wait: bool, until_done: bool, fail_on: str | None, as_json: bool,
    notify: tuple[str, ...], runs_dir: Path, **looking: Any,
) -> None:  # fmt: skip
    """Show a run while it is being recorded. `q` leaves the dashboard; the run continues.

    RUN is a part of a live run's name, the path of an archive or journal, or ssh://[user@]host[:port][/run] for a run
    of another machine, live or ended. If the connection breaks, the dashboard reconnects and loses nothing.

    With --until-done the exit status is 0 for a complete run, 4 for one that failed, was interrupted or has no end, and
    3 for a complete one with findings as bad as --fail-on. RUN may then be part of the name of a run that has ended.
    """
    if (fail_on or as_json) and not until_done:
        raise click.UsageError("--fail-on and --json need --until-done")
    if run is not None and is_store(run):
        raise CliError(f"a store has runs that have ended; show one with: ltxtui replay {run}")
    if run is not None and is_address(run):
        source: Source = remote_source(run, wait=wait, headless=until_done)
    else:
        source = _live_source(run, socket_path, wait, runs_dir, headless=until_done)
    if until_done:
        from ltxtui.cli.until_done import until_done as follow

        sys.exit(follow(source, as_json=as_json, fail_on=fail_on, notify=notify))
    named = ("--socket", str(socket_path)) if socket_path is not None else (run,) if run else ()
    _show(source, ("watch", *named), _opening(**looking), runs_dir, notify)


def _live_source(
    run: str | None, socket_path: Path | None, wait: bool, runs_dir: Path, *, headless: bool = False
) -> Source:
    """The run to watch. A missing run is reported first, a missing terminal second; `headless` needs none."""
    from replay.sources.open import AwaitedSource
    from replay.sources.reconnect import open_live

    if socket_path is not None:
        try:
            source = open_live(socket_path)
        except OSError as error:
            raise CliError(
                f"no answer at the socket {socket_path} ({error.strerror or error}); "
                "check that the run is live and the socket is forwarded"
            ) from error
        need_terminal_unless(headless)
        return source
    if run is not None and (path := run_path(run, runs_dir)).exists():
        source = open_source(path)
        need_terminal_unless(headless)
        return source
    begun, loading = time.time(), is_loading()
    live = _live_runs()
    if wait:
        need_terminal_unless(headless)
        return AwaitedSource(lambda: _first_since(begun, run), "waiting for the next run to begin")
    found = [r for r in live if run is None or run in r.name]
    if not found and headless and run is not None:  # it may just have ended
        with contextlib.suppress(CliError):
            return open_source(recorded_path(run, runs_dir))
    if not found and loading and not (headless and run):
        need_terminal_unless(headless)
        # It may have begun while the sockets were looked at; no other run is live.
        return AwaitedSource(lambda: _first_since(0.0, run), "a model is being loaded; waiting for its run to begin")
    if not found:
        named = f" with {run!r} in its name" if run else ""
        raise CliError(f"no live run{named}; start one with: ltxtui record, wait with: ltxtui watch --wait")
    need_terminal_unless(headless)
    if len(found) == 1:
        return _live(found[0])
    if headless:
        names = ", ".join(r.name for r in found[:MAX_NAMED])
        raise CliError(f"{len(found)} live runs match: {names}; name one of them: ltxtui watch --until-done RUN")
    from ltxtui.screens.chooser import choose

    chosen, status = choose(
        "Live runs", [(r.name, r.host, "live" if r.answers else "stalled", r.started) for r in found]
    )
    if chosen is None:
        sys.exit(status)
    return _live(found[chosen])


def _live(run: LiveRun) -> Source:
    from replay.model.run import NotARun
    from replay.sources.open import open_path
    from replay.sources.reconnect import open_live

    if not run.answers:
        with contextlib.suppress(OSError, NotARun):  # its journal holds what it has recorded
            return open_path(run.archive)
    try:
        return open_live(run.socket, run.archive)
    except OSError as error:
        raise CliError(f"{run.name} no longer answers ({error.strerror or error}); see: ltxtui runs") from error


def _live_runs() -> list[LiveRun]:
    from recorder.format.locations import UnsafeLocation
    from replay.library.listing import live_runs

    try:
        return live_runs()
    except UnsafeLocation as error:
        raise CliError(str(error)) from error


def _first_since(begun: float, name: str | None) -> Source | None:
    """The next run as soon as it is live; None before.

    Raises:
        LookupError: if the folder of sockets cannot be read.
    """
    from recorder.format.locations import UnsafeLocation
    from replay.library.listing import live_runs
    from replay.sources.reconnect import open_live

    try:
        for found in reversed(live_runs()):
            if found.started >= begun and (name is None or name in found.name):
                return open_live(found.socket, found.archive)
    except UnsafeLocation as error:
        raise LookupError(str(error)) from error
    except OSError:
        return None  # it ended in between: wait for the next one
    return None


@click.command(
    epilog="""\b
Examples:
  ltxtui replay                          the newest run
  ltxtui replay runs/20261122-143015-red-disc.zarr
  ltxtui replay red-disc --play --speed 4
  ltxtui replay red-disc --at-step 12 --preset 2 --axis sigma    `y` in the dashboard copies this
  ltxtui replay s3://bucket/runs/red-disc    from an object store; also gs://, hf:// and https://
"""
)
@click.argument("path", required=False)
@click.option("--play", is_flag=True, help="Play from the first step; otherwise the whole run is shown.")
@click.option(
    "--speed",
    type=click.FloatRange(min=0.0, min_open=True),
    default=1.0,
    show_default=True,
    help="Speed of playing; 1 is real time.",
)
@click.option("--playhead", type=click.IntRange(min=1), help="Show the run as it was after this many steps.")
@looking_options
@runs_dir_option
def replay(path: str | None, play: bool, speed: float, runs_dir: Path, **looking: Any) -> None:
    """Play a recorded run, finished or not: pause, step, seek, change the speed.

    PATH is an archive or journal, or a part of the name of a run in the runs directory, or the address of a run on a
    store. Default: the newest run.
    """
    if path is not None and is_store(path):
        need_terminal("for data use: ltxtui export, or replay.open_run in Python")
        stored, address = store_source(path)
        _show(stored, ("replay", address), _opening(playing=play, speed=speed, **looking), runs_dir)
    chosen = _newest(runs_dir) if path is None else recorded_path(path, runs_dir)
    source = open_source(chosen)
    need_terminal("for data use: ltxtui runs --json, or open the archive with xarray.open_datatree")
    _show(source, ("replay", str(chosen)), _opening(playing=play, speed=speed, **looking), runs_dir)


def _newest(runs_dir: Path) -> Path:
    from replay.library.listing import newest

    found = newest(runs_dir)
    if found is None:
        raise CliError(f"no runs in {runs_dir}; record one with: ltxtui demo, or choose another folder with --runs-dir")
    return found.path


def _opening(*, preset: int | None, **looking: Any) -> Opening:
    """The first view; the preset comes from the settings unless given."""
    with _without_garbage_collection():
        from ltxtui.screens.run import Opening
        from ltxtui.settings import load

    return Opening(preset=preset or load().settings.preset, **looking)


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """While modules are imported, garbage collection would take a sixth of the start-up time."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _show(source: Source, origin: Sequence[str], opening: Opening, runs_dir: Path, notify: Sequence[str] = ()) -> None:
    _run(source, origin=origin, opening=opening, runs_dir=runs_dir, notify=notify)


def _run(source: Source | None = None, **options: Any) -> None:
    """Run the dashboard and exit with its status."""
    with _without_garbage_collection():
        from ltxtui.app import Dashboard, Options

        app = Dashboard(source, Options(first_start=True, **options))
        from ltxtui.terminal.endings import show_app
    status = show_app(app, mouse=app.settings.mouse)
    if app.notifier is not None:
        app.notifier.close()
    sys.exit(status)


def browse(runs_dir: Path | None = None, hosts: str | None = None, address: str = "") -> None:
    """The home screen: the list of runs of a folder, to open and compare them.

    Args:
        runs_dir: the folder.
        hosts: other machines whose runs are listed too, as `--hosts` takes them; None for those of the settings.
        address: of the one machine whose runs are listed alone.
    """
    if address:
        _browse_host(address)
    if runs_dir is None:
        runs_dir = Path(os.environ.get("LTXTUI_RUNS_DIR", "runs"))
        check_local(runs_dir, "LTXTUI_RUNS_DIR")
    if not has_terminal():
        raise CliError("the list of runs needs a terminal; without one use: ltxtui runs; for help: ltxtui --help")
    _run(runs_dir=runs_dir, hosts=hosts_of(hosts))


def _browse_host(text: str) -> None:
    found = address_of(text)
    if found.run:
        raise CliError(f"{text} names a run; watch it with: ltxtui watch {text}")
    need_terminal("without one use: ltxtui watch --until-done, or ssh to it and run: ltxtui runs")
    connect(found)
    _run(runs_dir=Path("runs"), hosts=[found.host], only_hosts=True)
