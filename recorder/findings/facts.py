"""What rules look at: the facts of a run, of its stages and streams, and rows as blocks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recorder.format import paths

Values = NDArray[np.float64]
_LARGEST: Final = 1 << 53
LOWEST: Final = -1e-6
HIGHEST: Final = 1.0001
"""Noise levels lie between 0 and 1, with room for rounding."""


def as_number(value: Any) -> float | None:
    """A value of metadata as a number; None if it is not one, or one that no float holds."""
    if type(value) is float:
        return value
    return float(value) if type(value) is int and abs(value) <= _LARGEST else None


@dataclass
class StreamFacts:
    """One stream of a stage, as it is declared.

    `clips` is the batch size and `values` the number of values of a clip. `grid` is (frames, rows, columns) of video
    and (frames,) of audio. `frames` are the latent frames that are measured, `conditioning` those that are given.
    """

    name: str
    clips: int
    values: int
    grid: tuple[int, ...]
    dtype: str = "float32"
    frames: tuple[int, ...] = ()
    conditioning: tuple[int, ...] = ()
    metrics: frozenset[str] = frozenset()
    rows: int = 0
    opening: dict[str, Values] = field(default_factory=dict)
    """The first row of the metrics that later rows are compared with, by name, [clips] each."""

    @property
    def cells(self) -> int:
        """Cells of a frame."""
        return int(np.prod(self.grid[1:])) if len(self.grid) > 1 else 1


@dataclass
class StageFacts:
    """One denoising loop: what was asked, what was planned, and its streams."""

    index: int
    call: int = 0
    sigmas: tuple[float, ...] = ()
    """The planned levels, one per step, without the closing 0."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    streams: dict[str, StreamFacts] = field(default_factory=dict)
    ended: bool = False
    changed: bool = False
    """Whether a shock has changed the plan."""
    levels: dict[str, list[float]] = field(default_factory=dict)
    """σ of the rows so far, by stream."""
    last_level: float | None = None
    """σ after the last row of the stream that is furthest."""
    seen: set[str] = field(default_factory=set)
    """Ids of findings that the recorder made itself, where only it can see the cause."""
    summary: Mapping[str, Mapping[str, list[float | None]]] = field(default_factory=dict)
    _plan: tuple[tuple[float, ...], Values, bool] | None = None

    @property
    def plan(self) -> Values:
        """The planned levels as an array; it is made once for a plan, which may have many thousands of levels."""
        return self._known_plan()[1]

    @property
    def plans_zero(self) -> bool:
        """Whether a planned level is 0 or less."""
        return self._known_plan()[2]

    def _known_plan(self) -> tuple[tuple[float, ...], Values, bool]:
        if self._plan is None or self._plan[0] is not self.sigmas:
            levels = np.array(self.sigmas, np.float64)
            self._plan = self.sigmas, levels, bool((levels <= 0).any())
        return self._plan

    def _table(self, name: str) -> Mapping[str, Any]:
        found = self.metadata.get(name)
        return found if isinstance(found, Mapping) else {}

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Arguments of the call, as far as they are recorded."""
        return self._table("arguments")

    @property
    def scheduler(self) -> str:
        return str(self._table("scheduler").get("class", ""))

    @property
    def scheduler_config(self) -> Mapping[str, Any]:
        found = self._table("scheduler").get("config")
        return found if isinstance(found, Mapping) else {}

    @property
    def given_sigmas(self) -> tuple[float, ...] | None:
        """The levels that the caller gave; None if it gave none, or not as numbers."""
        given = self.arguments.get("sigmas")
        if not isinstance(given, list | tuple) or not given:
            return None
        numbers = tuple(s for s in map(as_number, given) if s is not None)
        return numbers if len(numbers) == len(given) else None

    def number(self, argument: str) -> float | None:
        """An argument that is a number."""
        return as_number(self.arguments.get(argument))


@dataclass
class RunFacts:
    """What is known of a run; `status` is empty while it is recorded."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    stages: list[StageFacts] = field(default_factory=list)
    status: str = ""
    error: str = ""
    """Why it failed or was interrupted, as its end says."""
    missed: Mapping[str, int] = field(default_factory=dict)
    """Steps that were taken and not recorded, by stage and stream such as `stage_0/video`."""
    seen: set[str] = field(default_factory=set)
    """Ids of findings that the recorder made itself and that belong to no stage."""
    troubles: list[str] = field(default_factory=list)
    """What the recorder could not do, in its own words."""
    damage: str = ""
    """What of the files is damaged; known to readers only."""
    lost: bool = False
    """Whether its recorder has gone without ending it; known to readers only."""
    stalled_seconds: float | None = None
    """For how long a live run has made no progress; known to readers only."""

    @property
    def shocks(self) -> bool:
        return bool(self.metadata.get("shocks"))

    @property
    def stages_with_missing_rows(self) -> set[int]:
        """Indices of the stages of which a stream has fewer rows than steps."""
        nodes = (paths.parse(key) for key, count in self.missed.items() if count)
        return {node.stage for node in nodes if node is not None}

    def shocked(self, stage: StageFacts) -> bool:
        """Whether shocks are in the plan, or changed it."""
        return self.shocks or stage.changed or stage.scheduler == "ShockScheduler"

    def is_last(self, stage: StageFacts) -> bool:
        """Whether the run ended with this stage."""
        return bool(self.status) and stage.index == len(self.stages) - 1


class Block:
    """Consecutive rows of one stream, in float64, read metric by metric.

    `first` is the number of the first row. Where there is a row before it, `with_before` has it in front.
    """

    def __init__(
        self, run: RunFacts, stage: StageFacts, stream: StreamFacts, first: int, count: int,
        read: Callable[[str, int, int], NDArray[Any]],
    ) -> None:  # fmt: skip
        self.run, self.stage, self.stream, self.first, self.count = run, stage, stream, first, count
        self._read = read
        self._known: dict[str, Values] = {}
        self._lead = 1 if first else 0

    def with_before(self, metric: str) -> Values:
        """Rows [lead + count, …], lead 1 if there is a row before the block. Raises KeyError without the metric."""
        if metric not in self._known:
            values = np.asarray(self._read(metric, self.first - self._lead, self.first + self.count), np.float64)
            if metric in ("sigma", "sigma_next"):
                # Formulas in σ mean nothing at another level: rules are silent there, but for the one that names it.
                values = np.where((values >= LOWEST) & (values <= HIGHEST), values, np.nan)
            self._known[metric] = values
        return self._known[metric]

    def __getitem__(self, metric: str) -> Values:
        """The block's rows of a metric [count, …]. Raises KeyError without the metric."""
        return self.with_before(metric)[self._lead :]

    @property
    def has_before(self) -> bool:
        return bool(self._lead)

    def per_clip(self, metric: str) -> Values:
        """A metric of the whole step, repeated for each clip [count, clips]."""
        return np.repeat(self[metric].reshape(self.count, 1), self.stream.clips, axis=1)

    def power(self, quantity: str) -> Values:
        """Mean square of `noise`, `x0` or `velocity` [count, clips]: the sum over its bands."""
        return np.asarray(sum(self[f"energy_{band}_{quantity}"] for band in ("low", "mid", "high")))

    def has(self, *metrics: str) -> bool:
        return all(m in self.stream.metrics for m in metrics)
