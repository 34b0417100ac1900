"""What `ltxtui run` costs a Python that imports no LTX pipeline, and a server: `python -m benchmarks.starting`.

A part of `make bench`. Start-up is measured in pairs, with the hook and without, in alternating order: the median of
the differences. The server calls a toy loop of ltx-pipelines 300 times in one process with `--every 10 --keep 20`;
files, threads, descriptors and memory are read after call 100 and at the end.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks import options
from benchmarks.reporting import median, ms, table
from recorder.format import locations
from recorder.runners.launched.environment import environment
from recorder.runners.launched.options import LaunchOptions

PAIRS = 40
WANTED_SECONDS = 0.003
CALLS = 300


def run(folder: Path) -> None:
    """Measure and print."""
    notes = folder / "run-notes"
    notes.touch()
    asked = LaunchOptions(str(folder / "served"), each="call", every=10, keep=20)
    plain = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    hooked = environment(plain, asked, notes)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for i in range(PAIRS + 2):
        for which in (False, True) if i % 2 else (True, False):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", ""], env=hooked if which else plain, check=True)
            if i >= 2:  # the first write byte code
                seconds[which].append(time.perf_counter() - began)
    more = statistics.median(b - a for a, b in zip(seconds[False], seconds[True], strict=True))
    served = subprocess.run(
        [sys.executable, "-c", f"from benchmarks import starting; starting.serve({CALLS})"],
        env={**hooked, "PYTHONPATH": os.pathsep.join([hooked["PYTHONPATH"], *_fakes()])},
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    found = json.loads(served.stdout)
    rows = [
        ("a Python starts", median(seconds[False])),
        ("the same under it", median(seconds[True])),
        ("more, as the median of pairs", ms(more)),
        ("wanted", f"at most {ms(WANTED_SECONDS)}"),
        *(
            (f"a server's {what}", f"{one} after 100 calls, {other} after {CALLS}")
            for what, (one, other) in found.items()
        ),
    ]
    table("ltxtui run: a Python that imports no LTX pipeline, and a server (every 10th call, 20 runs kept)", rows)


def serve(calls: int) -> None:
    """Call a toy pipeline in threads, one after another; print what the process and its folder of runs hold."""
    import psutil
    from ltx_pipelines.distilled import DistilledPipeline

    process, found = psutil.Process(), {}
    runs, sockets = Path(LaunchOptions.of_environment().runs_dir), locations.runtime_path()
    for number in range(1, calls + 1):
        worker = threading.Thread(target=DistilledPipeline(), args=("a fox", number))
        worker.start()
        worker.join()
        if number == 100 or number == calls:
            held = {
                "runs and other files": len(list(runs.iterdir())),
                "sockets": len(list(sockets.glob("*.sock"))),
                "open files": process.num_fds(),
                "threads": process.num_threads(),
                "memory in MB": process.memory_info().rss >> 20,
            }
            for what, count in held.items():
                found.setdefault(what, []).append(count)
    print(json.dumps(found))


def _fakes() -> list[str]:
    root = Path(__file__).parents[1]
    return [str(root / "tests" / "recorder" / "runners" / "lightricks" / "stage_api"), str(root)]


def main() -> None:
    options.parser("benchmarks.starting", __doc__ or "", "").parse_args()
    with tempfile.TemporaryDirectory(prefix="ltx-starting-") as folder:
        run(Path(folder))


if __name__ == "__main__":
    main()
