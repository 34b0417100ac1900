"""What recording and watching cost, measured in one run, as medians or ratios: `make bench`."""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from pathlib import Path

from benchmarks import options

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # the nano model's tensors are too small to share

EXTRA = ["ray"]
"""Only by their names: they need what most environments lack."""
PARTS = ["recorder", "footprint", "dashboard", "findings", "comfyui", "remote", "starting", "claims", "bigfolder"]


def main() -> None:
    parser = options.parser(
        "benchmarks", __doc__, "  everything, as `make bench`", "recorder footprint  without a dashboard"
    )
    parser.add_argument(
        "parts", nargs="*", choices=[*PARTS, *EXTRA, []], metavar="PART", help=f"{', '.join(PARTS)} [all]; ray"
    )
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
        if "findings" in parts:
            from benchmarks import rules

            rules.run(folder)
        if "comfyui" in parts:
            from benchmarks import comfyui

            comfyui.run(folder)
        if "remote" in parts:
            from benchmarks import remote

            remote.run(folder)
        if "starting" in parts:
            from benchmarks import starting

            starting.run(folder)
        if "ray" in parts:
            from benchmarks import ray_sweep

            ray_sweep.run(folder)
        if "claims" in parts:
            from benchmarks import claims

            claims.run(folder)
        if "bigfolder" in parts:
            from benchmarks import bigfolder

            bigfolder.run(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
