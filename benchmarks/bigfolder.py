"""What a folder of 50,000 runs costs: home, `runs`, filter, order, memory: `python -m benchmarks bigfolder`.

A part of `make bench`. The runs are small ones that `benchmarks.many_runs` makes, packed and as folders, in a temporary
folder that is removed. Home is started in a pseudo-terminal, first without a cache, then with the one that it has
written. The files are in the page cache of the system throughout.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks import many_runs, options
from benchmarks.home import no_tour
from benchmarks.reporting import median, ms, table
from benchmarks.terminal import Terminal

RUNS: Final = 50_000
REPEATS: Final = 3
KEYS: Final = 20
_WAIT: Final = 900.0
"""Seconds that reading all runs may take."""
_SORTED: Final = ("name", "status", "verdict", "steps", "stages", "sigma", "shocks", "drift", "duration", "size",
                  "model", "tags", "prompt")  # fmt: skip


def run(folder: Path, count: int = RUNS) -> None:
    """Measure and print."""
    runs = folder / "many" / "runs"
    runs.mkdir(parents=True)
    surroundings = {
        "LTXTUI_CACHE": folder / "many" / "cache",
        "LTXTUI_STATE": folder / "many" / "state.json",
        "LTXTUI_RUNS_DIR": runs,
    }
    before = {name: os.environ.get(name) for name in surroundings}
    os.environ.update({name: str(path) for name, path in surroundings.items()})
    no_tour()
    try:
        made = _timed(lambda: many_runs.make(runs, count))
        table(f"A folder of {count:,} runs, made in {made:.0f} s", [*home(folder / "many", count), *_model(runs)])
        table(f"`ltxtui runs` in a folder of {count:,} runs", _listed(count))
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        shutil.rmtree(folder / "many", ignore_errors=True)


def home(folder: Path, count: int) -> list[tuple[str, str]]:
    """Home in a terminal: with a single run, without a cache, with one."""
    there = os.environ["LTXTUI_RUNS_DIR"]
    bare = _bare(folder)
    os.environ["LTXTUI_RUNS_DIR"] = there
    return [*bare, *_cold(count), *_warm(count)]


def _cold(count: int) -> list[tuple[str, str]]:
    """Home without a cache: the newest runs, keys while the others are read, and memory once they are."""
    shown = _Home(count)
    first, keys, whole, peak = shown.first(), shown.keys(), shown.whole(), shown.quit()
    return [
        ("without a cache: `ltxtui` to the newest runs", f"{_both([first])}; wanted: at most 5 s"),
        ("a key while the others are read", f"{median(keys)}"),
        ("all runs, in the background", _both([whole])),
        ("memory at its highest", f"{peak:.0f} MB; wanted: at most 200 MB"),
    ]


def _bare(folder: Path) -> list[tuple[str, str]]:
    """Home with a single run, which is what no folder can be faster than on the machine as it is."""
    one = folder / "one"
    one.mkdir()
    many_runs.make(one, 1)
    os.environ["LTXTUI_RUNS_DIR"] = str(one)
    starts = []
    for _ in range(REPEATS + 1):
        shown = _Home(1)
        starts.append(shown.first())
        shown.quit()
    # The first one may have had to compile modules.
    return [("`ltxtui` in a folder of one run, for comparison", _both(starts[1:]))]


def _warm(count: int) -> list[tuple[str, str]]:
    """Home with a cache: cold start, the complete list, keys, filter, order, memory."""
    first, whole, keys, filtered, ordered, peak = [], [], [], [], [], []
    for _ in range(REPEATS):
        shown = _Home(count)
        first.append(shown.first())
        keys += shown.keys()
        whole.append(shown.whole())
        filtered.append(shown.filtered())
        ordered.append(shown.ordered())
        peak.append(shown.quit())
    return [
        ("with a cache: `ltxtui` to the newest runs", f"{_both(first)}; wanted: at most 1.5 s"),
        ("a key while the others are listed", median(keys)),
        ("with a cache: `ltxtui` to the complete list", _both(whole)),
        ("filter: from the last key to the rows", f"{median(filtered)}; wanted: at most 200 ms"),
        ("another order: from the key to the rows", f"{median(ordered)}; wanted: at most 200 ms"),
        ("memory at its highest", f"{max(peak):.0f} MB; wanted: at most 200 MB"),
    ]


def _both(seconds: list[tuple[float, float]]) -> str:
    """Seconds, and those of them that the program computed: a busy machine adds the rest."""
    whole, cpu = zip(*seconds, strict=True)
    return f"{statistics.median(whole):.2f} s, {statistics.median(cpu):.2f} s of it CPU"


def _model(runs: Path) -> list[tuple[str, str]]:
    """The list without a screen: every order, a filter, a pass when nothing changed."""
    from ltxtui.home.model import HomeModel
    from replay.library.watcher import RunWatcher

    watcher, model = RunWatcher(runs), HomeModel()
    watcher.update()
    while watcher.pending:
        watcher.update()
    model.set_runs(watcher.runs)
    orders = [_timed(lambda column=column: model.sort_by(column)) for column in _SORTED]
    texts = ("pond", "pond drift>0.2", "-pond status:failed", "run-04999")
    filters = [_timed(lambda text=text: model.filter(text)) for text in texts]
    model.filter("")
    watcher.update()  # a round through all archives begins
    passes = [_timed(lambda: (watcher.update(), model.set_runs(watcher.runs))) for _ in range(20)]
    watcher.close()
    return [
        ("every order but the first, without the screen", f"{median(orders)}; wanted: at most 200 ms"),
        ("filters, without the screen", f"{median(filters)}; wanted: at most 200 ms"),
        ("a pass when nothing has changed", median(passes)),
    ]


def _listed(count: int) -> list[tuple[str, str]]:
    """The command, with a cache and without: to the first run as JSON and to the last, and its memory."""
    rows = []
    for name, cache in (("with a cache", os.environ["LTXTUI_CACHE"]), ("without", f"{os.environ['LTXTUI_CACHE']}-no")):
        first, whole, peak, lines = _command("runs", "--json", cache=cache)
        assert len(json.loads(lines)["runs"]) == count
        rows += [
            (f"`--json`, {name}: the first run", ms(first)),
            (f"`--json`, {name}: all runs", f"{whole:.1f} s, {peak:.0f} MB at its highest"),
        ]
    _, whole, peak, _ = _command("runs", cache=os.environ["LTXTUI_CACHE"])
    return [*rows, ("the table, with a cache", f"{whole:.1f} s, {peak:.0f} MB at its highest")]


_MEASURED: Final = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:])
_, status, used = os.wait4(process.pid, 0)
sys.stderr.write(f"{status} {used.ru_maxrss}")
"""
"""Runs a command from a small process: what a process had before it ran another program counts as that program's."""


