"""What watching costs: from the command to the first paint, and the CPU of a dashboard on a live run."""

from __future__ import annotations

import math
import os
import statistics
import time
import zlib
from pathlib import Path
from typing import Any

import psutil

from benchmarks.reporting import median, table
from benchmarks.terminal import SIZE, Terminal

REPEATS = 5
UPDATES_PER_SECOND = 4
SECONDS = 15


class LiveRun:
    """A recorder without a model: a journal and a socket that are fed synthetic rows of the real metrics."""

    def __init__(self, folder: Path, rows: int) -> None:
        from recorder.format import declarations, locations, protocol
        from recorder.format.framing import encode
        from recorder.journal.journal import Journal
        from recorder.journal.server import Server
        from recorder.metrics.latent_layout import LatentLayout

        self._encode = encode
        folder.mkdir(exist_ok=True)
        self.journal = Journal(folder / f"bench-{time.monotonic_ns()}.journal")
        self.server = Server(self.journal, locations.make_runtime_directory() / "bench.sock")
        sigmas = [1 - i / 200 for i in range(200)]
        layout = LatentLayout("video", 1, (9, 10, 12))
        metrics = declarations.on_stream("video")
        shapes = [layout.row_shape(m, 8) for m in metrics]
        self._width = sum(math.prod(shape) for shape in shapes)
        stage = {
            "stage": 0,
            "call": 0,
            "tile": None,
            "time": time.time(),
            "sigmas": sigmas,
            "metadata": {"prompt": "bench"},
        }
        stream = {"stage": 0, "stream": "video", "grid": [9, 10, 12], "shape": [1, 1080, 8], "coordinates": {}}
        declared = [m.as_message("video", s) for m, s in zip(metrics, shapes, strict=True)]
        header = {
            "format": protocol.FORMAT,
            "version": 1,
            "run": "bench",
            "time": time.time(),
            "archive": "",
            "metadata": {},
        }
        self.send({"t": protocol.HEADER, **header})
        self.send({"t": protocol.STAGE, **stage})
        self.send({"t": protocol.STREAM, **stream, "metrics": declared})
        self.rows = 0
        for _ in range(rows):
            self.step()

    def send(self, message: dict[str, Any]) -> None:
        self.journal.append(self._encode(message))
        self.server.notify()

    def step(self) -> None:
        import numpy as np

        row = np.sin(np.arange(self._width) + self.rows / 9).astype("<f4")
        message = {
            "t": "step",
            "stage": 0,
            "stream": "video",
            "step": self.rows,
            "time": time.time(),
            "data": row.tobytes(),
        }
        self.send(message)
        self.rows += 1

    def close(self) -> None:
        self.journal.release(remove=True)
        self.server.close()
        self.server.join(5)


def run(folder: Path) -> None:
    """Measure and print."""
    from benchmarks import home, panels

    os.environ["LTXTUI_CONFIG"], os.environ["LTXTUI_STATE"] = str(folder / "config.toml"), str(folder / "state.json")
    six_panels()
    live = LiveRun(folder, rows=20)
    try:
        paints, used = [], []
        for n in range(REPEATS + 1):
            terminal = Terminal()
            # A cell of braille drawing: the curves are there, not just an empty frame.
            paint = terminal.wait_for("⠀".encode()[:2])
            spent = sum(psutil.Process(terminal.process.pid).cpu_times()[:2])
            terminal.quit()
            if n:  # the first one may have had to compile modules
                paints.append(paint)
                used.append(spent)
        rows = [
            ("`ltxtui watch` cold start to first curves", median(paints)),
            ("CPU of that", median(used)),
            *watching(live),
        ]
        table(f"Watching, {SIZE[0]}×{SIZE[1]}, six panels", rows)
    finally:
        live.close()
    panels.run()
    home.run(folder)


def six_panels() -> None:
    """Give the first preset six panels, and mark the tour as seen."""
    from ltxtui.state import SavedState
    from ltxtui.viewmodel.layout import size_class

    state = SavedState()
    state.set_tour_seen(True)
    state.set_arrangement(size_class(*SIZE), "1", ("sigma", "snr", "velocity", "energy", "drift", "waterfall"))


def watching(live: LiveRun) -> list[tuple[str, str]]:
    """Share of one core that a dashboard takes while the run adds rows, and the bytes that each row costs the line."""
    terminal = Terminal()
    raw, packed = [], []
    # As ssh -C does it: one stream, flushed after every piece.
    packer = zlib.compressobj()
    try:
        terminal.wait_for("⠀".encode()[:2])
        time.sleep(1)
        process = psutil.Process(terminal.process.pid)
        shares = []
        packer.compress(bytes(terminal.seen))
        packer.flush(zlib.Z_SYNC_FLUSH)
        for _ in range(SECONDS // 5):
            began, used = time.perf_counter(), sum(process.cpu_times()[:2])
            for _ in range(5 * UPDATES_PER_SECOND):
                before = len(terminal.seen)
                live.step()
                time.sleep(1 / UPDATES_PER_SECOND)
                new = bytes(terminal.seen[before:])
                raw.append(len(new))
                packed.append(len(packer.compress(new) + packer.flush(zlib.Z_SYNC_FLUSH)))
            shares.append((sum(process.cpu_times()[:2]) - used) / (time.perf_counter() - began))
    finally:
        terminal.quit()
    return [
        ("CPU at 4 updates/s", f"{statistics.median(shares):.1%} of a core   ({min(shares):.1%} to {max(shares):.1%})"),
        ("bytes per update", f"{statistics.median(raw):,.0f}   (at most {max(raw):,})"),
        ("bytes per update, compressed", f"{statistics.median(packed):,.0f}   (at most {max(packed):,})"),
    ]
