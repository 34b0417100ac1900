"""How fast recorded runs open: `python -m benchmarks.opening`. Archives of 50, 100,000 and 1,000,000 steps.

Archives are written by the recorder's own writer from synthetic rows of the real metrics, video and audio. Each is
opened in the dashboard without a terminal: seconds from `open_path` to the first picture with curves, and from a key
that moves the playhead to the next picture. Modules are loaded before; each archive is opened in a separate process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from textual.app import App

from benchmarks import options

SIZE = (120, 40)
BLOCK = 8192
GRIDS = {"video": (9, 10, 12), "audio": (64,)}
SEEKS = 12
STEPS = (50, 100_000, 1_000_000)
START = 1_800_000_000.0


def make(path: Path, steps: int) -> None:
    """An archive of one stage with video and audio, its rows noise around slow curves."""
    from recorder.archive.writer import ArchiveWriter
    from recorder.format import declarations, protocol
    from recorder.metrics.latent_layout import LatentLayout

    writer = ArchiveWriter(path)
    known = {"metadata": {"prompt": "made up"}, "time": START}
    writer.feed(
        {"t": protocol.HEADER, "format": protocol.FORMAT, "version": 1, "run": path.stem, "archive": "", **known}
    )
    sigmas = [1 - i / steps for i in range(min(steps, 1000))]
    writer.feed({"t": protocol.STAGE, "stage": 0, "call": 0, "tile": None, "sigmas": sigmas, **known})
    widths = {}
    for stream, grid in GRIDS.items():
        layout = LatentLayout(stream, 1, grid)
        metrics = declarations.on_stream(stream)
        shapes = [layout.row_shape(m, 8) for m in metrics]
        widths[stream] = sum(math.prod(shape) for shape in shapes)
        declared = [m.as_message(stream, s) for m, s in zip(metrics, shapes, strict=True)]
        own = {"grid": list(grid), "shape": [1, math.prod(grid), 8], "coordinates": {}, "metrics": declared}
        writer.feed({"t": protocol.STREAM, "stage": 0, "stream": stream, **own})
    rng = np.random.default_rng(0)
    noise = {stream: rng.random((BLOCK, width), np.float32) for stream, width in widths.items()}
    for first in range(0, steps, BLOCK):
        at = np.arange(first, min(first + BLOCK, steps))
        for stream in GRIDS:
            rows = noise[stream][: len(at)] + np.sin(at / 900, dtype=np.float32)[:, None]
            rows[:, 0] = 1 - at / steps  # σ
            step = {"t": protocol.STEP, "stage": 0, "stream": stream, "step": first, "data": rows.tobytes()}
            writer.feed({**step, "count": len(at), "time": (START + at * 0.05).tobytes()})
    for i in range(min(steps, 2000)):
        values = {"process_cpu": 100.0, "process_memory": 1e9 + i}
        writer.feed({"t": protocol.SYSTEM, "time": START + i * 0.05 * steps / 2000, "values": values})
    writer.feed({"t": protocol.END, "time": START + steps * 0.05, "status": "complete", "error": None})


async def painted_anew(app: App[None]) -> None:
    """Wait until what is asked to be drawn has been."""
    done = asyncio.Event()
    app.screen.call_after_refresh(done.set)
    await done.wait()


async def first_paint(path: Path, steps: int) -> tuple[float, list[float], float]:
    """Seconds to the first picture with curves, seconds of each seek, and those of open and poll alone."""
    from ltxtui.app import Dashboard
    from replay.sources.open import open_path

    began = time.perf_counter()
    source = open_path(path)
    app = Dashboard(source)
    seeks = []
    async with app.run_test(size=SIZE):
        while app.deck.loading:
            await asyncio.sleep(0.001)
        await painted_anew(app)
        painted = time.perf_counter() - began
        if app.deck.total != steps or app.deck.series("sigma") is None:
            raise RuntimeError(f"{app.deck.total} of {steps} steps were shown")
        rng = np.random.default_rng(1)
        for fraction in rng.random(SEEKS):
            at = time.perf_counter()
            app.deck.seek(float(fraction))
            app.screen.show()  # type: ignore[attr-defined]
            await painted_anew(app)
            seeks.append(time.perf_counter() - at)
    began = time.perf_counter()
    source = open_path(path)
    source.poll()
    alone = time.perf_counter() - began
    source.close()
    return painted, seeks, alone


def measure(path: Path, steps: int, repeats: int) -> dict[str, Any]:
    """Figures of one archive, in this process; the first opening is a warm-up with a small run."""
    small = path.parent / "warm.zarr"
    asyncio.run(first_paint(small, 8))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = [asyncio.run(first_paint(path, steps)) for _ in range(repeats)]
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "steps": steps,
        "paint": [f[0] for f in found],
        "seek": [s for f in found for s in f[1]],
        "open": [f[2] for f in found],
        "memory": (after - before) / 1024,
    }


def line(found: dict[str, Any]) -> str:
    paint, seek = sorted(found["paint"]), sorted(found["seek"])
    opening, seeking = statistics.median(found["open"]) * 1000, statistics.median(seek) * 1000
    return (
        f"{found['steps']:>9,} steps: first paint {statistics.median(paint):.3f} s "
        f"({paint[0]:.3f} to {paint[-1]:.3f}), open and poll {opening:.1f} ms, "
        f"seek {seeking:.1f} ms (slowest {seek[-1] * 1000:.1f}), {found['memory']:.0f} MB more memory"
    )


def main() -> int:
    parser = options.parser("benchmarks.opening", __doc__, "--steps 50 100000", "--steps 1000000 --keep /tmp/archives")
    parser.add_argument("--steps", type=int, nargs="*", default=list(STEPS), help="lengths of archives [%(default)s]")
    parser.add_argument("--repeats", type=int, default=3, help="openings of each [3]")
    parser.add_argument("--keep", type=Path, help="make the archives in this folder, and use those that exist")
    parser.add_argument("--measure", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure is not None:
        print(json.dumps(measure(given.keep / f"{given.measure}.zarr", given.measure, given.repeats)))
        return 0
    folder = given.keep or Path(tempfile.mkdtemp(prefix="ltx-opening-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        for steps, name in ((8, "warm"), *((s, str(s)) for s in given.steps)):
            if not (folder / f"{name}.zarr").exists():
                began = time.perf_counter()
                make(folder / f"{name}.zarr", steps)
                print(f"{steps:>9,} steps written in {time.perf_counter() - began:.1f} s", flush=True)
        for steps in given.steps:
            own = ["--keep", str(folder), "--repeats", str(given.repeats), "--measure", str(steps)]
            command = [sys.executable, "-m", "benchmarks.opening", *own]
            environment = {**os.environ, "LTXTUI_CACHE": str(folder), "XDG_STATE_HOME": str(folder)}
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
            if done.returncode:
                print(done.stderr, file=sys.stderr)
                return 1
            print(line(json.loads(done.stdout)), flush=True)
    finally:
        if given.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
