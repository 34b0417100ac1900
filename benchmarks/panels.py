"""What drawing costs in CPU time: every panel after a new row, in short and long runs; a seek in a very long one."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from typing import Any

import numpy as np

from benchmarks import options
from benchmarks.reporting import ms, table
from benchmarks.terminal import SIZE

STEPS = (60, 10_000)
LONG = 100_000
REPEATS = 15
GRID = (9, 10, 12)


def long_run(steps: int, planned: int, grid: tuple[int, int, int] = GRID) -> list[dict[str, Any]]:
    """Messages of a run of video and audio with every metric, its rows in one block, and small pictures."""
    from recorder.format import declarations, protocol
    from recorder.metrics.latent_layout import LatentLayout

    sigmas = [1 - i / (planned + 1) for i in range(planned)]
    found: list[dict[str, Any]] = [
        {"t": protocol.HEADER, "format": protocol.FORMAT, "version": 1, "run": "bench", "time": 0.0, "metadata": {}},
        {"t": protocol.STAGE, "stage": 0, "call": 0, "tile": None, "time": 0.0, "sigmas": sigmas, "metadata": {}},
    ]
    for stream, of in (("video", grid), ("audio", (68, 2))):
        layout = LatentLayout(stream, 1, of)
        shapes = [(m, layout.row_shape(m, 8)) for m in declarations.on_stream(stream)]
        at = 0
        places = {}
        for metric, shape in shapes:
            size = int(np.prod(shape, dtype=np.int64))
            places[metric.name], at = slice(at, at + size), at + size
        rows = (1 + 0.3 * np.sin(np.arange(steps)[:, None] / 50 + np.arange(at))).astype("<f4")
        rows[:, places["sigma"]] = np.asarray(sigmas[:steps])[:, None]
        declared = [m.as_message(stream, s) for m, s in shapes]
        about = {"grid": list(of), "shape": [1, 8, 8], "metrics": declared, "coordinates": {}}
        found.append({"t": protocol.STREAM, "stage": 0, "stream": stream, **about})
        times = (np.arange(steps) * 0.1).astype("<f8").tobytes()
        block = {"step": 0, "count": steps, "time": times, "data": rows.tobytes()}
        found.append({"t": protocol.STEP, "stage": 0, "stream": stream, **block})
    frames, high, wide = grid
    pixels = (np.arange(frames * high * wide * 3) % 251).astype(np.uint8).tobytes()
    picture = {"shape": [frames, high, wide, 3], "frames": list(range(frames)), "fit": 0, "data": pixels}
    found += [{"t": protocol.PREVIEW, "stage": 0, "stream": "video", "step": n, **picture} for n in range(steps)[-200:]]
    for n in range(min(steps, 2000)):
        values = {
            "process_cpu": 90.0 + n % 9,
            "process_memory": 1e9,
            "gpu_utilisation": 97.0,
            "gpu_power": 400.0 + n % 50,
        }
        found.append({"t": protocol.SYSTEM, "time": n * 0.5, "values": values})
        if n % 20 == 0:
            event = {"stage": 0, "step": n, "stream": None, "kind": "warning", "text": "something", "payload": {}}
            found.append({"t": protocol.EVENT, "time": n * 0.1, **event})
    return found


class Still:
    """A source that has everything at once."""

    note = ""

    def __init__(self, messages: list[dict[str, Any]], live: bool) -> None:
        from replay.sources.open import Liveness

        self._left = messages
        self.liveness = Liveness.LIVE if live else Liveness.FINISHED

    def poll(self) -> list[dict[str, Any]]:
        taken, self._left = self._left, []
        return taken

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        """Nothing stays open."""


async def redraws(
    steps: int, only: str = "", grid: tuple[int, int, int] = GRID, frame_quantity: str = ""
) -> dict[str, float]:
    """Median seconds that each panel takes to draw itself when a row has come, at half of the screen's width.

    Args:
        steps: rows that the run has before.
        only: the one panel to draw.
        grid: of the video's latents.
        frame_quantity: what the map of frames shows.
    """
    from ltxtui.app import Dashboard
    from ltxtui.panels.registry import PANELS

    app = Dashboard(Still(long_run(steps, steps + 2 * REPEATS * len(PANELS), grid), live=True))
    found = {}
    async with app.run_test(size=SIZE) as pilot:
        while app.deck.visible < steps:
            await pilot.pause(0.05)
        width, height = SIZE[0] // 2, SIZE[1] // 2 - 3
        deck = app.deck
        deck.frame_quantity = frame_quantity or deck.frame_quantity
        run = deck.run
        streams = run.stages[0].streams
        for panel in (p for p in PANELS if only in ("", p.id)):
            view = panel.make(deck, app.drawing)
            await app.screen.mount(view)
            taken = []
            for _ in range(REPEATS):
                for name, stream in streams.items():
                    row = stream.data[-1].astype("<f4").tobytes()
                    time_of = float(stream.times[-1]) + 0.1
                    at = {"stage": 0, "stream": name, "step": stream.rows, "time": time_of}
                    run.feed({"t": "step", **at, "data": row})
                deck.changed(deck.liveness)
                began = time.thread_time()
                view.rows(width, height)
                taken.append(time.thread_time() - began)
            await view.remove()
            found[panel.id] = statistics.median(taken)
    return found


async def seeks() -> float:
    """Median seconds from a seek in a very long replay until the panels of the overview are drawn."""
    from ltxtui.app import Dashboard
    from ltxtui.screens.run import RunScreen

    app = Dashboard(Still(long_run(LONG, LONG), live=False))
    async with app.run_test(size=SIZE) as pilot:
        while app.deck.loading or not app.deck.visible:
            await pilot.pause(0.05)
        screen = app.screen
        assert isinstance(screen, RunScreen)
        taken = []
        for n in range(REPEATS):
            began = time.thread_time()
            app.deck.seek((n * 7 % REPEATS + 1) / (REPEATS + 1))
            screen.show()
            for view in screen.board.query(".panel"):
                view.render_lines(view.size.region)
            taken.append(time.thread_time() - began)
            await pilot.pause()
    return statistics.median(taken)


def run() -> None:
    """Measure and print."""
    os.environ.setdefault("LC_ALL", "C.UTF-8")
    short, long = (asyncio.run(redraws(steps)) for steps in STEPS)
    rows = [
        (f"redraw of {id}", f"{ms(short[id])} at {STEPS[0]} steps   {ms(long[id])} at {STEPS[1]:,}") for id in short
    ]
    rows.append((f"seek in {LONG:,} steps, four panels", ms(asyncio.run(seeks()))))
    table(f"Drawing, {SIZE[0]}×{SIZE[1]}, a quarter each", rows)


def main() -> None:
    options.parser("benchmarks.panels", __doc__, "").parse_args()
    run()


if __name__ == "__main__":
    main()
