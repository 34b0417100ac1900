"""This recorder without its metrics: ready rows take the path of `run.step`, to journal, socket and archive."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers import LENGTH, NAMES, SCALARS, VECTORS

Rows = NDArray[np.float32]


def no_wait() -> None:
    """The row is already on the host."""


def no_events(step: int, row: Rows) -> list[Any]:
    return []


def declarations(steps: int) -> list[dict[str, Any]]:
    """Stage and stream as the recorder announces them, with the planned steps: 40 scalars, two vectors."""
    metrics = [(name, (), ()) for name in NAMES]
    metrics += [(f"vector_{i}", (f"bin_{i}",), (LENGTH,)) for i in range(VECTORS)]
    about = {"unit": "1", "label": "", "description": "", "source": ""}
    coordinates = {f"bin_{i}": {"values": list(range(LENGTH)), "attributes": {}} for i in range(VECTORS)}
    plan = {"sigmas": [1 - i / steps for i in range(steps)], "metadata": {}}
    stage = {"t": "stage", "stage": 0, "call": 0, "tile": None, "time": time.time(), **plan}
    stream = {
        "t": "stream",
        "stage": 0,
        "stream": "video",
        "grid": [1, 1, 1],
        "shape": [1, 1, 1],
        "dtype": "float32",
        "metrics": [{**about, "name": n, "dims": ["step", *d], "shape": list(s)} for n, d, s in metrics],
        "coordinates": coordinates,
    }
    return [stage, stream]


class Ours:
    """Journal, socket server and archivist all run, as in any recording."""

    distribution = ""
    modules = ("torch", "recorder.session", "replay.sources.open", "replay.library.listing", "zarr", "psutil")
    packed = False

    def open(self, folder: Path, steps: int) -> None:
        import torch

        from recorder import record
        from recorder.writing.items import RowItem

        self._row, self._tensor, self._time = RowItem, torch.from_numpy, time.time
        self._stack = contextlib.ExitStack()
        run = self._stack.enter_context(record(runs_dir=folder, name="peers", previews=False, pack=self.packed))
        self._put = run.stages.put
        for message in declarations(steps):
            self._put(message)

    def log(self, step: int, row: Rows) -> None:
        self._put(self._row(0, "video", step, self._time(), (), self._tensor(row), no_wait, no_events))

    def close(self) -> None:
        self._stack.close()

    def read(self, folder: Path) -> Rows:
        from replay.library.listing import archives_in
        from replay.sources.open import load

        stream = load(min(archives_in(folder))).stages[0].streams["video"]
        columns = [stream.values(m).reshape(stream.rows, -1) for m in stream.metrics]
        assert len(columns) == SCALARS + VECTORS
        return np.concatenate(columns, axis=1)


class OursPacked(Ours):
    """The same with `pack=True`: one file when the run ends."""

    packed = True
