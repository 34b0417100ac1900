"""`ltxtui sweep` with a stand-in for the generation: `python -m tests.whole.stand_in_maker sweep FOLDER …`.

Its workers are this module too, and write small real archives without a model. By its environment, a maker is of
another machine (STAND_IN_HOST), its clocks differ by seconds (STAND_IN_CLOCK), a step (STAND_IN_STEP) or what comes
before a run's first message (STAND_IN_FIRST) takes longer, and files cannot be locked, as on some network disks
(STAND_IN_LOCKS=none).
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import time
from pathlib import Path
from typing import Any

CLOCK = float(os.environ.get("STAND_IN_CLOCK", 0))
_time, _monotonic = time.time, time.monotonic
if CLOCK:  # before anything else is imported
    time.time = lambda: _time() + CLOCK
    time.monotonic = lambda: _monotonic() + 3 * abs(CLOCK)

if os.environ.get("STAND_IN_LOCKS") == "none":

    def no_locks(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    fcntl.flock = fcntl.fcntl = no_locks  # type: ignore[assignment]

from recorder import reserve  # noqa: E402
from recorder.archive.writer import ArchiveWriter  # noqa: E402
from recorder.format.framing import encode  # noqa: E402
from recorder.sweep import makers, runner, shared_jobs, spec, worker  # noqa: E402
from recorder.sweep.spec import Job, Sweep  # noqa: E402
from tests import recorded  # noqa: E402

STEP_SECONDS = float(os.environ.get("STAND_IN_STEP", 0.03))
FIRST_SECONDS = float(os.environ.get("STAND_IN_FIRST", 0))
BEGUN = "begun.log"
"""A line for every run that any worker began."""


def value(job: Job) -> float:
    """The drift of a job's run: not that of any other job."""
    return (sum(job.arm.encode()) % 97 + 100 * job.seed) / 1000


def make_run(_: Any, sweep: Sweep, job: Job, folder: Path) -> Path:
    """Write a run's journal step by step, then its archive."""
    with (folder / BEGUN).open("a") as log:
        log.write(f"{job.file} {os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES', '-')}\n")
    if FIRST_SECONDS:
        time.sleep(FIRST_SECONDS)
    path, journal = reserve.claim(folder / spec.RUNS, reserve.run_name(job.file, time.time()))
    mark = {"sweep": {"id": sweep.id, "arm": job.arm, "seed": job.seed}}
    writer = ArchiveWriter(path)
    try:
        for message in recorded.whole(path.stem, shocks=1, steps=6, drift=[value(job)]):
            if message["t"] == "header":
                message = {**message, "metadata": {**message["metadata"], "user": mark}}
            journal.append(encode(message))
            writer.feed(message)
            if message["t"] == "step":
                time.sleep(STEP_SECONDS)
    except KeyboardInterrupt:
        writer.feed({"t": "end", "time": time.time(), "status": "interrupted", "error": "KeyboardInterrupt"})
        raise
    finally:
        journal.release(remove=True)
        journal.close()
    return path


def main() -> int:
    if sys.argv[1] != "sweep":
        worker.load = lambda sweep: None
        worker.make_run = make_run
        return worker.main(sys.argv[1:])
    from ltxtui.cli import main as ltxtui

    runner.WORKER = "tests.whole.stand_in_maker"  # type: ignore[misc]
    makers.BEAT_SECONDS, makers.GONE_SECONDS, makers.LONGEST_LOOK_SECONDS = 0.25, 4.0, 0.5  # type: ignore[misc]
    shared_jobs.LOOK_SECONDS = 0.1  # type: ignore[misc]
    if host := os.environ.get("STAND_IN_HOST"):
        makers._machine = lambda: host
    ltxtui()
    return 0


if __name__ == "__main__":
    sys.exit(main())
