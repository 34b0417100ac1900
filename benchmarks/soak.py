"""A million steps through the real recorder, with a viewer and a dashboard attached: `python -m benchmarks.soak`.

Small tensors go through `run.step` as one long stage, as fast as they can be measured. A viewer in a separate process
reads every row over the socket, and `ltxtui watch` draws them in a pseudo-terminal. Their memory, threads, files and
CPU are sampled and printed on standard error at once, so that a soak that is stopped early has reported its figures.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import options

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the tensors are too small to share

SHAPE = (1, 4, 3, 4, 6)
"""[B, C, F, H, W] of the samples."""
SAMPLES = 200
"""How often figures are noted over a soak."""
CATCH_UP_SECONDS = 300.0


@dataclass(frozen=True)
class Sample:
    """Figures at one moment; costs are medians over the steps since the one before."""

    step: int
    seconds: float
    cpu_us: float
    """Of the calling thread, per step."""
    wall_us: float
    rss_kb: int
    threads: int
    files: int
    waiting: int
    """Rows that the pump had not written yet, and messages that the archivist had not folded."""
    behind_kb: int
    """Bytes that the slowest viewer had not been sent."""
    viewer_kb: int
    dashboard_kb: int
    dashboard_cpu: float
    """Share of one core since the sample before."""


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Helper:
    """A viewer or a dashboard in a process of its own; `watched` is the process whose figures count."""

    def __init__(self, role: str, *arguments: str) -> None:
        import psutil

        command = [sys.executable, "-m", "benchmarks.soak_helpers", role, *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.watched = psutil.Process(int(self.process.stdout.readline()))
        self._cpu, self._at = 0.0, time.monotonic()

    def figures(self) -> tuple[int, float]:
        """KB in memory, and the share of a core since the last call; zeros once it is gone."""
        import psutil

        try:
            memory, times = self.watched.memory_info().rss, self.watched.cpu_times()
        except psutil.NoSuchProcess:
            return 0, 0.0
        now, cpu = time.monotonic(), times.user + times.system
        share = (cpu - self._cpu) / max(1e-6, now - self._at)
        self._cpu, self._at = cpu, now
        return memory >> 10, share

    def finish(self, limit: float) -> dict[str, Any]:
        """Let it come to its end; what it has to say."""
        try:
            out, _ = self.process.communicate("", timeout=limit)
        except subprocess.TimeoutExpired:
            self.process.kill()
            out, _ = self.process.communicate()
        lines = out.splitlines()
        return dict(json.loads(lines[-1])) if lines else {}


class Watcher:
    """Notes figures of the recorder, which is this process, and of its viewers."""

    def __init__(self, run: Any, viewer: Helper, dashboard: Helper) -> None:
        import psutil

        self._run, self._viewer, self._dashboard = run, viewer, dashboard
        self._self = psutil.Process()
        self._began = time.monotonic()
        self.samples: list[Sample] = []

    def note(self, step: int, cpu: list[float], wall: list[float]) -> Sample:
        run = self._run
        offsets = [v.offset for v in list(run._server._viewers.values())] or [0]
        dashboard_kb, dashboard_cpu = self._dashboard.figures()
        sample = Sample(
            step,
            round(time.monotonic() - self._began, 1),
            round(statistics.median(cpu) * 1e6, 1),
            round(statistics.median(wall) * 1e6, 1),
            self._self.memory_info().rss >> 10,
            self._self.num_threads(),
            self._self.num_fds(),
            run._pump._queue.qsize() + run._archivist._queue.qsize(),
            (run._journal.size - min(offsets)) >> 10,
            self._viewer.figures()[0],
            dashboard_kb,
            round(dashboard_cpu, 3),
        )
        self.samples.append(sample)
        return sample


def steps_through(run: Any, steps: int, watcher: Watcher, previews: bool) -> None:
    """The loop: one stage of unknown length, so that arrays have to grow."""
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    clean, noise = torch.randn(2, *SHAPE)
    velocity = noise - clean
    every = max(1, steps // SAMPLES)
    cpu: list[float] = []
    wall: list[float] = []
    run.stage(soak=steps, previews=previews)
    for i in range(steps):
        sigma, after = 1 - i / steps, max(0.0, 1 - (i + 1) / steps)
        sample = torch.add(clean, velocity, alpha=sigma)
        began, thread = time.perf_counter(), time.thread_time()
        run.step(sigma=sigma, sigma_next=after, sample=sample, velocity=velocity)
        cpu.append(time.thread_time() - thread)
        wall.append(time.perf_counter() - began)
        if (i + 1) % every == 0:
            s = watcher.note(i + 1, cpu, wall)
            cpu.clear()
            wall.clear()
            if len(watcher.samples) % max(1, SAMPLES // 40) == 0 or len(watcher.samples) == 1:
                say(
                    f"{s.step:>9,} steps {s.seconds:7.0f} s | per step {s.cpu_us / 1000:.2f} ms CPU, "
                    f"{s.wall_us / 1000:.2f} ms wall | MB: recorder {s.rss_kb >> 10}, viewer {s.viewer_kb >> 10}, "
                    f"dashboard {s.dashboard_kb >> 10} ({s.dashboard_cpu:.0%} CPU) | {s.threads} threads, "
                    f"{s.files} files, {s.waiting} waiting, {s.behind_kb} KB behind"
                )


def slope(samples: list[Sample], what: str) -> float:
    """KB per 1,000 steps: a straight line through the last half."""
    half = samples[len(samples) // 2 :]
    if len(half) < 2:
        return 0.0
    return float(np.polyfit([s.step / 1000 for s in half], [getattr(s, what) for s in half], 1)[0])


def cost(samples: list[Sample], what: str) -> tuple[float, float]:
    """Median cost of the first tenth, which warms up, and of the last, in µs."""
    tenth = max(1, len(samples) // 10)
    values = [getattr(s, what) for s in samples]
    return statistics.median(values[:tenth]), statistics.median(values[-tenth:])


def soak(folder: Path, steps: int, previews: bool) -> dict[str, Any]:
    """Record, watch, close, open again; all figures."""
    import recorder
    from recorder import record

    say(f"recorder: {recorder.__file__}")
    interrupted = False
    with record(runs_dir=folder, name="soak", previews=previews) as run:
        viewer, dashboard = Helper("viewer", str(run.socket_path)), Helper("dashboard", str(run.socket_path))
        watcher = Watcher(run, viewer, dashboard)
        try:
            steps_through(run, steps, watcher, previews)
        except KeyboardInterrupt:
            interrupted = True
            say("interrupted: what follows is of the steps until here")
        journal_bytes = run._journal.size
        closing = time.perf_counter()
    closing = time.perf_counter() - closing
    samples = watcher.samples
    received = viewer.finish(CATCH_UP_SECONDS)
    after = dashboard.finish(CATCH_UP_SECONDS)
    opened = Helper("opener", str(run.path)).finish(CATCH_UP_SECONDS)
    files = [f for f in run.path.rglob("*") if f.is_file()]
    done = samples[-1].step if samples else 0
    return {
        "steps": done,
        "interrupted": interrupted,
        "seconds": samples[-1].seconds if samples else 0.0,
        "previews": previews,
        "slope_kb_per_1000_steps": {
            name: round(slope(samples, name), 2) for name in ("rss_kb", "viewer_kb", "dashboard_kb")
        },
        "cpu_us_first_last_tenth": cost(samples, "cpu_us"),
        "wall_us_first_last_tenth": cost(samples, "wall_us"),
        "threads": sorted({s.threads for s in samples}),
        "files": sorted({s.files for s in samples}),
        "most_waiting": max((s.waiting for s in samples), default=0),
        "most_behind_kb": max((s.behind_kb for s in samples), default=0),
        "close_seconds": round(closing, 3),
        "journal_bytes": journal_bytes,
        "archive_bytes": sum(f.stat().st_size for f in files),
        "archive_files": len(files),
        "viewer": received,
        "dashboard": after,
        "opened": opened,
        "samples": [asdict(s) for s in samples],
    }


def report(found: dict[str, Any]) -> None:
    """The figures as a block of text."""
    from benchmarks.reporting import table

    first, last = found["samples"][0], found["samples"][-1]
    slopes, opened = found["slope_kb_per_1000_steps"], found["opened"]
    rows = [("steps, seconds", f"{found['steps']:,} in {found['seconds']:,.0f} s, previews {found['previews']}")]
    for label, name in (("recorder", "rss_kb"), ("viewer", "viewer_kb"), ("dashboard", "dashboard_kb")):
        middle = found["samples"][len(found["samples"]) // 2]
        sizes = " → ".join(f"{s[name] / 1024:.1f}" for s in (first, middle, last))
        rows.append((f"{label}: MB first → middle → last", f"{sizes}; {slopes[name]:+.2f} KB per 1,000 steps"))
    for label, name in (("CPU", "cpu_us"), ("wall", "wall_us")):
        begin, end = found[f"{name}_first_last_tenth"]
        tenths = f"{begin / 1000:.2f} → {end / 1000:.2f} ms ({end / begin:.2f})"
        rows.append((f"{label} per step, first → last tenth", tenths))
    rows += [
        ("threads, files of the recorder", f"{found['threads']}, {found['files']}"),
        ("most rows waiting, most behind", f"{found['most_waiting']:,}, {found['most_behind_kb']:,} KB"),
        ("rows the viewer received", f"{found['viewer'].get('rows', 0):,}, {found['viewer'].get('gaps', -1)} gaps"),
        ("dashboard at the end", f"{found['dashboard']}, {last['dashboard_cpu']:.0%} CPU"),
        ("close to complete archive", f"{found['close_seconds']:.2f} s"),
        ("journal, archive", f"{found['journal_bytes'] >> 20} MB, {found['archive_bytes'] >> 20} MB in "
         f"{found['archive_files']:,} files"),
        ("opened again: rows", f"{opened.get('rows', 0):,} in {opened.get('open_seconds', -1):.2f} s, "
         f"{opened.get('rss_kb', 0) >> 10} MB"),
        ("a series, a seek (median)", f"{opened.get('series_ms', -1):.2f} ms, {opened.get('seek_ms', -1):.2f} ms"),
    ]  # fmt: skip
    table("Soak", rows)


def main() -> int:
    parser = options.parser("benchmarks.soak", __doc__, "--steps 10000 --stages 20", "--json --directory /var/tmp")
    parser.add_argument("--steps", type=int, default=1_000_000, help="steps of the long stage [1000000]")
    parser.add_argument("--stages", type=int, default=2000, help="short stages of one run, afterwards [2000]")
    parser.add_argument("--runs", type=int, default=300, help="runs one after another, afterwards [300]")
    parser.add_argument("--no-previews", action="store_true", help="without pictures of the predicted sample")
    parser.add_argument("--json", action="store_true", help="all figures as one JSON object")
    parser.add_argument("--directory", type=Path, default=Path(tempfile.gettempdir()), help="where to record")
    given = parser.parse_args()
    from benchmarks.soak_helpers import many_runs, many_stages

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="ltx-soak-", dir=given.directory))
    os.environ["LTXTUI_RUNTIME_DIR"] = str(folder / "sockets")
    found: dict[str, Any] = {}
    try:
        if given.steps:
            found["soak"] = soak(folder / "runs", given.steps, not given.no_previews)
            if not given.json:
                report(found["soak"])
        for name, count, work in (("stages", given.stages, many_stages), ("runs", given.runs, many_runs)):
            if count:
                found[name] = work(folder / name, count)
                if not given.json:
                    print(f"\n{count:,} {name}: " + json.dumps(found[name]), flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if given.json:
        print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
