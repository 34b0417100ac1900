"""`make bench`: what recording and watching cost, measured in one run; medians, and ratios where that says more."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the nano model's tensors are too small to share

PARTS = ["recorder", "footprint", "dashboard"]


def table(title: str, rows: list[tuple[str, str]]) -> None:
    """Print one titled block of figures."""
    print(f"\n{title}")
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"  {name.ljust(width)}  {value}", flush=True)


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def middle(values: list[float]) -> str:
    """Median with the range it was taken from."""
    return f"{ms(statistics.median(values))}   ({ms(min(values))} to {ms(max(values))}, {len(values)} runs)"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART", help=f"{', '.join(PARTS)} [all]")
    parts = parser.parse_args().parts or PARTS
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}", end="")
    folder = Path(tempfile.mkdtemp(prefix="ltx-bench-", dir=tempfile.gettempdir()))
    os.environ["LTXTUI_RUNTIME_DIR"] = str(folder / "sockets")
    try:
        if "recorder" in parts:
            from benchmarks import recording

            recording.run(folder)
        if "footprint" in parts:
            from benchmarks import footprint

            footprint.run(folder)
        if "dashboard" in parts:
            from benchmarks import dashboard

            dashboard.run(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
