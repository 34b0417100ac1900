"""`ltxtui watch`, `ltxtui replay` and `ltxtui` alone: the dashboard on a live or a recorded run."""

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
    Command,
    Problem,
    check_local,
    has_terminal,
    need_terminal,
    recorded_path,
    run_path,
    runs_dir_option,
)
from ltxtui.viewmodel.layout import PRESETS

if TYPE_CHECKING:
    from ltxtui.screens.run import Opening
    from replay.library.listing import LiveRun
    from replay.sources.open import Source

_PRESETS = "Which panels: " + ", ".join(f"{p.key} {p.name}" for p in PRESETS) + "."
_AXES = ("step", "sigma", "snr", "seconds", "evaluations", "run")


def looking_options(command: Command) -> Command:
    """What of a run is looked at first, the same for `watch` and `replay`: what `y` in the dashboard copies."""
    for option in (
        click.option(
            "--axis", type=click.Choice(_AXES), help="What the horizontal axis counts; run: the steps of all stages."
        ),
        click.option("--item", type=click.IntRange(min=0), help="Which clip of the batch, counted from 0."),
        click.option("--stream", type=click.Choice(["video", "audio", "both"]), help="Which stream, or both as lanes."),
        click.option("--stage", type=click.IntRange(min=0), help="Which denoising loop, counted from 0."),
        click.option("--at-step", type=click.IntRange(min=0), help="Where the cursor is, counted from 0."),
        click.option("--preset", type=click.IntRange(min=1, max=len(PRESETS)), help=_PRESETS),
    ):
        command = option(command)
    return command


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
@looking_options
@runs_dir_option
def watch(run: str | None, socket_path: Path | None, wait: bool, runs_dir: Path, **looking: Any) -> None:
    """Show a run while it is being recorded. `q` leaves; the run goes on.

    RUN is a part of a live run's name, or the path of an archive or journal to tail. If the connection breaks, it is
    made again, and nothing is lost.
    """
    source = _live_source(run, socket_path, wait, runs_dir)
    named = ("--socket", str(socket_path)) if socket_path is not None else (run,) if run else ()
    _show(source, ("watch", *named), _opening(**looking), runs_dir)


def _live_source(run: str | None, socket_path: Path | None, wait: bool, runs_dir: Path) -> Source:
    """What is to be watched. That there is nothing is told before that there is no terminal to show it on."""
    from replay.sources.open import AwaitedSource
    from replay.sources.reconnect import open_live

    if socket_path is not None:
        try:
            source = open_live(socket_path)
        except OSError as error:
            raise Problem(
                f"nobody answers at the socket {socket_path} ({error.strerror or error}); "
                "is the run still going, and the forwarding up?"
            ) from error
        _need_terminal()
        return source
    if run is not None and (path := run_path(run, runs_dir)).exists():
        source = _open(path)
        _need_terminal()
        return source
    live = _live_runs()
    if wait:
        _need_terminal()
        begun = time.time()
        return AwaitedSource(lambda: _first_since(begun, run), "waiting for the next run to begin")
    found = [r for r in live if run is None or run in r.name]
    if not found:
        named = f" with {run!r} in its name" if run else ""
        raise Problem(f"no live run{named}; start one with: ltxtui record, wait with: ltxtui watch --wait")
    _need_terminal()
    if len(found) == 1:
        return _live(found[0])
    from ltxtui.screens.chooser import choose

    chosen, status = choose(
        "Live runs", [(r.name, r.host, "live" if r.answers else "stalled", r.started) for r in found]
    )
    if chosen is None:
        sys.exit(status)
    return _live(found[chosen])


def _need_terminal() -> None:
    need_terminal("on a terminal type: ltxtui watch; for data use: ltxtui runs --json")


