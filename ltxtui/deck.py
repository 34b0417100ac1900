"""The view model: which run, stage, stream, batch item and step is looked at, and how a replay plays. No Textual."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recorder.words import Message
from replay.run import Run, StageData, StreamData
from replay.source import Liveness

SPEEDS: Final[tuple[float, ...]] = (1 / 8, 1 / 4, 1 / 2, 1.0, 2.0, 4.0, 8.0, 16.0, math.inf)
"""Replay speeds; 1 is the run's own median time per step, infinity as fast as the screen goes."""

_RECENT = 12
_MAX_SPEED_TICKS = 40


class Deck:
    """A recording deck over one run.

    `playhead` counts steps over all stages and hides what lies behind it. Live it is always at the end; in a replay it
    plays. The cursor is a step of the selected stage among the visible ones; while `follow` holds, stage and cursor go
    with the newest visible step.
    """

    def __init__(self, run: Run, liveness: Liveness, *, playing: bool = False, speed: float = 1.0) -> None:
        self.run = run
        self.liveness = liveness
        self.live = liveness is Liveness.LIVE
        self.opened_live = self.live
        self.note = ""
        """What the source has to say, such as that the recording ends in the middle of a message."""
        self.stage_index = 0
        self.stream_name = "video"
        self.item = 0
        self.cursor = 0
        self.follow = True
        self.loading = True
        """Until the source has brought all it had when it was opened; a replay does not play before."""
        self.playing = playing
        self.speed = min(SPEEDS, key=lambda s: abs(s - speed)) if math.isfinite(speed) else math.inf
        self.playhead = min(1, self.total) if self.playing else self.total
        self._owed = 0.0
        self._opened = False
        self._settle()

    # What is selected

    @property
    def total(self) -> int:
        """Steps over all stages."""
        return self.run.steps

    @property
    def waiting(self) -> str:
        """What a run that has not begun is waited for; empty once it has."""
        return self.note if self.live and not self.run.header else ""

    @property
    def stage(self) -> StageData | None:
        stages = self.run.stages
        return stages[min(self.stage_index, len(stages) - 1)] if stages else None

    @property
    def stream(self) -> StreamData | None:
        """The selected stream of the selected stage, or the first one it has."""
        stage = self.stage
        if stage is None or not stage.streams:
            return None
        return stage.streams.get(self.stream_name) or next(iter(stage.streams.values()))

    @property
    def streams(self) -> tuple[str, ...]:
        return tuple(self.stage.streams) if self.stage else ()

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
        stage, stream = self.stage, self.stream
        if stage is None or stream is None:
            return 0
        return max(0, min(stream.rows, self.playhead - self._offset(stage.index)))

    @property
    def steps(self) -> int:
        """How many steps the selected stage has or will have: the length of the step axis."""
        stage = self.stage
        return max(len(stage.sigmas), stage.steps) if stage else 0

    def series(self, metric: str) -> NDArray[np.float32] | None:
        """The visible rows of one scalar metric, or None where this run does not have it."""
        stream = self.stream
        if stream is None or metric not in stream.metrics:
            return None
        shape = stream.metrics[metric].shape
        if len(shape) > 1 or 0 in shape:
            return None
        return stream.series(metric, self.item)[: self.visible]

    # What is fed in

    def changed(self, liveness: Liveness, *, loading: bool = False) -> None:
        """Take note of messages fed to the run, or of a run that has ended."""
        self.liveness = liveness
        if not self._opened:
            # A source knows only after its first poll whether the run is still going on.
            self._opened = True
            self.opened_live = self.live = liveness is Liveness.LIVE
            self.playing = self.playing and not self.live
        if self.live or (self.loading and not self.playing):
            self.playhead = self.total
        elif self.loading:
            self.playhead = min(1, self.total)
        self.live = self.live and liveness is Liveness.LIVE
        self.loading = loading
        self._settle()

    # The cursor

    def move(self, by: int) -> None:
        """Move the cursor; past the newest visible step of a replay it takes the playhead along."""
        if by > 0 and self.cursor + by >= self.visible and not self.live:
            self.step(self.cursor + by - self.visible + 1)
            return
        self.move_to(self.cursor + by)

    def move_to(self, step: int) -> None:
        """Put the cursor on a visible step; on the newest one of the newest stage it follows again."""
        self.cursor = max(0, min(step, self.visible - 1))
        self.follow = self.cursor >= self.visible - 1 and self.stage_index == self._stage_at(self.playhead)

    def first(self) -> None:
        self.move_to(0)

    def last(self) -> None:
        """To the newest step and follow it; a replay goes to its end."""
        if not self.live:
            self.playhead, self.playing = self.total, False
        self.follow = True
        self._settle()

    # Stage, stream, batch item

    def next_stage(self, by: int = 1) -> None:
        """Select another stage that has begun at the playhead."""
        begun = max(1, self._stage_at(self.playhead) + 1) if not self.live else len(self.run.stages)
        if begun > 1:
            self.stage_index = (self.stage_index + by) % begun
            self.cursor = max(0, self.visible - 1)
            self.follow = self.stage_index == begun - 1

    def next_stream(self) -> None:
        stream, names = self.stream, self.streams
        if stream is not None and len(names) > 1:
            self.stream_name = names[(names.index(stream.name) + 1) % len(names)]
            self._settle()

    def next_item(self) -> None:
        self.item = (self.item + 1) % self.items

    # The replay

    @property
    def replaying(self) -> bool:
        """Whether play, seek and speed are on offer: the run is not going on any more and has steps."""
        return not self.live and self.total > 0

    def toggle(self) -> None:
        """Play or pause; at the end, play from the start."""
        if not self.replaying:
            return
        if not self.playing and self.playhead >= self.total:
            self.playhead = 1
        self.playing = not self.playing
        self.follow = self.follow or self.playing
        self._owed = 0.0
        self._settle()

    def step(self, by: int) -> None:
        """Pause and move the playhead by whole steps, the cursor with it."""
        if self.replaying:
            self.playing = False
            self.seek_to(self.playhead + by)

    def seek(self, fraction: float) -> None:
        """Move the playhead to a part of the run."""
        self.seek_to(round(fraction * self.total))

    def seek_by(self, fraction: float) -> None:
        by = max(1, round(abs(fraction) * self.total))
        self.seek_to(self.playhead + (by if fraction > 0 else -by))

    def seek_to(self, playhead: int) -> None:
        if self.replaying:
            self.playhead = max(1, min(playhead, self.total))
            self.follow = True
            self._owed = 0.0
            self._settle()

    def change_speed(self, by: int) -> None:
        if self.replaying:
            self.speed = SPEEDS[max(0, min(SPEEDS.index(self.speed) + by, len(SPEEDS) - 1))]

    def tick(self, seconds: float) -> bool:
        """Let a playing replay go on; True if a step came into view. It stops at the end by itself."""
        if not self.playing or self.loading:
            return False
        if math.isinf(self.speed):
            whole = max(1, self.total // _MAX_SPEED_TICKS)
        else:
            # A stall of the terminal must not make the replay jump.
            self._owed += min(seconds, 1.0) * self.speed / self.pace
            whole = int(self._owed)
            self._owed -= whole
        if whole:
            self.playhead = min(self.total, self.playhead + whole)
            self.playing = self.playhead < self.total
            self._settle()
        return whole > 0

    # Time

    @property
    def pace(self) -> float:
        """Seconds per step over the whole run, for playing it."""
        return self._median_step(self.stream.times if self.stream else np.empty(0), 0.1)

    @property
    def seconds_per_step(self) -> float:
        """Seconds per step lately, as of the newest visible step; NaN before the second."""
        times = self.stream.times[: self.visible] if self.stream else np.empty(0)
        return self._median_step(times[-_RECENT:], math.nan)

    @property
    def seconds_left(self) -> float:
        """Estimated seconds to the end of the selected stage."""
        return self.seconds_per_step * max(0, self.steps - self.visible)

    @property
    def time(self) -> float | None:
        """Unix time of the step under the cursor."""
        stream = self.stream
        return float(stream.times[self.cursor]) if stream is not None and self.cursor < self.visible else None

    @property
    def event(self) -> Message | None:
        """The latest event at or before the cursor."""
        return next((e for e in reversed(self.run.events) if self._is_before_cursor(e)), None)

    # Inside

    def _offset(self, stage: int) -> int:
        return sum(s.steps for s in self.run.stages[:stage])

    def _is_before_cursor(self, event: Message) -> bool:
        stage, step, time = event.get("stage"), event.get("step"), event.get("time")
        if isinstance(stage, int) and stage != self.stage_index:
            return stage < self.stage_index
        if isinstance(stage, int) and isinstance(step, int):
            return step <= self.cursor
        here = self.time
        return here is None or not isinstance(time, float | int) or time <= here

    def _stage_at(self, playhead: int) -> int:
        """The stage that holds the newest visible step; live, the newest stage."""
        stages = self.run.stages
        if self.live:
            return max(0, len(stages) - 1)
        for stage in stages:
            playhead -= stage.steps
            if playhead <= 0:
                return stage.index
        return max(0, len(stages) - 1)

    def _settle(self) -> None:
        """Bring stage and cursor to what is visible now."""
        self.playhead = max(0, min(self.playhead, self.total))
        if self.follow:
            self.stage_index = self._stage_at(self.playhead)
            self.cursor = max(0, self.visible - 1)
        else:
            self.stage_index = max(0, min(self.stage_index, self._stage_at(self.playhead)))
            self.cursor = max(0, min(self.cursor, self.visible - 1))
        self.item = min(self.item, self.items - 1)

    @staticmethod
    def _median_step(times: NDArray[np.float64], otherwise: float) -> float:
        gaps = np.diff(times)
        gaps = gaps[np.isfinite(gaps) & (gaps > 0)]
        return float(np.median(gaps)) if gaps.size else otherwise
