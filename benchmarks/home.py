"""What the list of thousands of runs costs: cold, with a warm cache, per pass, per key and per redraw."""

from __future__ import annotations

import json
import math
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import options
from benchmarks.reporting import median, ms, table
from benchmarks.terminal import SIZE, Terminal
from recorder.format import paths, protocol

RUNS = 5000
REPEATS = 5
STEPS = 40
START = 1_795_000_000.0
_WORDS = ("red", "ball", "moving", "left", "over", "a", "still", "pond", "at", "dusk", "slow", "camera", "grain")


def write_archive(folder: Path, number: int) -> Path:
    """The documents that a list of runs reads of an archive, and one chunk; not an archive that can be opened."""
    started = START + 97 * number
    name = time.strftime("%Y%m%d-%H%M%S", time.gmtime(started)) + f"-run-{number:04}"
    archive = folder / f"{name}.zarr"
    prompt = " ".join(_WORDS[(number * 7 + i * i) % len(_WORDS)] for i in range(60))
    sigmas = [1 - 0.9 * i / STEPS for i in range(STEPS)]
    drift = 0.2 + 0.15 * math.sin(number)
    summary = {"video": {"content_drift": [drift], "straightness": [0.3]}, "audio": {"straightness": [0.4]}}
    root = {
        "format": "ltxtui-run",
        "version": 1,
        "run": name,
        "time": started,
        "archive": str(archive),
        "metadata": {"model": "diffusers/LTX-2.3-Diffusers", "host": "gpu-box"},
        "status": ("complete", "complete", "complete", "interrupted", "failed")[number % 5],
        "rows": {paths.stream(0, stream): STEPS for stream in protocol.STREAMS},
        "previews": {},
        "planned": STEPS,
        "prompt": prompt,
        "summary": {paths.stage(0): summary},
        "ended": started + 30 + number % 60,
        "error": None,
    }
    stage = {"stage": 0, "call": 0, "tile": None, "sigmas": sigmas, "time": started, "metadata": {"prompt": prompt}}
    messages = [_event("shock", {}) for _ in range(number % 4)] + [_event("stage_end", {"summary": summary})]
    metric = {"shape": [STEPS], "attributes": {"units": "1", "description": "x" * 60}}
    inside = {f"{paths.stream(0, s)}/metric_{i}": metric for s in protocol.STREAMS for i in range(50)}
    consolidated = {"kind": "inline", "must_understand": False, "metadata": inside}
    _write(archive, root, consolidated_metadata=consolidated)
    _write(archive / paths.stage(0), stage)
    _write(archive / paths.EVENTS, {"messages": messages})
    return archive


def _event(kind: str, payload: dict[str, Any]) -> dict[str, Any]:
    return {"kind": kind, "stage": 0, "step": 9, "stream": None, "time": START, "text": kind, "payload": payload}


def _write(group: Path, attributes: dict[str, Any], **more: Any) -> None:
    group.mkdir(parents=True)
    document = {"attributes": attributes, "zarr_format": 3, "node_type": "group", **more}
    (group / paths.DOCUMENT).write_text(json.dumps(document))


def no_tour() -> None:
    """Mark the tour as seen; it would cover the list."""
    from ltxtui.state import SavedState

    SavedState().set_tour_seen(True)


def _timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def run(folder: Path, count: int = RUNS) -> None:
    """Measure and print."""
    runs, cache = folder / "home" / "runs", folder / "home" / "cache"
    runs.mkdir(parents=True)
    surroundings = {"LTXTUI_CACHE": cache, "LTXTUI_STATE": folder / "state.json", "LTXTUI_RUNS_DIR": runs}
    os.environ.update({name: str(path) for name, path in surroundings.items()})
    no_tour()
    try:
        for number in range(count):
            write_archive(runs, number)
        rows = [*_cold(runs), *_warm(runs), *_screen(runs, count)]
    finally:
        for name in surroundings:
            del os.environ[name]
    table(f"Home with {count:,} runs", rows)


def _cold(runs: Path) -> list[tuple[str, str]]:
    """Without a cache: how soon the first runs are there, and how long until all are."""
    from replay.library.watcher import RunWatcher

    shelf = RunWatcher(runs)
    began = time.perf_counter()
    shelf.update()
    first, known = time.perf_counter() - began, len(shelf.runs)
    while shelf.pending:
        shelf.update()
    whole = time.perf_counter() - began
    shelf.close()
    return [(f"cold: the newest {known:,} runs", ms(first)), ("cold: all runs, in the background", ms(whole))]


def _warm(runs: Path) -> list[tuple[str, str]]:
    """With a cache: the complete list, and a pass in which nothing or one run has changed."""
    from ltxtui.home.model import HomeModel
    from replay.library.watcher import RunWatcher

    whole, idle, typed = [], [], []
    for _ in range(REPEATS):
        shelf, model = RunWatcher(runs), HomeModel()
        whole.append(_timed(lambda shelf=shelf, model=model: (shelf.update(), model.set_runs(shelf.runs))))
        idle.append(_timed(lambda shelf=shelf, model=model: (shelf.update(), model.set_runs(shelf.runs))))
        typed.append(_timed(lambda model=model: model.filter("pond drift>0.2")))
    found = RunWatcher(runs)
    found.update()
    found.forget(Path())
    return [
        ("warm: complete list", median(whole)),
        ("a pass when nothing changed", median(idle)),
        ("a pass that looks at every archive", ms(_timed(found.update))),
        ("filter: first key", median(typed)),
    ]


def _screen(runs: Path, count: int) -> list[tuple[str, str]]:
    """From the command to the newest run on the screen, in a terminal; and one redraw of the table."""
    from ltxtui.home import draw
    from ltxtui.home.model import HomeModel
    from ltxtui.plot.line_plot import Style
    from replay.library.watcher import RunWatcher

    shelf, model = RunWatcher(runs), HomeModel()
    shelf.update()
    model.set_runs(shelf.runs)
    redraws = []
    for n in range(20):
        model.move_to(n * count // 20)
        redraws.append(_timed(lambda: draw.runs(model, SIZE[0], SIZE[1] - 9, Style.BRAILLE, time.time())))
    paints = []
    for n in range(REPEATS + 1):
        terminal = Terminal(())
        paint = terminal.wait_for(f"run-{count - 1:04}".encode())
        terminal.quit()
        if n:  # the first one may have had to compile modules
            paints.append(paint)
    return [("redraw of the table", median(redraws)), ("`ltxtui` cold start to the newest run", median(paints))]


def main() -> None:
    parser = options.parser("benchmarks.home", __doc__, "", "500")
    parser.add_argument("runs", nargs="?", type=int, default=RUNS, help="runs in the list [%(default)s]")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ltx-home-", dir=tempfile.gettempdir()))
    os.environ.setdefault("LTXTUI_RUNTIME_DIR", str(folder / "sockets"))
    try:
        run(folder, given.runs)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
