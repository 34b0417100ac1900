"""The same metrics into this recorder and into other tools: `python -m benchmarks.peers` prints one table.

Every figure is taken in a separate process. 42 metrics (40 scalars, two vectors of 64 float32) are logged for 2,000
steps, one right after another; then the file is read back as arrays and compared. For the last columns a writer is
killed with SIGKILL: at random moments of those 2,000 steps, at random moments of 300 steps that are 1 ms apart, and in
a run of 8 steps, 50 ms apart, right after it reported the eighth. Steps that it had reported and that are missing
count as lost.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import options
from benchmarks.peers.environment import quiet_environment
from benchmarks.peers.tools import SLOW, TOOLS

FAST_STEPS, FAST_SECONDS = 300, 0.001
PACED_STEPS, PACE_SECONDS = 8, 0.05
SETTLE_SECONDS = 1.5
"""After a kill: what helper processes of a tool still write within this time counts as written."""
LIMIT_SECONDS = 300


class Folder:
    """An empty folder for one figure, with an environment that keeps its tool inside; removed at the end."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="ltx-peers-"))
        self.data = self.path / "data"
        self.data.mkdir()
        sockets, kept = str(self.path / "sockets"), str(self.data)
        self.environment = {**quiet_environment(self.path), "LTXTUI_RUNTIME_DIR": sockets, "TRACKIO_DIR": kept}

    def __enter__(self) -> Folder:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    def child(self, *arguments: str, **more: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "benchmarks.peers.child", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **more,
        )

    def answer(self, *arguments: str) -> dict[str, Any]:
        """What a child finds. Raises RuntimeError with its last words if it fails."""
        child = self.child(*arguments)
        try:
            out, errors = child.communicate(timeout=LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            end(child)
            raise RuntimeError(f"took longer than {LIMIT_SECONDS} s") from None
        if child.returncode:
            raise RuntimeError((errors.strip().splitlines() or ["it failed"])[-1][:120])
        return dict(json.loads(out.strip().splitlines()[-1]))


def end(child: subprocess.Popen[str]) -> None:
    """End a child and the helpers that it started, which share its session."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        child.communicate()


def size_of(folder: Path) -> tuple[int, int]:
    """Bytes of all files, and what they take on the disk."""
    found = [p.stat() for p in folder.rglob("*") if p.is_file()]
    return sum(s.st_size for s in found), sum(s.st_blocks * 512 for s in found)


def measure(name: str, steps: int) -> dict[str, Any]:
    """Write, weigh, read back."""
    with Folder() as folder:
        found = folder.answer("write", name, str(folder.data), str(steps), "0")
        found["bytes"], found["disk_bytes"] = size_of(folder.data)
        found |= folder.answer("read", name, str(folder.data), str(steps))
    if found["rows"] != steps or not found["exact"]:
        found["note"] = f"{found['rows']:,} rows read back" + (
            "" if found["exact"] else ", not equal to what was logged"
        )
    return found


def lost(name: str, steps: int, pause: float, after: int) -> int:
    """Steps that are missing once a writer was killed which had reported `after` of them or a few more."""
    with Folder() as folder:
        reading, writing = os.pipe()
        arguments = ("write", name, str(folder.data), str(steps), str(pause), str(writing))
        child = folder.child(*arguments, pass_fds=[writing])
        os.close(writing)
        reported, pending = 0, b""
        try:
            while reported < after and (data := os.read(reading, 1 << 16)):
                pending += data
                *whole, pending = pending.split(b"\n")
                reported = int(whole[-1]) if whole else reported
            os.kill(child.pid, signal.SIGKILL)
            # What it had reported until the signal hit counts too.
            while data := os.read(reading, 1 << 16):
                pending += data
                *whole, pending = pending.split(b"\n")
                reported = int(whole[-1]) if whole else reported
        finally:
            os.close(reading)
            time.sleep(SETTLE_SECONDS)
            end(child)
        try:
            left = int(folder.answer("read", name, str(folder.data), str(steps))["rows"])
        except RuntimeError:
            left = 0  # nothing that can be read
        return max(0, reported - left)


def figures(name: str, given: argparse.Namespace) -> dict[str, Any]:
    """All columns of one tool: medians over the repeats."""
    repeats = 1 if name in SLOW else given.repeats
    runs = [measure(name, given.steps) for _ in range(repeats)]
    found: dict[str, Any] = {k: statistics.median(r[k] for r in runs) for k in runs[0] if isinstance(runs[0][k], float)}
    found |= {k: runs[0][k] for k in ("bytes", "disk_bytes")}
    found["note"] = next((r["note"] for r in runs if "note" in r), "")
    rng = random.Random(0)
    for key, steps, pause in (("lost", given.steps, 0.0), ("lost_fast", FAST_STEPS, FAST_SECONDS)):
        moments = [rng.randrange(steps // 10, steps * 9 // 10) for _ in range(given.kills)]
        found[key] = [lost(name, steps, pause, after) for after in moments]
    found["lost_paced"] = [lost(name, PACED_STEPS, PACE_SECONDS, PACED_STEPS) for _ in range(given.kills)]
    return found


COLUMNS = (
    ("median_us", "log, median µs", lambda v: f"{v:,.1f}"),
    ("p99_us", "p99 µs", lambda v: f"{v:,.0f}"),
    ("total_s", "total s", lambda v: f"{v:.2f}"),
    ("bytes", "KB", lambda v: f"{v / 1024:,.0f}"),
    ("disk_bytes", "KB (du)", lambda v: f"{v / 1024:,.0f}"),
    ("read_s", "read ms", lambda v: f"{v * 1000:,.0f}"),
)


def table(results: dict[str, dict[str, Any]]) -> str:
    """Rows of tools; behind every figure how many times ours it is."""
    heads = ["", *(head for _, head, _ in COLUMNS), "lost flat out", "lost at 1 ms", "lost of 8"]
    lines = []
    for name, found in results.items():
        cells = [name]
        for key, _, show in COLUMNS:
            times = f" ({found[key] / results['ours'][key]:.2g}×)" if name != "ours" and "ours" in results else ""
            cells.append(show(found[key]) + times)
        for key in ("lost", "lost_fast", "lost_paced"):
            values = found[key]
            cells.append(f"{statistics.median(values):,.0f} (≤ {max(values):,})" if values else "")
        lines.append(cells)
    widths = [max(len(line[i]) for line in [heads, *lines]) for i in range(len(heads))]
    text = [" | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) for line in [heads, *lines]]
    text.insert(1, "-|-".join("-" * w for w in widths))
    return "\n".join(text)


def main() -> int:
    parser = options.parser("benchmarks.peers", __doc__, "ours MCAP", "--steps 500 --repeats 1 --kills 1 --json")
    parser.add_argument("tools", nargs="*", help=f"of: {', '.join(TOOLS)} [all that are installed]")
    parser.add_argument("--steps", type=int, default=2000, help="logged steps [2000]")
    parser.add_argument("--repeats", type=int, default=3, help="runs that medians are taken of [3]")
    parser.add_argument("--kills", type=int, default=3, help="kills of each kind [3]")
    parser.add_argument("--json", action="store_true", help="all figures as one JSON object")
    given = parser.parse_args()
    if unknown := set(given.tools) - set(TOOLS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(TOOLS)}")
    results, notes, versions = {}, [], []
    for name, tool in TOOLS.items():
        if given.tools and name not in given.tools:
            continue
        if importlib.util.find_spec(tool.modules[0].partition(".")[0]) is None:
            notes.append(f"{name} is not installed: {sys.executable} -m pip install -c constraints.txt -e '.[peers]'")
            continue
        version = importlib.metadata.version(tool.distribution) if tool.distribution else ""
        print(f"{name} {version} …", file=sys.stderr, flush=True)
        try:
            results[name] = figures(name, given)
        except RuntimeError as error:
            notes.append(f"{name}: {error}")
            continue
        versions += [f"{tool.distribution} {version}"] if version else []
        if results[name]["note"]:
            notes.append(f"{name}: {results[name]['note']}")
    if given.json:
        print(json.dumps({"figures": results, "notes": notes, "versions": versions}))
        return 0
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}", end="; ")
    print(", ".join(dict.fromkeys(versions)))
    print(f"{given.steps:,} steps, medians of {given.repeats} runs, {given.kills} kills of each kind\n")
    print(table(results))
    for note in notes:
        print(note)
    return 0


if __name__ == "__main__":
    sys.exit(main())
