"""Declares a stream before its first row: the `stream` message, and the columns of each metric in a row."""

from __future__ import annotations

import math

from torch import Tensor

from recorder.format import declarations, protocol
from recorder.format.protocol import Message
from recorder.metrics.latent_layout import LatentLayout


def declaration_of(stage: int, layout: LatentLayout, sample: Tensor) -> tuple[Message, dict[str, slice]]:
    """The message, and the columns of a row by metric. The sample is that of the stream's first step, as tokens.

    Raises:
        RuntimeError: if the tokens do not fill the grid.
    """
    layout.on_grid(sample)
    name, channels = layout.stream, sample.shape[-1]
    metrics = declarations.on_stream(name)
    columns, at = {}, 0
    for metric in metrics:
        size = math.prod(layout.row_shape(metric, channels))
        columns[metric.name] = slice(at, at + size)
        at += size
    message: Message = {
        "t": protocol.STREAM,
        "stage": stage,
        "stream": name,
        "grid": list(layout.grid),
        "shape": [layout.batch, math.prod(layout.shape), sample.shape[-1]],
        "dtype": str(sample.dtype).removeprefix("torch."),
        "metrics": [m.as_message(name, layout.row_shape(m, channels)) for m in metrics],
        "coordinates": layout.coordinates(channels),
    }
    if layout.frames is not None:
        message["conditioning_frames"] = sorted(set(range(layout.grid[0])) - set(layout.frames))
    return message, columns
