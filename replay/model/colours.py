"""True colours of a stage's pictures, and its decoded clip, read from messages that are not trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recorder.format.colour_terms import TERMS
from recorder.format.protocol import Message
from replay.model import validation
from replay.model.declarations import Preview
from replay.model.validation import NotARun

WEIGHTS: Final = (3 * TERMS + 1, 3)
MAX_FITS: Final = 8
MAX_TERMS: Final = 1 << 14
MAX_DECODED: Final = 64
"""Pictures of one decoded clip; recorders send up to 33."""


@dataclass(frozen=True, eq=False)
class Palette:
    """True colours of a stage's pictures.

    `recolour` turns the shown colours into true ones, for each time that they were fixed: [10, 3] each, of the terms of
    red, green and blue (`recorder.format.colour_terms`) and 1. It is empty if the pictures have true colours already.
    Of the fit itself, `matrix` [3·C, 3] and `offset` [3] are those of the terms of latents, and `correlation` [3] is
    that of fitted and decoded colours; they are empty for a stage whose own result was not decoded.
    """

    recolour: tuple[NDArray[np.float64], ...]
    matrix: NDArray[np.float64]
    offset: NDArray[np.float64]
    correlation: NDArray[np.float64]

    @classmethod
    def read(cls, message: Mapping[str, Any]) -> Palette:
        """From a `palette` message. Raises NotARun, KeyError or TypeError if it violates the format."""
        given = message["recolour"]
        if not isinstance(given, list) or len(given) > MAX_FITS:
            raise NotARun("a palette without its colours")
        recolour = tuple(_numbers(weights, "a palette's weights") for weights in given)
        if any(weights.shape != WEIGHTS for weights in recolour):
            raise NotARun("a palette whose weights are not 10 × 3")
        matrix, offset, correlation = (
            _numbers(message.get(name, []), f"a palette's {name}") for name in ("matrix", "offset", "correlation")
        )
        if matrix.size and (matrix.ndim != 2 or matrix.shape[1] != 3 or len(matrix) > MAX_TERMS):
            raise NotARun(f"a palette's matrix of shape {list(matrix.shape)}")
        if any(v.shape != ((3,) if matrix.size else (0,)) for v in (offset, correlation)):
            raise NotARun("a palette's offset or correlation is not one number per colour")
        return cls(recolour, matrix, offset, correlation)

    def applied(self, preview: Preview) -> Preview:
        """The same picture, in true colours when it is drawn."""
        if not self.recolour or preview.fitted or preview.recolour is not None:
            return preview
        return replace(preview, recolour=self.recolour[min(max(preview.fit, 1), len(self.recolour)) - 1])


def _numbers(given: Any, what: str) -> NDArray[np.float64]:
    try:
        found = np.array(given, np.float64)
    except (TypeError, ValueError) as error:
        raise NotARun(f"{what} are not numbers") from error
    if not np.isfinite(found).all():
        raise NotARun(f"{what} are not finite")
    return found


class Recoloured(Mapping[int, Preview]):
    """Pictures of an archive in true colours; they are still read when they are drawn."""

    def __init__(self, previews: Mapping[int, Preview], palette: Palette) -> None:
        self._previews, self._palette = previews, palette

    def __len__(self) -> int:
        return len(self._previews)

    def __iter__(self) -> Iterator[int]:
        return iter(self._previews)

    def __contains__(self, step: object) -> bool:
        return step in self._previews

    def __getitem__(self, step: int) -> Preview:
        return self._palette.applied(self._previews[step])


@dataclass(frozen=True, eq=False)
class DecodedFrame:
    """One picture of a decoded clip; `frame` is the pixel frame that it shows, `index` its place among `count`."""

    index: int
    count: int
    frame: int
    preview: Preview
    """Its pixels: one frame."""

    @classmethod
    def read(cls, message: Message) -> DecodedFrame:
        """From a `decoded` message. Raises NotARun, KeyError or TypeError if it violates the format."""
        index, count, frame = (
            validation.read_int(message[name], f"a decoded frame's {name}") for name in ("index", "count", "frame")
        )
        if not index < count <= MAX_DECODED:
            raise NotARun(f"decoded frame {index} of {count}")
        shape = [1, *validation.read_shape(message["shape"], "a decoded frame")]
        preview = Preview.declared({"shape": shape, "frames": [frame], "fit": 1, "data": message["data"]})
        return cls(index, count, frame, preview)
