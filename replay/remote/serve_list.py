"""The remote side of a list of runs: all of them once, then what changes, a line each."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from replay.library.run_info import RunInfo
from replay.library.watcher import RunWatcher
from replay.remote.pipe_ends import PipeEnds
from replay.remote.run_lines import as_line

LOOK_SECONDS: Final = 1.0
IDLE_SECONDS: Final = 2.0
"""Seconds between looks while no run is live."""
ALIVE_SECONDS: Final = 15.0
"""After so much silence a line says that the relay is there."""
PASS_SECONDS: Final = 0.2


def serve_list(ends: PipeEnds, runs_dir: Path, *, follow: bool) -> int:
    """Say what runs there are; with `follow` also what changes, until the other end is closed.

    Lines are `{"run": …}` for one that is new or has changed, `{"gone": path}`, `{"ready": n}` once all are known, and
    `{"alive": n}` where nothing has changed for a while.

    Raises:
        ViewerLeft: when the other end is closed.
    """
    watcher = RunWatcher(runs_dir)
    said: dict[Path, RunInfo] = {}
    known: list[RunInfo] = []
    ready, problem, spoken = False, "", 0.0
    try:
        while True:
            watcher.look_for_sockets()
            watcher.update(PASS_SECONDS)
            if watcher.problem != problem:
                problem = watcher.problem
                ends.say(problem=problem)
            # The watcher gives the same list while nothing changes: 50,000 runs are not compared every second.
            changed = watcher.runs is not known and _say_changes(ends, watcher.runs, said)
            known = watcher.runs
            now = time.monotonic()
            if not ready and not watcher.pending:
                ready = changed = True
                ends.say(ready=len(said))
            if not changed and now - spoken > ALIVE_SECONDS:
                changed = True
                ends.say(alive=len(said))
            spoken = now if changed else spoken
            if ready and not follow:
                return 0
            if follow:
                live = any(run.live for run in said.values())
                ends.wait(0.0 if watcher.pending else LOOK_SECONDS if live else IDLE_SECONDS)
    finally:
        watcher.close()


def _say_changes(ends: PipeEnds, found: list[RunInfo], said: dict[Path, RunInfo]) -> bool:
    """Say what differs from what was said; returns whether anything did. Newest first."""
    runs = {run.path: run for run in found}
    new = [run for path, run in runs.items() if said.get(path) is not run and said.get(path) != run]
    for run in sorted(new, key=lambda r: (r.live, r.started), reverse=True):
        ends.say(run=as_line(run))
    gone = said.keys() - runs.keys()
    for path in gone:
        ends.say(gone=str(path.absolute()))
    said.clear()
    said.update(runs)
    return bool(new or gone)
