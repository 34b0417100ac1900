"""Parts of a soak besides its loop: viewer, dashboard and opener in separate processes; many stages, many runs."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import random
import select
import signal
import statistics
import struct
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from typing import Any

LIMIT_SECONDS = 24 * 3600


def viewer(socket_path: str) -> None:
    """Receive a run until it ends, and count: rows in order, and places where one is missing."""
    from replay.sources.open import Liveness, SocketSource

    source = SocketSource(Path(socket_path))
    print(os.getpid(), flush=True)
    rows = gaps = 0
    until = time.monotonic() + LIMIT_SECONDS
    while time.monotonic() < until:
        messages = source.poll()
        for m in messages:
            if m["t"] == "step":
                gaps += m["step"] != rows
                rows = m["step"] + int(m.get("count", 1))
        if source.liveness is not Liveness.LIVE:
            break
        if not messages:
            select.select([source.fileno()], [], [], 1.0)
    print(json.dumps({"rows": rows, "gaps": gaps}))


def dashboard(socket_path: str) -> None:
    """`ltxtui watch` in a pseudo-terminal whose output is read and thrown away, until standard input closes."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", "COLORTERM": "truecolor"}
    shown = subprocess.Popen(
        [sys.executable, "-m", "ltxtui", "watch", "--socket", socket_path],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
        start_new_session=True,
    )
    os.close(slave)
    print(shown.pid, flush=True)
    asked, drawn, quiet_since = 0.0, 0, time.monotonic()
    until = time.monotonic() + LIMIT_SECONDS
    while shown.poll() is None and time.monotonic() < until:
        wanted = [master] if asked else [master, sys.stdin.fileno()]
        ready, _, _ = select.select(wanted, [], [], 0.5)
        if master in ready:
            try:
                drawn += len(os.read(master, 1 << 16))
            except OSError:  # the other end is closed
                break
            quiet_since = time.monotonic()
        if not asked and sys.stdin.fileno() in ready:
            asked = time.monotonic()
        # It ends once it has drawn all that came, or has had its time.
        if asked and (time.monotonic() - quiet_since > 5 or time.monotonic() - asked > 120):
            break
    alive = shown.poll() is None
    caught_up = round(max(0.0, quiet_since - asked), 1) if asked else None
    if alive:
        shown.send_signal(signal.SIGTERM)
        try:
            shown.wait(10)
        except subprocess.TimeoutExpired:
            shown.kill()
            shown.wait()
    print(json.dumps({"alive": alive, "drawn_mb": drawn >> 20, "last_drawn_after_end_s": caught_up}))


def opener(path: str) -> None:
    """Open an archive as a reader does: until its first messages are fed, a whole series, and pictures at random."""
    import psutil
    import zarr  # noqa: F401 - imported before the clock starts

    from replay.model.run import Run
    from replay.sources.open import open_path

    print(os.getpid(), flush=True)
    began = time.perf_counter()
    source, run = open_path(Path(path)), Run()
    for message in source.poll():
        run.feed(message)
    opened = time.perf_counter() - began
    stream = run.stages[0].streams["video"]
    began = time.perf_counter()
    name = next(n for n, m in stream.metrics.items() if m.shape in ((), (1,)) and n != "sigma")
    series = stream.series(name)
    float(series[-1])
    read = time.perf_counter() - began
    rng, seeks = random.Random(0), []
    for _ in range(25):
        step = rng.randrange(stream.rows)
        began = time.perf_counter()
        float(stream.series(name)[step])
        if step in stream.previews:
            stream.previews[step].pixels()
        seeks.append(time.perf_counter() - began)
    found = {
        "rows": stream.rows,
        "open_seconds": round(opened, 3),
        "series_ms": round(read * 1000, 3),
        "seek_ms": round(statistics.median(seeks) * 1000, 3),
        "rss_kb": psutil.Process().memory_info().rss >> 10,
    }
    print(json.dumps(found))


def figures() -> dict[str, int]:
    """Of this process: KB in memory, threads, files, sockets among them, and entries of the directory of sockets."""
    import psutil

    from recorder.format import locations

    me, sockets = psutil.Process(), locations.runtime_path()
    return {
        "rss_kb": me.memory_info().rss >> 10,
        "threads": me.num_threads(),
        "files": me.num_fds(),
        "sockets": len(me.net_connections(kind="unix")),
        "socket_paths": len(list(sockets.iterdir())) if sockets.is_dir() else 0,
    }


def _few_steps(run: Any, steps: int) -> None:
    import torch

    x = torch.ones(1, 4, 3, 4, 6)
    for i in range(steps):
        run.step(sigma=1 - i / steps, sigma_next=1 - (i + 1) / steps, sample=x, velocity=x)


def many_stages(folder: Path, count: int, steps: int = 5) -> dict[str, Any]:
    """One run of many short stages: figures after the first tenth and at the end, seconds per stage, and closing."""
    from recorder import record

    tenths: list[float] = []
    with record(runs_dir=folder, name="stages") as run:
        began = time.perf_counter()
        early: dict[str, int] = {}
        for i in range(count):
            run.stage([1 - k / steps for k in range(steps)])
            _few_steps(run, steps)
            if (i + 1) % max(1, count // 10) == 0:
                tenths.append(time.perf_counter() - began)
                early = early or figures()
                began = time.perf_counter()
        late = figures()
        waiting = run._archivist._queue.qsize()
        closing = time.perf_counter()
    closing = time.perf_counter() - closing
    per_stage = [round(t / max(1, count // 10) * 1000, 2) for t in tenths]
    return {"early": early, "late": late, "ms_per_stage": [per_stage[0], per_stage[-1]], "waiting": waiting,
            "close_seconds": round(closing, 2)}  # fmt: skip


def settle() -> None:
    """Wait until servers that had viewers to serve have ended, or some seconds: no thread of a recorder is left."""
    from recorder.journal.server import CLOSING_SECONDS

    until = time.monotonic() + CLOSING_SECONDS + 3
    while any(t.name.startswith("ltxtui") for t in threading.enumerate()) and time.monotonic() < until:
        time.sleep(0.05)


def many_runs(folder: Path, count: int) -> dict[str, Any]:
    """Many runs one after another: figures after the first tenth and at the end, once servers have had their time."""
    from recorder import record

    settle()
    seconds: list[float] = []
    early: dict[str, int] = {}
    for i in range(count):
        began = time.perf_counter()
        with record(runs_dir=folder, name="one") as run:
            _few_steps(run, 5)
        seconds.append(time.perf_counter() - began)
        if i + 1 == max(1, count // 10):
            settle()
            early = figures()
    settle()
    tenth = max(1, count // 10)
    first, last = statistics.median(seconds[:tenth]), statistics.median(seconds[-tenth:])
    return {"early": early, "late": figures(), "ms_per_run": [round(first * 1000, 1), round(last * 1000, 1)]}


if __name__ == "__main__":
    {"viewer": viewer, "dashboard": dashboard, "opener": opener}[sys.argv[1]](*sys.argv[2:])
