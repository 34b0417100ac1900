"""True colours of a run: the map of each model, and the messages that a decoded clip becomes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from recorder.format import protocol
from recorder.format.protocol import Message
from recorder.metrics.colours import colour_cache
from recorder.metrics.colours.colour_map import ColourMap, Moments, correlation, rounded

MAX_WAITING: Final = 16
"""Stages without true colours that wait for a decoded clip, at up to 4 MiB each."""


class Recolourable(Protocol):
    """Pictures in false colours, of which the recorder remembers what they were made of."""

    @property
    def stage(self) -> int: ...

    def recolouring(self, colours: ColourMap) -> list[list[list[float]]]:
        """Weights [10, 3] for each time that its colours were fixed."""
        ...


class ModelColours:
    """The colours of one model in a run. All but the constructor is for the pump's thread."""

    def __init__(self, model: str, kept: bool = True) -> None:
        """`model` identifies the model's latents; if it is not `kept`, other runs learn nothing of it."""
        self._model, self._kept = model, kept
        self._known: Moments | None = None
        self._map: ColourMap | None = None
        self._looked = False
        self._waiting: deque[Recolourable] = deque(maxlen=MAX_WAITING)
        self._shown: set[int] = set()

    def map_of(self, channels: int) -> ColourMap | None:
        """The map for latents of this number of channels; None if it is not known yet."""
        if not self._looked:
            self._looked = True
            self._learn(colour_cache.read(self._model) if self._kept else None)
        return self._map if self._map is not None and self._map.channels == channels else None

    def _learn(self, moments: Moments | None) -> None:
        if moments is not None:
            self._known, self._map = moments, moments.fitted()

    def waits(self, pictures: Recolourable) -> None:
        """A stage has begun to show false colours: its pictures are recoloured once a clip is decoded."""
        self._waiting.append(pictures)

    def decoded(
        self,
        stage: int,
        latents: NDArray[np.floating[Any]],
        pixels: NDArray[np.floating[Any]],
        thumbnails: NDArray[np.uint8],
        frames: Sequence[int],
    ) -> Iterator[Message]:
        """The messages about a decoded clip, of arrays as `decoded_clip.reduced` makes them; keeps its moments.

        Args:
            stage: the stage whose result was decoded.
            latents: [n, H, W, C].
            pixels: of the same cells [n, H, W, 3].
            thumbnails: [m, rows, columns, 3].
            frames: the pixel frame of every thumbnail.
        """
        if stage in self._shown:  # a pipeline that decodes again, such as tile by tile: its first clip stays
            return
        self._shown.add(stage)
        for i, (frame, picture) in enumerate(zip(frames, thumbnails, strict=True)):
            yield {
                "t": protocol.DECODED,
                "stage": stage,
                "stream": "video",
                "index": i,
                "count": len(frames),
                "frame": int(frame),
                "shape": list(picture.shape),
                "data": picture.tobytes(),
            }
        found = Moments.of(latents, pixels)
        if found is None:
            return
        own = found.fitted()
        self.map_of(own.channels)
        waiting = {strip.stage: strip.recolouring(own) for strip in self._waiting}
        self._waiting.clear()
        fit = {
            "matrix": rounded(own.matrix),
            "offset": rounded(own.offset),
            "correlation": rounded(np.array(correlation(own.colours(latents), pixels))),
            "cells": int(pixels[..., 0].size),
        }
        yield _palette(stage, {**fit, "recolour": waiting.pop(stage, [])})
        for other, weights in waiting.items():
            yield _palette(other, {"recolour": weights})
        self._learn(found.after(self._known))
        if self._kept and self._known is not None:
            colour_cache.write(self._model, self._known)


def _palette(stage: int, palette: Message) -> Message:
    return {"t": protocol.PALETTE, "stage": stage, "stream": "video", **palette}


class TrueColours:
    """The colours of all models that a run uses."""

    def __init__(self) -> None:
        self._models: dict[str, ModelColours] = {}
        self._lock = threading.Lock()

    def of(self, model: str, kept: bool) -> ModelColours:
        """The colours of a model; see `ModelColours`."""
        with self._lock:
            return self._models.setdefault(model, ModelColours(model, kept))
