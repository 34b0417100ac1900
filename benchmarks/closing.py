"""`python -m benchmarks.closing`: time from leaving the `with record` block to a complete archive, by part."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import options

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

STEPS = 50
REPEATS = 7


Closing = tuple[Path, float, float]
"""An archive, and the seconds and CPU seconds of all threads that closing it took."""


def own_loop(runs: Path, pause: float) -> Closing:
    """50 steps of latents of the nano model's size, of both streams, through `run.step`."""
    import torch

    from recorder import record

    video, audio = torch.randn(1, 8, 9, 10, 12), torch.randn(1, 68, 128)
    with record(runs_dir=runs, name="loop") as run:
        run.stage([1 - i / STEPS for i in range(STEPS)])
        for i in range(STEPS):
            sigma, after = 1 - i / STEPS, 1 - (i + 1) / STEPS
            run.step(sigma=sigma, sigma_next=after, sample=video, velocity=video)
            run.step(sigma=sigma, sigma_next=after, sample=audio, velocity=audio, stream="audio")
            time.sleep(pause)
        began, used = time.perf_counter(), time.process_time()
    return run.path, time.perf_counter() - began, time.process_time() - used


def nano_run(runs: Path, pipe: Any) -> Closing:
    """50 unguided steps of the nano LTX 2.3."""
    from recorder import nano, record
    from recorder.sampling.guidance_presets import UNGUIDED

    call = {**nano.HOME, **nano.CALL, **UNGUIDED, "output_type": "latent", "num_inference_steps": STEPS}
    with record(pipe, runs_dir=runs, name="nano") as run:
        pipe("a red ball moving left", **call)
        began, used = time.perf_counter(), time.process_time()
    return run.path, time.perf_counter() - began, time.process_time() - used


@contextlib.contextmanager
def spent() -> Iterator[dict[str, list[float]]]:
    """Note what parts of closing take, in any thread: milliseconds of wall time per closing."""
    from recorder import recording
    from recorder.archive import writer, zarr_writer
    from recorder.journal import journal

    found: dict[str, list[float]] = {}
    parts = {
        "rows and tables folded": (writer.ArchiveWriter, "finish"),
        "metadata consolidated": (zarr_writer.StoreWriter, "consolidate"),
        "journal released": (journal.Journal, "release"),
        "in all": (recording.RunHandle, "finish"),
    }
    originals = {label: getattr(owner, name) for label, (owner, name) in parts.items()}
    for label, (owner, name) in parts.items():
        setattr(owner, name, _timed(originals[label], found.setdefault(label, [])))
    try:
        yield found
    finally:
        for label, (owner, name) in parts.items():
            setattr(owner, name, originals[label])


def _timed(function: Callable[..., Any], into: list[float]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(*args, **kwargs)
        finally:
            into.append((time.perf_counter() - began) * 1000)

    return wrapper


def show(label: str, closings: list[Closing], parts: dict[str, list[float]]) -> None:
    files = sum(1 for f in closings[-1][0].rglob("*") if f.is_file())
    ordered, cpu = sorted(c[1] for c in closings), statistics.median(c[2] for c in closings)
    print(f"{label}: closes in {statistics.median(ordered) * 1000:.0f} ms, {cpu * 1000:.0f} ms of CPU", end="")
    print(f"   ({ordered[0] * 1000:.0f} to {ordered[-1] * 1000:.0f}, {len(ordered)} runs; {files} files)")
    for part, values in parts.items():
        if values:
            print(f"    {part}: {statistics.median(values):.1f} ms")


def main() -> int:
    parser = options.parser("benchmarks.closing", __doc__, "", "--repeats 3")
    parser.add_argument("--repeats", type=int, default=REPEATS, help="closings of each kind [%(default)s]")
    given = parser.parse_args()
    import torch

    from recorder import nano

    torch.set_num_threads(1)
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, torch {torch.__version__}")
    folder = Path(tempfile.mkdtemp(prefix="ltx-bench-", dir=tempfile.gettempdir()))
    os.environ["LTXTUI_RUNTIME_DIR"] = str(folder / "sockets")
    try:
        for label, pause in (("own loop without a pause", 0.0), ("own loop, 20 ms a step", 0.02)):
            own_loop(folder / "warm", 0)
            with spent() as parts:
                runs = [own_loop(folder / "runs", pause) for _ in range(given.repeats)]
            show(f"{label}, {STEPS} steps", runs, parts)
        pipe = nano.load()
        pipe.set_progress_bar_config(disable=True)
        nano_run(folder / "warm", pipe)
        with spent() as parts:
            runs = [nano_run(folder / "runs", pipe) for _ in range(given.repeats)]
        show(f"nano LTX 2.3, {STEPS} steps", runs, parts)
        print(f"threads left: {[t.name for t in threading.enumerate() if t.name.startswith('ltxtui')]}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
