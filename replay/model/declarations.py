"""What a run declares of its stages and streams, and its pictures, read from messages that are not trusted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recorder.format import protocol
from recorder.format.colour_terms import terms
from recorder.format.protocol import Message
from replay.model import validation
from replay.model.validation import NotARun

MAX_PREVIEW_BYTES: Final = 64 << 10


@dataclass(frozen=True)
class MetricInfo:
    """A metric as the run itself declares it; `shape` is that of one row, `columns` its place in the row vector."""

    name: str
    unit: str
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    label: str
    description: str
    columns: slice


@dataclass(frozen=True)
class StageDeclaration:
    """A denoising loop that begins. `sigmas` are the planned noise levels, one per step, without the closing 0."""

    index: int
    call: int
    tile: int | None
    time: float
    sigmas: tuple[float, ...]
    metadata: dict[str, Any]

    @classmethod
    def read(cls, message: Message) -> StageDeclaration:
        """From a `stage` message. Raises NotARun or KeyError if it violates the format."""
        tile = message.get("tile")
        return cls(
            index=validation.read_int(message["stage"], "the stage"),
            call=validation.read_int(message["call"], "the call"),
            tile=tile if type(tile) is int else None,
            time=validation.read_number(message["time"], "the stage's time"),
            sigmas=validation.read_levels(message["sigmas"], "the planned σ"),
            metadata=validation.table_or_empty(message.get("metadata")),
        )


@dataclass(frozen=True)
class StreamDeclaration:
    """A stream of a stage: its latent grid and shape, its metrics in the order of a row, its coordinates."""

    stage: int
    name: str
    grid: tuple[int, ...]
    shape: tuple[int, ...]
    metrics: dict[str, MetricInfo]
    coordinates: dict[str, dict[str, Any]]

    @classmethod
    def read(cls, message: Message) -> StreamDeclaration:
        """From a `stream` message. Raises NotARun, KeyError or TypeError if it violates the format."""
        metrics = _metrics(message["metrics"])
        coordinates = validation.read_coordinates(message["coordinates"])
        validation.refuse_repeats((*metrics, *coordinates), "the array")
        return cls(
            stage=validation.read_int(message["stage"], "the stage"),
            name=validation.read_name(message["stream"], "a stream"),
            grid=validation.read_grid(message),
            shape=validation.read_shape(message["shape"], "the stream", 1 << 53),
            metrics=metrics,
            coordinates=coordinates,
        )


def _metrics(declared: Any) -> dict[str, MetricInfo]:
    metrics: dict[str, MetricInfo] = {}
    at = 0
    for m in declared:
        name = validation.read_name(m["name"], "a metric")
        shape = validation.read_shape(m["shape"], f"the metric {name}")
        dims = validation.read_names(m["dims"], f"a dimension of {name}")
        if len(dims) != len(shape) + 1:  # it has values, and their axes are unknown
            dims = ("step", *(f"axis_{i}" for i in range(len(shape))))
        if name in metrics:
            raise NotARun(f"the metric {name} is declared twice")
        size = math.prod(shape)
        unit, label, description = (
            validation.read_text(m[key], f"{key} of {name}") for key in ("unit", "label", "description")
        )
        metrics[name] = MetricInfo(name, unit, dims, shape, label, description, slice(at, at + size))
        at += size
    if at * 4 > protocol.MAX_RECORDER_MESSAGE:
        raise NotARun(f"a stream whose rows would take {at * 4:,} bytes each")
    return metrics


@dataclass(frozen=True)
class Preview:
    """A small picture of the predicted clean sample of one step; `frames` are the latent frames that it shows.

    `fit` counts how often the stage's colours had been fixed: where it changes, so may the hues.
    """

    shape: tuple[int, int, int, int]
    frames: tuple[int, ...]
    fit: int
    data: bytes | Callable[[], bytes]
    """The pixels, or a function that reads them: an archive's are not read before they are drawn."""
    fitted: bool = False
    """Whether the colours are true, by a map from latents that was known when the picture was made."""
    recolour: NDArray[np.float64] | None = field(default=None, compare=False)
    """What turns its colours into true ones, [10, 3]; see `replay.model.colours`."""

    @classmethod
    def declared(cls, message: Message) -> Preview:
        """From its `preview` message. Raises NotARun if its sizes do not fit together."""
        shape = validation.read_shape(message["shape"], "a preview")
        if len(shape) != 4:
            raise NotARun(f"a preview of shape {list(shape)}")
        frames = tuple(validation.read_int(n, "a preview's frame") for n in message["frames"])
        fit, fitted = validation.read_int(message["fit"], "a preview's fit"), message.get("colours")
        made = cls(shape, frames, fit, message["data"], fitted == protocol.FITTED_COLOURS)
        if min(shape) < 1 or shape[3] != 3 or len(frames) != shape[0] or made.size > MAX_PREVIEW_BYTES:
            raise NotARun(f"a preview of shape {list(made.shape)} with {len(made.frames)} frames")
        if not callable(made.data) and (not isinstance(made.data, bytes) or len(made.data) != made.size):
            raise NotARun(f"a preview of shape {list(made.shape)} without the {made.size} bytes it needs")
        return made

    @property
    def size(self) -> int:
        """Bytes of the pixels."""
        frames, rows, columns, rgb = self.shape
        return frames * rows * columns * rgb

    def pixels(self) -> NDArray[np.uint8]:
        """Red, green and blue: [frames, rows, columns, 3]. Raises NotARun if an archive's are damaged."""
        data = self.data() if callable(self.data) else self.data
        found = np.frombuffer(data, np.uint8).reshape(self.shape)
        if self.recolour is None:
            return found
        true = terms(np.divide(found, 255, dtype=np.float32)) @ self.recolour[:-1] + self.recolour[-1]
        # Black stays black: these cells are not finite.
        true[~found.any(axis=-1)] = 0
        pixels: NDArray[np.uint8] = (np.clip(true, 0, 1) * 255).round().astype(np.uint8)
        return pixels

    @property
    def colours(self) -> str:
        """What the colours are, in words."""
        return "true colours (fitted)" if self.fitted or self.recolour is not None else "false colours"
