"""What findings cost: the heat map of frames, rules over a live run of 100,000 steps, verdicts in a list of runs."""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import options, panels
from benchmarks.reporting import median, ms, quantile, table
from benchmarks.terminal import SIZE

STEPS = 100_000
STEPS_PER_SECOND = 100
"""So fast is only a loop of tiny tensors; a dashboard examines what has come every half second."""
FRAMES = (33, 16, 16)
"""A grid of latents whose map has more frames than lines."""
SINGLE = 200
"""Steps at the end that come one by one."""
RUNS = 100
RUN_STEPS = 50
REPEATS = 5

Message = dict[str, Any]


def heatmaps() -> list[tuple[str, str]]:
    """Redraw of the map of frames over steps after a new row: the quantity that takes longest."""
    from ltxtui.panels.frames import QUANTITIES

    rows = []
    for steps in panels.STEPS:
        found = {name: asyncio.run(_redraw(steps, name)) for name in QUANTITIES}
        slowest = max(found, key=lambda name: found[name])
        rows.append((f"redraw at {steps:,} steps, {FRAMES[0]} frames", f"{ms(found[slowest])}   ({slowest})"))
    return rows


async def _redraw(steps: int, quantity: str) -> float:
    found = await panels.redraws(steps, only="frames", grid=FRAMES, frame_quantity=quantity)
    return found["frames"]


def in_blocks(messages: list[Message], rows: int, single: int = 0) -> Iterator[list[Message]]:
    """Messages of a run: first all that declare it, then `rows` of every stream at a time, the last `single` alone."""
    yield [m for m in messages if m["t"] in ("header", "stage", "stream")]
    steps = [m for m in messages if m["t"] == "step"]
    count = steps[0]["count"]
    first = 0
    while first < count:
        many = min(rows, count - single - first) if first < count - single else 1
        yield [_part(m, first, many) for m in steps]
        first += many


def _part(message: Message, first: int, rows: int) -> Message:
    """Some rows of a message, as a recorder sends them: a single one without a count."""
    found = {**message, "step": first, "count": rows}
    for key in ("time", "data"):
        width = len(message[key]) // message["count"]
        found[key] = message[key][first * width : (first + rows) * width]
    if rows == 1:
        del found["count"]
        found["time"] = float(np.frombuffer(found["time"], "<f8")[0])
    return found


def live(steps: int = STEPS) -> list[tuple[str, str]]:
    """CPU of a viewer's examinations of a run that grows by half a second's rows, and of the recorder's own."""
    from ltxtui.viewmodel.findings import PERIOD, DeckFindings
    from recorder.findings.follow import Follower
    from replay.model.run import Run

    batch = int(STEPS_PER_SECOND * PERIOD)
    run, taken = Run(), []
    findings = DeckFindings(run)
    for block in in_blocks(panels.long_run(steps, steps), batch):
        for message in block:
            run.feed(message)
        taken.append(_cpu(findings.update))
    assert findings.current and not findings.problem, findings.problem
    tenth = max(1, len(taken) // 10)
    first, last = taken[2 : 2 + tenth], taken[-tenth:]
    seconds = steps / STEPS_PER_SECOND
    follower, fed = Follower(), 0.0
    for block in in_blocks(panels.long_run(steps, steps), 1):
        fed += _cpu(lambda block=block: [follower.feed(m) for m in block])
    fed += _cpu(follower.findings)
    return [
        (f"an examination of {batch} rows, first tenth", ms(statistics.median(first))),
        (
            f"an examination of {batch} rows, last tenth",
            f"{ms(statistics.median(last))}   (99 % below {ms(quantile(last, 0.99))})",
        ),
        (f"share of a core, {STEPS_PER_SECOND} steps/s, 2 examinations/s", f"{sum(taken) / seconds:.2%}"),
        ("share of a core, 2 steps/s, 2 examinations/s", f"{_one_by_one(steps) / PERIOD:.2%}"),
        ("in the recorder, per step of video and audio", f"{fed / steps * 1e6:.0f} µs"),
    ]


def _one_by_one(steps: int) -> float:
    """Seconds of an examination of one new row in a run that has almost all of its rows."""
    from replay.findings import RunFindings
    from replay.model.run import Run

    run, taken = Run(), []
    findings = RunFindings(run)
    blocks = in_blocks(panels.long_run(steps, steps), 8192, SINGLE)
    for block in blocks:
        for message in block:
            run.feed(message)
        taken.append(_cpu(findings.update))
    return statistics.median(taken[-SINGLE:])


def _cpu(work: Callable[[], Any]) -> float:
    began = time.thread_time()
    work()
    return time.thread_time() - began


def lists(folder: Path, count: int = RUNS) -> list[tuple[str, str]]:
    """A list of runs without a cache: from the verdicts that archives keep, and by examining every run."""
    import json

    from benchmarks.opening import make
    from recorder.format import paths
    from recorder.format.stored_findings import ATTRIBUTE
    from replay.library.listing import cached_look
    from replay.library.verdicts import with_verdicts

    kept, bare = folder / "kept", folder / "bare"
    kept.mkdir(parents=True)
    make(kept / "20270115-080000-run-0000.zarr", RUN_STEPS)
    for n in range(1, count):
        shutil.copytree(kept / "20270115-080000-run-0000.zarr", kept / f"20270115-080000-run-{n:04}.zarr")
    shutil.copytree(kept, bare)
    for archive in bare.iterdir():
        document = archive / paths.DOCUMENT
        root = json.loads(document.read_text())
        root["attributes"].pop(ATTRIBUTE)
        document.write_text(json.dumps(root))
    before = os.environ.get("LTXTUI_CACHE")
    taken: dict[str, list[float]] = {"from stored verdicts": [], "examined": []}
    for n in range(REPEATS):
        for name, runs, judge in (("from stored verdicts", kept, None), ("examined", bare, with_verdicts)):
            os.environ["LTXTUI_CACHE"] = str(folder / f"cache-{n}-{name.split()[0]}")
            began = time.perf_counter()
            found = cached_look(runs, judge).runs
            taken[name].append(time.perf_counter() - began)
            assert len(found) == count and all(run.verdict is not None for run in found)
    if before is None:
        del os.environ["LTXTUI_CACHE"]
    else:
        os.environ["LTXTUI_CACHE"] = before
    ratio = statistics.median(taken["examined"]) / statistics.median(taken["from stored verdicts"])
    return [*((name, median(values)) for name, values in taken.items()), ("ratio", f"{ratio:.1f}")]


def run(folder: Path) -> None:
    """Measure and print."""
    os.environ.setdefault("LC_ALL", "C.UTF-8")
    table(f"Heat map of frames over steps, a quarter of {SIZE[0]}×{SIZE[1]}", heatmaps())
    table(f"Rules over a live run of {STEPS:,} steps, video and audio", live())
    table(f"A list of {RUNS} runs of {RUN_STEPS} steps, without a cache", lists(folder / "rules"))


def main() -> None:
    options.parser("benchmarks.rules", __doc__ or "", "").parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ltx-rules-", dir=tempfile.gettempdir()))
    os.environ["LTXTUI_CONFIG"], os.environ["LTXTUI_STATE"] = str(folder / "config.toml"), str(folder / "state.json")
    from ltxtui.state import SavedState

    SavedState().set_tour_seen(True)
    try:
        run(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
