"""A process that has measured nothing yet: what its first step costs, and what the thread that waits costs meanwhile.

`python -m benchmarks.gpu.cold --device cuda:0` prints the answer as JSON; the benchmark starts it this way.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import torch

from benchmarks.gpu.bench import ROOT, Answer, Bench, Goal

BUSY_SECONDS = 2.0
"""How long the device is kept busy behind a row: as long as a step of a large clip or so."""


def child(device: torch.device, grid: tuple[int, int, int], folder: Path) -> dict[str, Any]:
    """Figures of this process, whose first steps these are."""
    from recorder import record

    cuda = device.type == "cuda"
    shape = (1, 128, *grid)
    x = torch.randn(shape, device=device)
    v = torch.randn(shape, device=device)
    if cuda:
        torch.cuda.synchronize(device)
    held, messages = [], []
    with record(runs_dir=folder) as run:
        for step in range(4):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                if cuda:
                    torch.cuda.set_sync_debug_mode("warn")
                began = time.perf_counter()
                run.step(sigma=1 - step / 8, sigma_next=1 - (step + 1) / 8, sample=x, velocity=v)
                held.append((time.perf_counter() - began) * 1000)
                if cuda:
                    torch.cuda.set_sync_debug_mode("default")
            messages.append([str(w.message)[:120] for w in caught if "called a synchronizing" in str(w.message)])
        share = _waiting_share(run, device, x, v) if cuda else None
    return {"held_ms": held, "syncs": [len(m) for m in messages], "messages": messages[0], "pump_share": share}


def _waiting_share(run: Any, device: torch.device, x: torch.Tensor, v: torch.Tensor) -> float:
    """CPU time of the pump's thread, in parts of the time that it waits for a row behind a busy device."""
    pump = next(t for t in threading.enumerate() if t.name == "ltxtui-pump")
    assert pump.ident is not None
    clock = time.pthread_getcpuclockid(pump.ident)
    a = torch.randn((8192, 8192), device=device, dtype=torch.bfloat16)
    a @ a  # the first one loads the library
    torch.cuda.synchronize(device)
    began = time.perf_counter()
    a @ a
    torch.cuda.synchronize(device)
    times = int(BUSY_SECONDS / (time.perf_counter() - began)) + 1
    for _ in range(min(times, 900)):  # fewer than a launch queue holds
        a @ a
    run.step(sigma=0.4, sigma_next=0.3, sample=x, velocity=v)
    cpu, wall = time.clock_gettime(clock), time.perf_counter()
    torch.cuda.synchronize(device)
    return (time.clock_gettime(clock) - cpu) / (time.perf_counter() - wall)


def cold(bench: Bench) -> Answer:
    """The child's figures."""
    grid = "3x8x8" if bench.small else "16x32x48"
    with tempfile.TemporaryDirectory(dir=bench.folder) as folder:
        command = [sys.executable, "-m", "benchmarks.gpu.cold", "--device", str(bench.device), "--grid", grid]
        done = subprocess.run(
            [*command, "--folder", folder],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=max(1, min(120, bench.left())),
        )
    if done.returncode:
        raise RuntimeError(done.stderr.strip()[-500:])
    found: Answer = json.loads(done.stdout.strip().splitlines()[-1])
    goals = []
    if bench.cuda:
        goals = [
            Goal.is_("syncs_after_the_first_step", sum(found["syncs"][1:]), 0),
            Goal.at_most("pump_share_of_a_core", found["pump_share"], 0.1),
        ]
    return {**found, "goals": goals}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.cold")
    parser.add_argument("--device", type=torch.device, required=True)
    parser.add_argument("--grid", type=lambda text: tuple(map(int, text.split("x"))), default=(16, 32, 48))
    parser.add_argument("--folder", type=Path, required=True)
    arguments = parser.parse_args()
    print(json.dumps(child(arguments.device, arguments.grid, arguments.folder)))


if __name__ == "__main__":
    main()
