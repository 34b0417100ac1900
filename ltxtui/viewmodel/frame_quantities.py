"""The quantities that every latent frame has: their names, metrics, colour scales and frames. No Textual."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from replay.model.run import StreamData


class FrameQuantity(NamedTuple):
    """A number per frame: its metric and the name that is shown."""

    metric: str
    name: str
    cosine: bool = False
    """Whether 1 means the same, so that the colour scale ends there."""


QUANTITIES: Final[dict[str, FrameQuantity]] = {
    "identity": FrameQuantity("frame_identity", "identity", cosine=True),
    "coherence": FrameQuantity("frame_coherence", "coherence", cosine=True),
    "motion": FrameQuantity("motion", "motion"),
    "jerk": FrameQuantity("jerk", "jerk"),
}
_LOWEST_COSINE: Final = 0.8
"""The colour scale of a cosine goes down to here at least, so that a healthy clip looks even."""


def following(name: str, by: int = 1) -> str:
    """The name of the quantity after another one; after the last, the first."""
    names = list(QUANTITIES)
    return names[(names.index(name) + by) % len(names)]


def frame_numbers(stream: StreamData, metric: str) -> list[int]:
    """The latent frame of each value; plain numbers if the run does not say."""
    info = stream.metrics[metric]
    known = stream.coordinates.get(info.dims[-1], {}).get("values", ())
    count = info.shape[-1]
    if isinstance(known, list | tuple) and len(known) == count and all(type(n) is int for n in known):
        return list(known)
    return list(range(count))


def limits(values: NDArray[np.float64], quantity: FrameQuantity) -> tuple[float, float]:
    """Ends of the colour scale: round numbers, which stay the same while a live run grows."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if quantity.cosine:
        return min(_LOWEST_COSINE, math.floor(low * 5) / 5), 1.0
    return 0.0, ceiling(high)


def ceiling(value: float) -> float:
    """A round number that is not below a value but for the rounding of float32, with a digit and a half; 1 for 0."""
    step = 10.0 ** math.floor(math.log10(value)) / 2 if value > 0 else 1.0
    return math.ceil(value / step - 1e-5) * step or 1.0