def _live(run: LiveRun) -> Source:
    from replay.model.run import NotARun
    from replay.sources.open import open_path
    from replay.sources.reconnect import open_live

    if not run.answers:
        with contextlib.suppress(OSError, NotARun):  # what it has recorded is in its journal
            return open_path(run.archive)
    try:
        return open_live(run.socket, run.archive)
    except OSError as error:
        raise Problem(f"{run.name} does not answer any more ({error.strerror or error}); see: ltxtui runs") from error


def _live_runs() -> list[LiveRun]:
    from recorder.format.locations import UnsafeLocation
    from replay.library.listing import live_runs

    try:
        return live_runs()
    except UnsafeLocation as error:
        raise Problem(str(error)) from error


def _first_since(begun: float, name: str | None) -> Source | None:
    """The run that is awaited, once it is there. Raises LookupError if runs can no longer be looked for."""
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
        return None  # it was there and is gone: the next one is waited for
    return None


@click.command(
    epilog="""\b
Examples:
  ltxtui replay                          the newest run
  ltxtui replay runs/20261122-143015-red-disc.zarr
  ltxtui replay red-disc --play --speed 4
  ltxtui replay red-disc --at-step 12 --preset 2 --axis sigma    what `y` in the dashboard copies
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
@click.option("--playhead", type=click.IntRange(min=1), help="Show the run as it was after so many steps.")
@looking_options
@runs_dir_option
def replay(path: str | None, play: bool, speed: float, runs_dir: Path, **looking: Any) -> None:
    """Play a recorded run, finished or not: pause, step, seek, change the speed.

    PATH is an archive, or the name of a run in the runs directory, or a part of it; without it the newest run is taken.
    """
    chosen = _newest(runs_dir) if path is None else recorded_path(path, runs_dir)
    source = _open(chosen)
    need_terminal("for data use: ltxtui runs --json, or open the archive with xarray.open_datatree")
    _show(source, ("replay", str(chosen)), _opening(playing=play, speed=speed, **looking), runs_dir)


def _newest(runs_dir: Path) -> Path:
    from replay.library.listing import cached_runs

    found = cached_runs(runs_dir)
    if not found:
        raise Problem(f"no runs in {runs_dir}; record one with: ltxtui demo, or choose another folder with --runs-dir")
    return found[0].path


def _open(path: Path) -> Source:
    from replay.model.run import NotARun
    from replay.sources.open import open_path

    try:
        return open_path(path)
    except NotARun as error:
        raise Problem(str(error)) from error
    except OSError as error:
        raise Problem(f"{path} cannot be read: {error.strerror or error}") from error


def _opening(*, preset: int | None, **looking: Any) -> Opening:
    """What is looked at first; the preset is the settings' unless given."""
    with _nothing_is_garbage():
        from ltxtui.screens.run import Opening
        from ltxtui.settings import load

    return Opening(preset=preset or load().settings.preset, **looking)


@contextlib.contextmanager
def _nothing_is_garbage() -> Iterator[None]:
    """While modules are loaded: looking for garbage among what they make takes a sixth of a start."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def _show(source: Source, origin: Sequence[str], opening: Opening, runs_dir: Path) -> None:
    _run(source, origin=origin, opening=opening, runs_dir=runs_dir)


def _run(source: Source | None = None, **options: Any) -> None:
    """The dashboard until it is left."""
    with _nothing_is_garbage():
        from ltxtui.app import Dashboard, Options

        app = Dashboard(source, Options(first_start=True, **options))
        from ltxtui.terminal.endings import show_app
    sys.exit(show_app(app, mouse=app.settings.mouse))


def browse(runs_dir: Path | None = None) -> None:
    """The list of runs of a folder: opens them, compares them, and is there again when they are left."""
    if runs_dir is None:
        runs_dir = Path(os.environ.get("LTXTUI_RUNS_DIR", "runs"))
        check_local(runs_dir, "LTXTUI_RUNS_DIR")
    if not has_terminal():
        raise Problem("the list of runs needs a terminal; without one use: ltxtui runs, and see: ltxtui --help")
    _run(runs_dir=runs_dir)
