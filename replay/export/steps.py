"""The parts of a run that an export is made of, and what takes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from recorder.format.protocol import Message
from replay.model.declarations import MetricInfo
from replay.model.run import Run, StageData

BATCH = "batch"


@dataclass(frozen=True)
class StreamRow:
    """What one stream recorded of one step: Unix time, and values by metric [*shape]."""

    time: float
    metrics: Mapping[str, MetricInfo]
    values: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class ExportedStep:
    """One step of a stage, with the rows of its streams.

    `run_step` counts over all stages of the run, `step` within its stage; both from 0.
    """

    stage: StageData
    step: int
    run_step: int
    rows: Mapping[str, StreamRow]

    @property
    def time(self) -> float:
        """Unix time of the first row; NaN if none is known."""
        return min((row.time for row in self.rows.values() if np.isfinite(row.time)), default=float("nan"))


@dataclass(frozen=True)
class Picture:
    """Frames of the predicted clean sample of a step (`x0`), or of the decoded clip of a stage (`decoded`).

    `pixels` are red, green and blue [frames, rows, columns, 3], `frames` their numbers.
    """

    kind: Literal["x0", "decoded"]
    stage: int
    stream: str
    step: int
    run_step: int
    frames: tuple[int, ...]
    pixels: NDArray[np.uint8]
    colours: str

    @property
    def name(self) -> str:
        return f"{self.stream}/{self.kind}"

    @property
    def strip(self) -> NDArray[np.uint8]:
        """The frames next to each other [rows, columns, 3]."""
        return np.ascontiguousarray(np.concatenate(list(self.pixels), axis=1))

    @property
    def caption(self) -> str:
        of = f"step {self.step}, latent" if self.kind == "x0" else "decoded"
        frames = ", ".join(map(str, self.frames[:40]))
        return f"stage {self.stage}, {of} frames {frames}; {self.colours}"


class Target(Protocol):
    """Takes runs one after the other, each from `begin` to `end`; `close` comes last, also after an error.

    Steps come in order. Events and samples come in the order of their time, between the steps.
    """

    @property
    def wants_pictures(self) -> bool: ...

    def begin(self, run: Run) -> None: ...

    def stage(self, stage: StageData) -> None: ...

    def step(self, step: ExportedStep) -> None: ...

    def picture(self, picture: Picture) -> None: ...

    def event(self, event: Message, run_step: int) -> None: ...

    def sample(self, sample: Message, run_step: int) -> None: ...

    def end(self, run: Run) -> None: ...

    def flush(self) -> None:
        """Pass on what was taken so far: a run that is followed has nothing new at the moment."""
        ...

    def close(self) -> None: ...


def items(info: MetricInfo, values: NDArray[np.float32]) -> list[tuple[int | None, NDArray[np.float32]]]:
    """The values of a row by batch item, each as one axis; one without a number for a metric without a batch."""
    if info.dims[1:2] == (BATCH,):
        return [(item, part.reshape(-1)) for item, part in enumerate(values)]
    return [(None, values.reshape(-1))]


def is_scalar(info: MetricInfo) -> bool:
    """Whether a metric has one value per step, or one per step and batch item."""
    return info.dims[1:] in ((), (BATCH,))


def tagged(step: ExportedStep) -> Iterator[tuple[str, MetricInfo, NDArray[np.float32]]]:
    """The values of a step by the names that other tools show: `video/velocity_rms`.

    Of a batch with several items, the item's number follows: `video/velocity_rms/1`.
    """
    for stream, row in step.rows.items():
        for name, values in row.values.items():
            info = row.metrics[name]
            found = items(info, values)
            for item, part in found:
                yield f"{stream}/{name}" if len(found) == 1 else f"{stream}/{name}/{item}", info, part


def scalars(step: ExportedStep) -> dict[str, float]:
    """The numbers of a step by name, NaN and Inf included."""
    return {tag: float(part[0]) for tag, info, part in tagged(step) if is_scalar(info) and len(part)}


def vectors(step: ExportedStep) -> dict[str, NDArray[np.float32]]:
    """The spectra, channels and frames of a step by name, each as one axis."""
    return {tag: part for tag, info, part in tagged(step) if not is_scalar(info)}
