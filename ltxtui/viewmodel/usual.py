"""What is usual for the run on the deck: the ranges of its model's baseline over the steps. No Textual."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from replay import baseline_store
from replay.baseline import FEWEST, Band, Baseline, Edges, edges, model_of, size_of
from replay.model.run import Run
from replay.model.stream import StreamData


class Usual:
    """The baselines of one model, by size. Streams of other sizes, and baselines of few curves, have no range."""

    def __init__(self) -> None:
        self._baselines: Mapping[str, Baseline] = {}
        self._edges: dict[tuple[str, str], Edges] = {}
        self._asked = False
        self.models: set[str] = set()
        """The model of the baselines; empty without any."""
        self.version = 0
        """Changes with the baselines; 0 without any."""

    def wanted(self, run: Run) -> bool:
        """Whether baselines are to be read now: once, when the run's model is known."""
        asked, self._asked = self._asked, self._asked or bool(run.stages)
        return self._asked and not asked

    def take(self, baselines: Mapping[str, Baseline]) -> None:
        """Use these baselines, which are of the run's model."""
        self._baselines = {size: b for size, b in baselines.items() if len(b.curves) >= FEWEST}
        self._edges.clear()
        self.models = {b.model for b in baselines.values()}
        self.version += bool(baselines)

    def band(self, stream: StreamData, metric: str, sigmas: NDArray[np.float64]) -> Band | None:
        """The usual range of a metric at the levels of the steps [steps]; None where nothing is known."""
        size = size_of(stream) if self._baselines else ""
        if (baseline := self._baselines.get(size)) is None:
            return None
        if (size, metric) not in self._edges:
            self._edges[size, metric] = edges(baseline, metric)
        found = self._edges[size, metric]
        return found.at(sigmas) if len(found.levels) else None


def baselines_of(run: Run) -> Mapping[str, Baseline]:
    """The baselines of a run's model, by size; none without a data directory.

    Raises:
        OSError: if the file cannot be read.
        OtherBaseline: if it is not a baseline.
    """
    try:
        baseline_store.folder()
    except OSError:
        return {}
    return baseline_store.read(model_of(run))
