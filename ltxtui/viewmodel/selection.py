"""The part of a run that is shown: stage, stream, lanes, batch item, and the rows that may be seen. No Textual."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from replay.model.run import Run, StageData, StreamData

BOTH: Final = "both"
"""The lanes of all streams, one above the other."""
RECENT: Final = 12
"""Steps over which recent values are taken."""


class Selection:
    """One stage, stream and batch item of a run, seen up to the playhead.

    `playhead` counts steps over all stages and hides what lies behind it.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.stage_index = 0
        self.stream_name = "video"
        self.item = 0
        self.playhead = run.steps
        self._both = False

    @property
    def total(self) -> int:
        """Steps over all stages."""
        return self.run.steps

    @property
    def stage(self) -> StageData | None:
        stages = self.run.stages
        return stages[min(self.stage_index, len(stages) - 1)] if stages else None

    @property
    def stream(self) -> StreamData | None:
        """The selected stream of the selected stage, or the first one it has."""
        return self.stream_of(None)

    def stream_of(self, name: str | None) -> StreamData | None:
        """A stream of the selected stage by its name, None where it has no such; without a name the selected one."""
        stage = self.stage
        if stage is None or not stage.streams:
            return None
        if name is not None:
            return stage.streams.get(name)
        return stage.streams.get(self.stream_name) or next(iter(stage.streams.values()))

    @property
    def streams(self) -> tuple[str, ...]:
        return tuple(self.stage.streams) if self.stage else ()

    @property
    def lanes(self) -> str:
        """Which streams charts show: the name of one, or `both`, one lane above the other."""
        stream = self.stream
        if self._both and len(self.streams) > 1:
            return BOTH
        return stream.name if stream is not None else self.stream_name

    @lanes.setter
    def lanes(self, lanes: str) -> None:
        self._both = lanes == BOTH
        if not self._both:
            self.stream_name = lanes

    @property
    def lane_streams(self) -> tuple[str, ...]:
        """The streams of the lanes, from top to bottom."""
        if self.lanes == BOTH:
            return self.streams
        return (self.stream.name,) if self.stream is not None else ()

    def next_lanes(self) -> None:
        """Every stream on its own in turn, then all of them above each other."""
        offered = (*self.streams, BOTH)
        if len(offered) > 2:
            self.lanes = offered[(offered.index(self.lanes) + 1) % len(offered)]

    @property
    def items(self) -> int:
        """Batch items of the selected stream."""
        stream = self.stream
        metrics = stream.metrics.values() if stream else ()
        return max((m.shape[0] for m in metrics if m.dims[1:2] == ("batch",) and any(m.shape)), default=1)

    def known(self, key: str) -> object:
        """What the stage's call or else the run says under a key, such as the prompt; empty text if neither does."""
        header = self.run.header.get("metadata")
        of_stage = self.stage.metadata.get(key) if self.stage else None
        return of_stage or (header.get(key) if isinstance(header, dict) else None) or ""

    @property
    def visible(self) -> int:
        """Rows of the selected stream that the playhead has passed."""
        return self.visible_of(None)

    def visible_of(self, name: str | None) -> int:
        """The same of a stream by its name."""
        stage, stream = self.stage, self.stream_of(name)
        if stage is None or stream is None:
            return 0
        return max(0, min(stream.rows, self.playhead - self.offset(stage.index)))

    @property
    def steps(self) -> int:
        """How many steps the selected stage has or will have: the length of the step axis."""
        return length_of(self.stage) if self.stage else 0

    def series(self, metric: str, stream: str | None = None) -> NDArray[np.float32] | None:
        """The visible rows of one scalar metric of the selected or a named stream; None where it does not have it."""
        found = self._scalar(metric, stream)
        return None if found is None else found.series(metric, self.item)[: self.visible_of(stream)]

    def recent(self, metric: str, stream: str | None = None) -> NDArray[np.float32] | None:
        """The last visible rows of such a metric: a long run is not read whole for them."""
        found = self._scalar(metric, stream)
        if found is None:
            return None
        rows = found.recent(metric, RECENT, self.visible_of(stream))
        return rows if rows.ndim == 1 else rows[:, min(self.item, rows.shape[1] - 1)]

    def _scalar(self, metric: str, stream: str | None) -> StreamData | None:
        """The stream, if it has the metric and that is one number per step or one per batch item."""
        found = self.stream_of(stream)
        if found is None or metric not in found.metrics:
            return None
        shape = found.metrics[metric].shape
        return None if len(shape) > 1 or 0 in shape else found

    @property
    def planned_total(self) -> int:
        """Steps over all stages that have begun, planned ones among them."""
        return self.before(len(self.run.stages))

    def before(self, stage: int) -> int:
        """Steps of all stages before one, planned ones among them."""
        return sum(length_of(s) for s in self.run.stages[:stage])

    def offset(self, stage: int) -> int:
        """Steps of all stages before one."""
        return sum(s.steps for s in self.run.stages[:stage])

    # Time

    @property
    def seconds_per_step(self) -> float:
        """Seconds per step lately, as of the newest visible step; NaN before the second."""
        times = self.stream.recent_times(RECENT, self.visible) if self.stream else np.empty(0)
        return median_step(times, math.nan)

    @property
    def seconds_left(self) -> float:
        """Estimated seconds to the end of the selected stage."""
        return self.seconds_per_step * max(0, self.steps - self.visible)


def length_of(stage: StageData) -> int:
    """How many steps a stage has or will have."""
    return max(len(stage.sigmas), stage.steps)


def median_step(times: NDArray[np.float64], otherwise: float) -> float:
    """Median seconds between times that rise."""
    gaps = np.diff(times)
    gaps = gaps[np.isfinite(gaps) & (gaps > 0)]
    return float(np.median(gaps)) if gaps.size else otherwise
