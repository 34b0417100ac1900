"""`python -m benchmarks.viewers`: 32 viewers receive a whole run; what 64 viewers, good and bad, cost the sampler.

Sixty-four viewers use the same cores, which alone makes every thread slower. So a second recorder runs alongside the
measured one all the time, and as a control the viewers are attached to that one.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import selectors
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import options

os.environ.setdefault("OMP_NUM_THREADS", "1")

STEPS = 50
VIEWERS = 32
COMPANY = 64
PERIOD = 0.02
"""Seconds between two steps, as a fast model takes them."""
LIMIT_SECONDS = 900.0
"""After which the other recorder ends by itself."""

Cost = tuple[list[float], list[float]]
"""CPU and wall milliseconds of the calling thread, of every step."""


def connect(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.connect(path)
    return made


def receive_all(path: str, count: int, size: int) -> float:
    """Seconds in which this many new viewers receive this many bytes each; one selector for all of them."""
    began = time.perf_counter()
    left = {}
    with selectors.DefaultSelector() as waiting:
        for _ in range(count):
            made = connect(path)
            made.setblocking(False)
            waiting.register(made, selectors.EVENT_READ)
            left[made] = size
        while left:
            for key, _ in waiting.select(30):
                viewer: Any = key.fileobj
                left[viewer] -= len(viewer.recv(1 << 20))
                if left[viewer] <= 0:
                    waiting.unregister(viewer)
                    viewer.close()
                    del left[viewer]
    return time.perf_counter() - began


def company(path: str) -> None:
    """A process of its own: 64 viewers at once until it is ended. A quarter each reads, is slow, has stopped, or sends
    garbage again and again; meanwhile others connect and vanish."""
    rng = random.Random(0)

    def reads(pause: float) -> None:
        viewer = connect(path)
        while viewer.recv(1 << 16):
            time.sleep(pause)

    def garbage() -> None:
        while True:
            with connect(path) as viewer:
                viewer.settimeout(0.2)
                try:
                    for _ in range(20):
                        viewer.sendall(rng.randbytes(2000))
                        time.sleep(0.05)
                except OSError:
                    time.sleep(0.05)

    def vanishes() -> None:
        while True:
            connect(path).close()
            time.sleep(0.01)

    stopped = [connect(path) for _ in range(COMPANY // 4)]
    works: list[Callable[[], None]] = [lambda: reads(0), lambda: reads(0.2), garbage]
    for work in works:
        for _ in range(COMPANY // 4):
            threading.Thread(target=work, daemon=True).start()
    print(f"{len(stopped) + len(works) * COMPANY // 4} viewers", flush=True)
    vanishes()


def made_up() -> tuple[Any, Any]:
    """Small latents of video and audio."""
    import torch

    return torch.randn(1, 8, 9, 10, 12), torch.randn(1, 65, 4)


def cost(run: Any, tensors: tuple[Any, Any], steps: int) -> Cost:
    """What each step costs, of both streams."""
    video, audio = tensors
    cpu, wall = [], []
    for i in range(steps):  # all in one stage: another one would take some memory of its own
        sigma, after = 1 - i / steps, 1 - (i + 1) / steps
        at, used = time.perf_counter(), time.thread_time()
        run.step(sigma=sigma, sigma_next=after, sample=video, velocity=video)
        run.step(sigma=sigma, sigma_next=after, sample=audio, velocity=audio, stream="audio")
        cpu.append((time.thread_time() - used) * 1000)
        wall.append((time.perf_counter() - at) * 1000)
        time.sleep(PERIOD)
    return cpu, wall


def elsewhere(folder: str) -> None:
    """A process of its own: the same loop recorded by another recorder, until it is ended."""
    import torch

    from recorder import record

    torch.set_num_threads(1)
    os.environ["LTXTUI_RUNTIME_DIR"] = f"{folder}/sockets"
    until = time.monotonic() + LIMIT_SECONDS
    with record(runs_dir=f"{folder}/runs", allow_control=True) as run:
        print(run.socket_path, flush=True)
        while time.monotonic() < until:
            cost(run, made_up(), STEPS)


def started(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    """A process of this module, and the first line that it says."""
    command = [sys.executable, "-m", "benchmarks.viewers", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def told(name: str, number: int, one: list[Cost], other: list[Cost]) -> str:
    """The ratio of medians, stretch by stretch: of the calling thread's CPU (0) or wall time (1)."""
    medians = [[statistics.median(stretch[number]) for stretch in stretches] for stretches in (one, other)]
    ratios = sorted(b / a for a, b in zip(*medians, strict=True))
    of = " to ".join(f"{statistics.median(found):.3f}" for found in medians)
    return f"  {name} {of} ms, ratio {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"


def main() -> int:
    parser = options.parser("benchmarks.viewers", __doc__, "--rounds 1 --steps 20")
    parser.add_argument("--rounds", type=int, default=6, help="stretches of each kind [6]")
    parser.add_argument("--steps", type=int, default=100, help="steps of a stretch [100]")
    parser.add_argument("--company", metavar="SOCKET", help=argparse.SUPPRESS)
    parser.add_argument("--elsewhere", metavar="FOLDER", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.company:
        company(given.company)
        return 0
    if given.elsewhere:
        elsewhere(given.elsewhere)
        return 0
    import psutil
    import torch

    from recorder import record

    torch.set_num_threads(1)
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}, torch {torch.__version__}")
    folder = Path(tempfile.mkdtemp(prefix="ltx-bench-", dir=tempfile.gettempdir()))
    os.environ["LTXTUI_RUNTIME_DIR"] = str(folder / "sockets")
    tensors = made_up()
    helpers: list[subprocess.Popen[str]] = []
    try:
        with record(runs_dir=folder / "runs", allow_control=True) as run:
            cost(run, tensors, STEPS)
            time.sleep(0.5)
            size = run._journal.size
            taken = sorted(receive_all(str(run.socket_path), VIEWERS, size) for _ in range(9))
            print(f"{VIEWERS} viewers, a run of {STEPS} steps ({size / 1024:.0f} KiB) each: ", end="")
            print(f"{statistics.median(taken) * 1000:.0f} ms   ({taken[0] * 1000:.0f} to {taken[-1] * 1000:.0f})")
            process = psutil.Process()
            other, other_path = started("--elsewhere", str(folder / "other"))
            helpers.append(other)
            alone: list[Cost] = []
            beside: list[Cost] = []
            watched: list[Cost] = []
            memory = []
            for _ in range(given.rounds):
                alone.append(cost(run, tensors, given.steps))
                for stretches, path in ((beside, other_path), (watched, str(run.socket_path))):
                    viewers, _ = started("--company", path)
                    helpers.append(viewers)
                    stretches.append(cost(run, tensors, given.steps))
                    if stretches is watched:
                        memory.append(process.memory_info().rss / 2**20)
                    viewers.kill()
                    viewers.wait()
        print(f"calling thread per step, {given.rounds} stretches of {given.steps} steps of each kind:")
        for number, name in enumerate(("CPU", "wall")):
            print(f"no viewers, then {COMPANY} at another recorder (a busier machine):")
            print(told(name, number, alone, beside))
            print(f"{COMPANY} at another recorder, then {COMPANY} at this one (what viewers cost the run they watch):")
            print(told(name, number, beside, watched))
        print("resident memory after each stretch with viewers, MiB: " + ", ".join(f"{m:.1f}" for m in memory))
    finally:
        for helper in helpers:
            helper.kill()
            helper.wait()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
