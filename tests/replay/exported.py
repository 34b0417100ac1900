"""A run with everything that an export takes, and what an export must have of it, from the messages' own numbers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recorder.archive.writer import ArchiveWriter
from recorder.format.protocol import Message
from replay.model.run import Run
from replay.sources.open import load
from tests import recorded
from tests.ltxtui import fake

NAME = "20261122-143015-red-disc"
STEPS, STAGES, BATCH, NAN_AT = 6, 2, 2, 3
NOISE = {"kind": "renoise", "db": 3.0, "noise_injected": 0.25, "step": 2}
PICTURES = (0, 2, 5)
DECODED = 2


def messages(name: str = NAME, *, steps: int = STEPS, batch: int = BATCH) -> Iterator[Message]:
    """Two stages with NaN, shocks, pictures, a decoded clip and the machine's load; prompts that are hard to quote."""
    rows = recorded.whole(name, stages=STAGES, steps=steps, batch=batch, nan_at=NAN_AT, prompt='a "red" ball,\nσ ≤ 1')
    for message in rows:
        if message["t"] == "end":
            for i in range(DECODED):
                frame = {"index": i, "count": DECODED, "frame": 8 * i, "shape": [2, 4, 3], "data": picture(90 + i)[:24]}
                yield {"t": "decoded", "stage": STAGES - 1, "stream": "video", **frame}
        if message.get("kind") == "shock":
            message = {**message, "stream": "video", "payload": NOISE}
        yield message
        if message["t"] == "step" and message["stream"] == "audio":
            stage, step = message["stage"], message["step"]
            if step in PICTURES:
                shown = {"shape": [3, 2, 4, 3], "frames": [0, 4, 8], "fit": 1, "data": picture(stage + step)}
                yield {"t": "preview", "stage": stage, "stream": "video", "step": step, **shown}
            load = {"process_cpu": 50.0 + step, "gpu_power": 200.5}
            yield {"t": "system", "time": message["time"] + 0.01, "values": load}


def picture(seed: int) -> bytes:
    return bytes((7 * seed + i) % 256 for i in range(72))


def archive(folder: Path, name: str = NAME, **more: int) -> Path:
    path = folder / f"{name}.zarr"
    writer = ArchiveWriter(path)
    for message in messages(name, **more):
        writer.feed(message)
    return path


def expected(path: Path) -> tuple[Run, dict[int, dict[str, NDArray[np.float32]]]]:
    """The run, and by step over all stages the values of each metric by the name that tools show."""
    run = load(path)
    found: dict[int, dict[str, NDArray[np.float32]]] = {}
    before = 0
    for stage in run.stages:
        for step in range(stage.steps):
            row = found.setdefault(before + step, {})
            for stream, data in stage.streams.items():
                for name, info in data.metrics.items():
                    values = data.values(name)[step]
                    if "batch" not in info.dims or info.shape[0] == 1:
                        row[f"{stream}/{name}"] = values.reshape(-1)
                    else:
                        row |= {f"{stream}/{name}/{item}": part.reshape(-1) for item, part in enumerate(values)}
        before += stage.steps
    return run, found


def strip(run: Run, stage: int, step: int) -> NDArray[np.uint8]:
    """The picture of a step as tools show it: its frames next to each other."""
    return np.concatenate(list(run.stages[stage].streams["video"].previews[step].pixels()), axis=1)


def times(run: Run) -> list[float]:
    return [fake.START + 0.1 * i for i in range(run.steps)]