def _command(*arguments: str, cache: str) -> tuple[float, float, float, bytes]:
    """Seconds until the first run is printed, and all are; MB at its highest; the output."""
    began = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", _MEASURED, sys.executable, "-m", "ltxtui", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "LTXTUI_CACHE": cache},
    )
    assert process.stdout is not None and process.stderr is not None
    lines = [process.stdout.readline(), process.stdout.readline()]
    first = time.perf_counter() - began
    lines.append(process.stdout.read())
    whole = time.perf_counter() - began
    *_, status, used = process.stderr.read().split()
    process.wait()
    assert not int(status)
    return first, whole, int(used) / 1024, b"".join(lines)


class _Home:
    """Home in a pseudo-terminal, driven by keys."""

    def __init__(self, count: int) -> None:
        self.newest = f"run-{count - 1:05}".encode()
        self.terminal = Terminal(())
        self._count = count

    def keys(self) -> list[float]:
        """Seconds from a key to the row that it moves the cursor to, one after the other."""
        return [self._pressed(b"j", f"m{n + 2:,} of ".encode()) for n in range(KEYS)]

    def first(self) -> tuple[float, float]:
        """Seconds from the start until the newest run is on the screen, and CPU seconds until then."""
        return self.terminal.wait_for(self.newest), self._cpu()

    def whole(self) -> tuple[float, float]:
        """The same until all runs are listed."""
        return self.terminal.wait_for(f"of {self._count:,} ".encode(), _WAIT), self._cpu()

    def _cpu(self) -> float:
        used = psutil.Process(self.terminal.process.pid).cpu_times()
        return float(used.user + used.system)

    def filtered(self) -> float:
        """Seconds from the last character of a filter to the only run that matches."""
        text = f"run-{self._count // 2:05}".encode()
        for keys in (b"/", text[:-1]):
            self.terminal.press(keys)
            time.sleep(0.5)
        seconds = self._pressed(text[-1:], b"m1 of 1 ")
        self._pressed(b"\x1b", f" of {self._count:,} ".encode())
        return seconds

    def ordered(self) -> float:
        """Seconds until the order is the other way round: the cursor stays on its run, the last one then."""
        self._pressed(b"\x1b[H", b"m1 of ")
        return self._pressed(b"r", f"m{self._count:,} of ".encode())

    def quit(self) -> float:
        """Leave it. Gives the MB that it had at its highest."""
        status = Path(f"/proc/{self.terminal.process.pid}/status").read_text()
        self.terminal.quit()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024

    def _pressed(self, key: bytes, text: bytes) -> float:
        self.terminal.seen.clear()
        began = time.perf_counter()
        self.terminal.press(key)
        self.terminal.wait_for(text)
        return time.perf_counter() - began


def _timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    parser = options.parser("benchmarks.bigfolder", __doc__ or "", "", "5000")
    parser.add_argument("runs", nargs="?", type=int, default=RUNS, help="runs in the folder [%(default)s]")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ltx-bigfolder-", dir=tempfile.gettempdir()))
    os.environ.setdefault("LTXTUI_RUNTIME_DIR", str(folder / "sockets"))
    try:
        run(folder, given.runs)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
