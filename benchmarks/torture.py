"""SIGKILL at random moments: `python -m benchmarks.torture`. No row that a viewer had received may be missing.

Each round forks a recorder and a viewer, kills the recorder, and examines what is left: every row that the viewer had
noted is in the run, byte for byte; the run opens; `check` finds it sound, after `repair` if it was not finalised. Most
rounds record small random tensors through `run.step`, some a nano LTX 2.3 pipeline. Half of the small rounds are killed
at a random time, the others during a certain operation: while metrics are computed, with half a message written to the
journal, with half a file of the archive written, and at the end between two files or around the removal of the journal.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import options
from benchmarks.single_rows import single_rows

SMALL_SECONDS = 0.9
"""A round of small tensors is killed within this time; it takes about as long to its last message."""


MOMENTS = ("clock", "sampling", "clock", "journal", "clock", "fold", "clock", "close")
"""The operations in which rounds of small tensors are killed, in turn."""
STRUCK_SECONDS = 30.0
"""A round that kills itself has ended by then."""


@dataclass
class Outcome:
    """One round: where the kill hit, rows that the viewer had, and what was wrong."""

    when: str
    seen: int
    wrong: list[str]


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def on_call(number: int, owner: Any, name: str, before: Callable[..., None]) -> None:
    """Before a call of a function, the `number`-th from now, do `before` with its arguments, then die."""
    original = getattr(owner, name)
    calls = [0]

    def wrapper(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == number:
            before(*arguments, **named)
            die()
        return original(*arguments, **named)

    setattr(owner, name, wrapper)


def half_a_message(journal: Any, data: bytes, *_: Any) -> None:
    os.write(journal._fd, data[: len(data) // 2])


def half_a_file(name: str, data: bytes, folder: int) -> None:
    part = os.open(f"{name}.{os.getpid()}.part", os.O_CREAT | os.O_WRONLY, dir_fd=folder)
    os.write(part, data[: len(data) // 2])


def nothing(*_: Any, **__: Any) -> None:
    """Die between two operations."""


def without_the_file(journal: Any, *_: Any, **__: Any) -> None:
    journal.path.unlink(missing_ok=True)


def strike(moment: str, seed: int) -> None:
    """Arrange that this process kills itself in the middle of something."""
    from recorder.archive import zarr_writer
    from recorder.archive.writer import ArchiveWriter
    from recorder.journal import journal
    from recorder.sampling import measure_step

    rng = random.Random(seed)
    if moment == "sampling":
        on_call(rng.randint(1, 60), measure_step, "measured_row", nothing)
    elif moment == "journal":
        on_call(rng.randint(2, 120), journal.Journal, "_write", half_a_message)
    elif moment == "fold":
        on_call(rng.randint(1, 200), zarr_writer, "replace_file", half_a_file)
    elif moment == "close":
        finish = ArchiveWriter.finish
        where = rng.choice(("files", "files", "consolidate", "journal", "journal gone"))

        def at_the_end(writer: Any, end: Any) -> None:
            if where == "files":
                on_call(rng.randint(1, 40), zarr_writer, "replace_file", half_a_file)
            finish(writer, end)

        ArchiveWriter.finish = at_the_end  # type: ignore[method-assign]
        if where == "consolidate":
            on_call(1, zarr_writer.StoreWriter, "consolidate", nothing)
        elif where != "files":
            on_call(1, journal.Journal, "release", nothing if where == "journal" else without_the_file)


def record_small(runs: Path, seed: int, moment: str = "clock") -> None:
    """Two stages of random tensors, video and audio, with a pause now and then as a model would make."""
    import torch

    from recorder import record

    torch.set_num_threads(1)
    strike(moment, seed)
    rng = random.Random(seed)
    x, y = torch.randn(1, 4, 3, 6, 8), torch.randn(1, 20, 4)
    with record(runs_dir=runs, name=f"torture-{seed}", save_latents=rng.random() < 0.3) as run:
        for _ in range(2):
            steps = rng.choice((5, 20, 60))
            run.stage([1 - i / steps for i in range(steps)])
            for i in range(steps):
                sigma, after = 1 - i / steps, 1 - (i + 1) / steps
                run.step(sigma=sigma, sigma_next=after, sample=x + i, velocity=x)
                run.step(sigma=sigma, sigma_next=after, sample=y + i, velocity=y, stream="audio")
                time.sleep(rng.choice((0, 0, 0.002, 0.01)))


def record_nano(runs: Path, seed: int, pipe: Any) -> None:
    """A short guided nano run."""
    import torch

    from recorder import nano, record

    torch.set_num_threads(1)
    size = {"height": 128, "width": 160, "num_frames": 33, "output_type": "latent"}
    with record(pipe, runs_dir=runs, name=f"nano-{seed}"):
        pipe("a red ball moving left", num_inference_steps=12, **nano.CALL, **size)


def view(runs: Path, out: Path) -> None:
    """Note every row that arrives over the socket, once it has: name, step and bytes."""
    from recorder.format import locations
    from replay.sources.open import Liveness, SocketSource

    deadline = time.monotonic() + 20
    source = None
    while source is None and time.monotonic() < deadline:
        try:
            found = sorted(locations.runtime_path().glob("*.sock"))
            source = SocketSource(found[0]) if found else None
        except OSError:
            source = None
        if source is None:
            time.sleep(0.005)
    with out.open("w") as file:
        while source is not None and time.monotonic() < deadline:
            messages = source.poll()
            for m in single_rows(messages):
                if m["t"] == "step":
                    file.write(f"{m['stage']} {m['stream']} {m['step']} {m['data'].hex()}\n")
            file.flush()
            if source.liveness is not Liveness.LIVE:
                return
            if not messages:
                time.sleep(0.002)


def forked(work: Any, *arguments: Any) -> int:
    """Run a function in a child process; returns its id."""
    child = os.fork()
    if child:
        return child
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        work(*arguments)
    finally:
        os._exit(0)


def undisturbed(pipe: Any) -> float:
    """Seconds that a nano round takes on this machine if it is not killed."""
    with tempfile.TemporaryDirectory(prefix="ltx-", dir="/tmp") as folder:
        os.environ["LTXTUI_RUNTIME_DIR"] = str(Path(folder) / "sock")
        began = time.monotonic()
        ended(forked(record_nano, Path(folder) / "runs", 0, pipe), 120)
        return time.monotonic() - began


def round_of(folder: Path, seed: int, pipe: Any | None, moment: str, limit: float) -> Outcome:
    """One kill, by the clock within a time or in the middle of something, and what it left."""
    runs, out = folder / "runs", folder / "seen.txt"
    os.environ["LTXTUI_RUNTIME_DIR"] = str(folder / "sock")
    after = random.Random(seed).uniform(0.02, limit)
    viewer = forked(view, runs, out)
    recorder = forked(record_nano, runs, seed, pipe) if pipe is not None else forked(record_small, runs, seed, moment)
    if moment == "clock":
        time.sleep(after)
        os.kill(recorder, signal.SIGKILL)
    ended(recorder, STRUCK_SECONDS)
    ended(viewer, 5)
    return examine(runs, out)


def ended(child: int, limit: float) -> None:
    """Wait for a child, and kill it if it takes too long."""
    give_up = time.monotonic() + limit
    while os.waitpid(child, os.WNOHANG)[0] == 0:
        if time.monotonic() > give_up:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return
        time.sleep(0.01)


def examine(runs: Path, out: Path) -> Outcome:
    """Compare what is on disk with what the viewer had noted."""
    from replay.integrity.check import check
    from replay.integrity.repair import repair
    from replay.sources.open import load

    seen = [line.split() for line in out.read_text().splitlines()] if out.exists() else []
    found = sorted({p.with_suffix(".zarr") for p in runs.glob("*") if p.suffix in (".zarr", ".journal")})
    if not found:
        return Outcome("before the run", len(seen), ["a viewer had rows, but no run was left"] if seen else [])
    archive, wrong = found[0], []
    journal = archive.with_suffix(".journal")
    when = "finished" if not journal.exists() else "journal alone" if not archive.exists() else "unfinished"
    if journal.exists() and journal.stat().st_size == 0 and not seen:
        return Outcome("before the header", 0, [])
    run = load(archive)
    for stage, stream, step, data in seen:
        try:
            rows = run.stages[int(stage)].streams[stream].data
            same = rows[int(step)].tobytes().hex() == data
        except (IndexError, KeyError):
            same = False
        if not same:
            wrong.append(f"stage {stage} {stream} row {step} is missing or different")
    if when != "finished":
        repair(archive)
        again = load(archive)
        if again.steps < run.steps:
            wrong.append(f"repair kept {again.steps} of {run.steps} rows")
    wrong += check(archive).problems
    return Outcome(when, len(seen), wrong)


def main() -> int:
    parser = options.parser("benchmarks.torture", __doc__, "--kills 20 --nano 0", "--seed 3")
    parser.add_argument("--kills", type=int, default=190, help="rounds of small tensors [190]")
    parser.add_argument("--nano", type=int, default=10, help="rounds of a nano pipeline [10]")
    parser.add_argument("--seed", type=int, default=0, help="of the moments [0]")
    given = parser.parse_args()
    # Loaded once; a child that is forked has it at once. No thread may run when that is done.
    import torch

    import recorder.session  # noqa: F401
    import replay.integrity.repair  # noqa: F401

    torch.set_num_threads(1)
    pipe, nano_seconds = None, 0.0
    if given.nano:
        from recorder import nano

        pipe = nano.load()
        pipe.set_progress_bar_config(disable=True)
        nano_seconds = undisturbed(pipe)
    where, seen, wrong = Counter[str](), 0, []
    total = given.kills + given.nano
    for number in range(total):
        folder = Path(tempfile.mkdtemp(prefix="ltx-", dir="/tmp"))
        try:
            small = number < given.kills
            moment = MOMENTS[number % len(MOMENTS)] if small else "clock"
            limit = SMALL_SECONDS if small else nano_seconds
            outcome = round_of(folder, given.seed * 100_000 + number, None if small else pipe, moment, limit)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        where[f"{moment if small else 'nano'}: {outcome.when}"] += 1
        seen += outcome.seen
        wrong += [f"round {number} ({moment}): {w}" for w in outcome.wrong]
        if sys.stderr.isatty() or (number + 1) % 20 == 0:
            print(f"\r{number + 1}/{total} kills, {seen:,} rows seen, {len(wrong)} wrong", end="", file=sys.stderr)
    print(file=sys.stderr)
    print(f"{total} kills, by what they hit and what was left:")
    for when, n in sorted(where.items()):
        print(f"  {when.ljust(28)} {n:>4}")
    print(f"{seen:,} rows had reached the viewer; missing, changed or not sound after repair: {len(wrong)}")
    for line in wrong[:20]:
        print("  " + line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
