"""`make powercut`: what is on the disk after power cuts, from the first step to a minute after the end.

Recordings run on file systems in loop devices, with a viewer at their sockets. The image of each is cloned repeatedly
while the recording continues: a clone captures one moment, so it is the disk that a power cut at that moment leaves.
Afterwards each clone is mounted, so that the file system replays its log, and its run is listed, opened, checked and
repaired. Needs root, loop devices, and mkfs of each file system; a file system that is missing is skipped with a note.

Everything that the disk has written counts as kept, flushed or not: drives that lose acknowledged writes are not
simulated.

The promises that are checked:
- `sync=True`: every row that a viewer had before the cut, with its values.
- otherwise: during the run what the kernel has written unasked, which may be nothing, but never less than at an
  earlier cut; and every row from the moment that the journal is removed.
- a complete archive without a journal next to it is sound.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks import options
from benchmarks.disks import SIZES, Unavailable, clone, make, mounted
from benchmarks.powercut_verdict import Cut, Trial, Verdict, judge, promised, table
from benchmarks.single_rows import single_rows
from replay.sources.open import SocketSource

ROOT = Path(__file__).parent.parent
STEPS, PAUSE_SECONDS = 250, 0.12
AFTER_SECONDS = 60.0
CUTS = {"steps": 22, "end": 10, "after": 14}
"""Moments of cuts: among the steps, within four seconds of the end, and in the minute after it."""


# -- the recorder, in its own process


def record_run(runs: str, sync: bool, steps: int, pause: float) -> None:
    """Two stages of small random latents of both streams; prints the path, and when the first step and the end were."""
    import torch

    from recorder import record

    torch.set_num_threads(1)
    made = torch.Generator().manual_seed(0)
    video, audio = torch.randn(1, 4, 3, 6, 8, generator=made), torch.randn(1, 20, 4, generator=made)
    with record(runs_dir=runs, name="cut", sync=sync) as run:
        print(json.dumps({"path": str(run.path), "socket": str(run.socket_path)}), flush=True)
        sys.stdin.readline()  # until the viewer is connected
        for _ in range(2):
            run.stage([1 - i / (steps // 2) for i in range(steps // 2)])
            for i in range(steps // 2):
                sigma = 1 - i / (steps // 2)
                after = max(0.0, sigma - 2 / steps)
                run.step(sigma=sigma, sigma_next=after, sample=video + i, velocity=video)
                run.step(sigma=sigma, sigma_next=after, sample=audio + i, velocity=audio, stream="audio")
                time.sleep(pause)
    print(json.dumps({"ended": True}), flush=True)


def start(trial: Trial, given: argparse.Namespace, sockets: Path) -> None:
    """Start a trial's recorder and connect its viewer."""
    words = [sys.executable, "-m", "benchmarks.powercut", "--record", str(trial.mount / "runs")]
    words += ["--steps", str(given.steps), "--pause", str(given.pause), *(["--sync"] if trial.sync else [])]
    env = {**os.environ, "LTXTUI_RUNTIME_DIR": str(sockets), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    trial.process = subprocess.Popen(words, cwd=ROOT, env=env, stdin=pipe, stdout=pipe, text=True)
    assert trial.process.stdout is not None and trial.process.stdin is not None
    started = json.loads(trial.process.stdout.readline())
    trial.run = Path(started["path"])
    trial.viewer = SocketSource(Path(started["socket"]))
    os.set_blocking(trial.process.stdout.fileno(), False)


# -- watching and cutting


def moments(count: int, first: float, last: float, rng: random.Random) -> list[float]:
    """That many moments in a span, one at random in each of as many equal parts."""
    part = (last - first) / count
    return [first + part * (i + rng.random()) for i in range(count)]


def look(trial: Trial, given: argparse.Namespace, rng: random.Random) -> None:
    """Take in what the viewer received, and note when the first step and the end were."""
    now = time.monotonic()
    for message in single_rows(trial.viewer.poll()):
        if message["t"] == "step":
            if trial.began is None:
                trial.began = now
                trial.due = [now, *(now + m for m in moments(CUTS["steps"] - 1, 0, given.steps * given.pause, rng))]
            trial.rows.setdefault((message["stage"], message["stream"]), []).append(message["data"])
    assert trial.process is not None and trial.process.stdout is not None
    if trial.ended is None and "ended" in (trial.process.stdout.readline() or ""):
        trial.ended = now = time.monotonic()
        near = [now, *(now + m for m in moments(CUTS["end"] - 1, 0, 4, rng))]
        later = (now + m for m in moments(CUTS["after"] - 1, 4, given.after, rng))
        trial.due = sorted([*near, *later, now + given.after])


def cut(trial: Trial) -> None:
    """Clone the current image."""
    assert trial.run is not None and trial.began is not None
    journal, archive = trial.run.with_suffix(".journal"), trial.run
    phase = "steps" if trial.ended is None else "after"
    settled = archive.exists() and not journal.exists()
    had = {place: len(rows) for place, rows in trial.rows.items()}
    image = trial.image.with_name(f"{trial.image.stem}-{len(trial.cuts):03}.cut")
    moment = time.monotonic() - trial.began
    clone(trial.image, image)
    trial.cuts.append(Cut(image, moment, phase, had, settled))


def watch(trials: list[Trial], given: argparse.Namespace, rng: random.Random) -> None:
    """Let the recordings run, and cut each at its moments, until the last."""
    limit = time.monotonic() + 4 * (given.steps * given.pause + given.after) + 120
    while open_ := [t for t in trials if t.ended is None or t.due]:
        if time.monotonic() > limit:
            raise TimeoutError(f"not ended: {', '.join(t.name for t in open_)}")
        for trial in open_:
            look(trial, given, rng)
            if trial.due and time.monotonic() >= trial.due[0]:
                trial.due.pop(0)
                look(trial, given, rng)
                cut(trial)
        time.sleep(0.004)


# -- the complete run


def host_of(stack: ExitStack, folder: Path) -> Path:
    """A file system that can clone files, mounted, for the images of the others. Raises Unavailable."""
    if os.geteuid() != 0:
        raise Unavailable("only root can mount file systems")
    problems = []
    for fs in ("xfs", "btrfs"):
        try:
            make(fs, folder / f"host.{fs}", 4096)
            stack.enter_context(mounted(fs, folder / f"host.{fs}", folder / "host"))
            return folder / "host"
        except Unavailable as error:
            problems.append(str(error))
    raise Unavailable(f"images need a file system that can clone files: {'; '.join(problems)}")


def prepare(stack: ExitStack, host: Path, names: list[str]) -> list[Trial]:
    """An image for each trial, mounted. Prints what is left out."""
    trials = []
    for fs in names:
        for sync in (True, False):
            name = f"{fs}-{'sync' if sync else 'plain'}"
            trial = Trial(fs, sync, host / f"{name}.img", host.with_name(name))
            try:
                make(fs, trial.image, SIZES[fs])
                stack.enter_context(mounted(fs, trial.image, trial.mount))
            except Unavailable as error:
                print(f"{trial.name} is left out: {error}", flush=True)
                continue
            trials.append(trial)
    os.sync()
    return trials


def end(trial: Trial) -> None:
    """End a trial's viewer and recorder."""
    if trial.viewer is not None:
        trial.viewer.close()
    if trial.process is not None:
        trial.process.kill()
        trial.process.wait()
        for stream in (trial.process.stdin, trial.process.stdout):
            if stream is not None:
                stream.close()


def run_trials(folder: Path, given: argparse.Namespace) -> int:
    with ExitStack() as stack:
        try:
            host = host_of(stack, folder)
        except Unavailable as error:
            print(f"left out: {error}")
            return 0
        # Unmounted before its clones are mounted: they have the same identity, which btrfs refuses.
        with ExitStack() as disks:
            trials = prepare(disks, host, given.only)
            sockets = folder / "sock"
            sockets.mkdir(mode=0o700)
            for trial in trials:
                disks.callback(end, trial)
                start(trial, given, sockets)
            for trial in trials:
                assert trial.process is not None and trial.process.stdin is not None
                trial.process.stdin.write("\n")
                trial.process.stdin.flush()
            watch(trials, given, random.Random(given.seed))
        verdicts = {trial.name: judge_all(trial, folder / "cut") for trial in trials}
    print("\n".join(table(trials, verdicts)))
    broken = sum(bool(v.broken) for found in verdicts.values() for v in found)
    print(f"{broken} of {sum(map(len, verdicts.values()))} cuts broke a promise")
    return 1 if broken else 0


def judge_all(trial: Trial, place: Path) -> list[Verdict]:
    """Look at all cuts of a trial in their order, and print every broken promise."""
    found: list[Verdict] = []
    before = 0
    for made in trial.cuts:
        verdict = judge(trial, made, place)
        made.image.unlink()
        verdict.broken += promised(trial.sync, made, verdict.rows, before)
        before = max(before, sum(verdict.rows.values()))
        for line in verdict.broken:
            print(f"{trial.name}, {made.phase}, {made.moment:.1f} s after the first step: {line}", flush=True)
        found.append(verdict)
    print(f"{trial.name}: {len(found)} cuts examined", flush=True)
    return found


def main() -> int:
    parser = options.parser("benchmarks.powercut", __doc__, "--only ext4 --after 5", "--seed 3")
    parser.add_argument(
        "--only", nargs="*", default=list(SIZES), choices=list(SIZES), metavar="FS", help="file systems [all]"
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of each run [%(default)s]")
    parser.add_argument("--pause", type=float, default=PAUSE_SECONDS, help="seconds between steps [%(default)s]")
    parser.add_argument("--after", type=float, default=AFTER_SECONDS, help="seconds after the end [%(default)s]")
    parser.add_argument("--seed", type=int, default=0, help="of the moments [0]")
    parser.add_argument("--record", metavar="RUNS", help=argparse.SUPPRESS)
    parser.add_argument("--sync", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.record:
        record_run(given.record, given.sync, given.steps, given.pause)
        return 0
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(1))  # mounted file systems are still unmounted
    folder = Path(tempfile.mkdtemp(prefix="ltx-cut-", dir=tempfile.gettempdir()))
    try:
        return run_trials(folder, given)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
