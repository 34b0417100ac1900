"""One tool in a separate process: `write` logs and reports the cost, `read` reads everything back.

`python -m benchmarks.peers.child write TOOL FOLDER STEPS PAUSE [FD]`: with FD every logged step is reported there.
`python -m benchmarks.peers.child read TOOL FOLDER`. The last line of standard output is a JSON object.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.peers import WIDTH
from benchmarks.peers.ours import Rows
from benchmarks.peers.tools import TOOLS, Tool


def made_up(steps: int) -> Rows:
    """Curves with some noise, as metrics are: [steps, WIDTH]."""
    rng = np.random.default_rng(0)
    at = np.linspace(0, 1, steps)[:, None]
    curves = np.sin(at * rng.uniform(1, 9, WIDTH) + rng.uniform(0, 6, WIDTH)) * rng.uniform(0.1, 30, WIDTH)
    return (curves + 0.01 * rng.normal(size=(steps, WIDTH))).astype(np.float32)


def imported(tool: Tool) -> None:
    for module in tool.modules:
        importlib.import_module(module)


def write(name: str, folder: Path, steps: int, pause: float, report: int | None) -> dict[str, object]:
    tool, rows = TOOLS[name](), made_up(steps)
    wall, cpu = np.empty(steps), np.empty(steps)
    imported(tool)
    began = time.perf_counter()
    tool.open(folder, steps)
    opened = time.perf_counter()
    for i in range(steps):
        thread, clock = time.thread_time(), time.perf_counter()
        tool.log(i, rows[i])
        wall[i] = time.perf_counter() - clock
        cpu[i] = time.thread_time() - thread
        if report is not None:
            os.write(report, b"%d\n" % (i + 1))
        if pause:
            time.sleep(pause)
    closing = time.perf_counter()
    tool.close()
    ended = time.perf_counter()
    return {
        "median_us": float(np.median(wall)) * 1e6,
        "p99_us": float(np.quantile(wall, 0.99)) * 1e6,
        "cpu_us": float(np.median(cpu)) * 1e6,
        "open_s": opened - began,
        "close_s": ended - closing,
        "total_s": ended - began,
    }


def read(name: str, folder: Path, steps: int) -> dict[str, object]:
    tool = TOOLS[name]()
    imported(tool)
    began = time.perf_counter()
    rows = tool.read(folder)
    seconds = time.perf_counter() - began
    expected = made_up(steps)[: len(rows)]
    return {"rows": len(rows), "read_s": seconds, "exact": bool(np.array_equal(rows, expected))}


def main() -> None:
    what, name, folder, *rest = sys.argv[1:]
    if what == "write":
        report = int(rest[2]) if len(rest) > 2 else None
        found = write(name, Path(folder), int(rest[0]), float(rest[1]), report)
    else:
        found = read(name, Path(folder), int(rest[0]))
    print("\n" + json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
