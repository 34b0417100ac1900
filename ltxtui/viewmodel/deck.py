"""The view model of a run: a recording deck, live or replayed. No Textual."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ltxtui.viewmodel.markers import neighbour
from ltxtui.viewmodel.playback import SPEEDS, Playback
from ltxtui.viewmodel.selection import median_step
from ltxtui.viewmodel.viewport import Viewport
from replay.model.pulse import Stall
from replay.model.run import Run
from replay.sources.open import Liveness

__all__ = ["SPEEDS", "Deck"]

_PACE: Final = 0.1


class Deck(Viewport):
    """A recording deck over one run.

    Live, the playhead is always at the end; in a replay it plays. The cursor is a step of the selected stage among the
    visible ones; while `follow` holds, stage and cursor go with the newest visible step. A cursor that was moved back,
    and a window of the axis, stay where they are while the run grows.
    """

    def __init__(self, run: Run, liveness: Liveness, *, playing: bool = False, speed: float = 1.0) -> None:
        super().__init__(run)
        self.liveness = liveness
        self.live = liveness is Liveness.LIVE
        self.opened_live = self.live
        self.note = ""
        """A note of the source, such as that the recording ends in the middle of a message."""
        self.stall: Stall | None = None
        """Why a run that is being recorded is stalled, and for how long."""
        self.loading = True
        """True until all that the source had when it was opened is read; a replay does not play before."""
        self.fetching = False
        """Whether values are still to come from a store; they are NaN until then."""
        speed = min(SPEEDS, key=lambda s: abs(s - speed)) if math.isfinite(speed) else math.inf
        self.playback = Playback(playing, speed)
        self.playhead = min(1, self.total) if playing else self.total
        self.loop_from: int | None = None
        """The first end of a loop whose second end is not marked yet, counted over all stages."""
        self._opened = False
        self._settle()

    @property
    def waiting(self) -> str:
        """What the dashboard is waiting for before the run begins; empty after."""
        return self.note if self.live and not self.run.header else ""

    @property
    def nothing(self) -> str:
        """The message shown in place of data while the run has no step."""
        return "waiting for the first step" if self.live else "reading …" if self.loading else "no steps"

    def unless_fetching(self, text: str) -> str:
        """What is said where there are no values."""
        return "being fetched" if self.fetching else text

    # Input

    def changed(self, liveness: Liveness, *, loading: bool = False) -> None:
        """Update after messages were fed to the run or the run has ended."""
        self.liveness = liveness
        self.findings.lost = liveness is Liveness.UNFINISHED and not loading
        if not self._opened:
            # A source knows only after its first poll whether the run is live.
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
        """Move the cursor; past the newest visible step of a replay it moves the playhead too.

        On the axis over the whole run it continues in the previous or next stage.
        """
        if self.whole_run and (stage := self._across_stages(by)) is not None:
            self.go_to(*stage)
            return
        if by > 0 and self.cursor + by >= self.visible and not self.live:
            self.step(self.cursor + by - self.visible + 1)
            return
        self.move_to(self.cursor + by)

    def _across_stages(self, by: int) -> tuple[int, int] | None:
        """The stage and step that the cursor moves to if it leaves its stage, else None."""
        step, stage, stages = self.cursor + by, self.stage_index, self.run.stages
        while step < 0 and stage > 0:
            stage -= 1
            step += stages[stage].steps
        while stage + 1 < len(stages) and step >= stages[stage].steps:
            step -= stages[stage].steps
            stage += 1
        return None if stage == self.stage_index else (stage, max(0, step))

    def move_to(self, step: int) -> None:
        """Put the cursor on a visible step; on the newest one of the newest stage it follows again."""
        self.cursor = max(0, min(step, self.visible - 1))
        self.follow = self.cursor >= self.visible - 1 and self.stage_index == self._stage_at(self.playhead)
        self.keep_in_view()

    def first(self) -> None:
        self.move_to(0)

    def last(self) -> None:
        """To the newest step and follow it; a replay goes to its end."""
        if not self.live:
            self.playhead, self.playing = self.total, False
        self.follow = True
        self._settle()

    def go_to(self, stage: int, step: int) -> None:
        """Put the cursor on a step of any stage; in a replay the playhead moves there if it has not passed it."""
        if not 0 <= stage < len(self.run.stages):
            return
        newest = self.offset(stage) + step + 1
        if newest > self.playhead:
            self.step(newest - self.playhead)
        self.stage_index = stage
        self.move_to(step)

    def jump(self, by: int) -> None:
        """To the next marker, or to the one before if `by` is negative, over all stages."""
        stages = self.run.stages
        places = ((m.stage, max(0, min(m.step, stages[m.stage].steps - 1))) for m in self.markers)
        found = neighbour(places, (self.stage_index, self.cursor), by)
        if found is not None:
            self.go_to(*found)

    def go_to_finding(self) -> bool:
        """Put the cursor where the selected finding begins, and the reference mark with it; whether it has a place.

        Its stage, stream and clip are selected.
        """
        found = self.findings.chosen
        if found is None or found.stage is None or not 0 <= found.stage < len(self.run.stages):
            return False
        stage = self.run.stages[found.stage]
        step = min(found.step or 0, max(0, stage.steps - 1))
        self.go_to(found.stage, step)
        if found.stream in self.streams:
            self.lanes = found.stream
        if found.clip is not None:
            self.item = max(0, min(found.clip, self.items - 1))
        if found.step is not None:
            self.mark_step = step
        self._settle()
        return True

    # Stage, stream, batch item

    def next_stage(self, by: int = 1) -> None:
        """Select another stage that has begun at the playhead."""
        begun = max(1, self._stage_at(self.playhead) + 1) if not self.live else len(self.run.stages)
        if begun > 1:
            self.stage_index = (self.stage_index + by) % begun
            self.cursor = max(0, self.visible - 1)
            self.follow = self.stage_index == self._stage_at(self.playhead)
            self.keep_in_view()

    def next_stream(self) -> None:
        """Another stream on its own."""
        stream, names = self.stream, self.streams
        if stream is not None and len(names) > 1:
            self.lanes = names[(names.index(stream.name) + 1) % len(names)]
            self._settle()

    def next_lanes(self) -> None:
        """Every stream on its own in turn, then all of them as lanes above each other."""
        super().next_lanes()
        self._settle()

    def next_item(self) -> None:
        self.item = (self.item + 1) % self.items

    # The replay

    @property
    def playing(self) -> bool:
        return self.playback.playing

    @playing.setter
    def playing(self, playing: bool) -> None:
        self.playback.playing = playing

    @property
    def speed(self) -> float:
        return self.playback.speed

    @speed.setter
    def speed(self, speed: float) -> None:
        self.playback.speed = speed

    @property
    def as_recorded(self) -> bool:
        """Whether each step takes the time that it took, pauses included, instead of the run's median time."""
        return self.playback.as_recorded

    @property
    def loop(self) -> tuple[int, int] | None:
        """First and last step of the selection that is played again and again, counted over all stages."""
        return self.playback.loop

    @property
    def replaying(self) -> bool:
        """Whether play, seek and speed are available: the run has ended and has steps."""
        return not self.live and self.total > 0

    def toggle(self) -> None:
        """Play or pause; at the end, play from the start; after a loop, from the loop's first step."""
        if not self.replaying:
            return
        if not self.playing:
            self.playhead = self.playback.start(self.playhead, self.total)
        self.playing = not self.playing
        self.follow = self.follow or self.playing
        self.playback.rest()
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
            self.playback.rest()
            self._settle()

    def change_speed(self, by: int) -> None:
        if self.replaying:
            self.playback.change_speed(by)

    def toggle_pace(self) -> None:
        """Switch between recorded time per step and the median time for all steps."""
        if self.replaying:
            self.playback.as_recorded = not self.playback.as_recorded
            self.playback.rest()
            if self.as_recorded:
                self.speed = 1.0

    def mark_loop(self) -> None:
        """Mark one end of a loop at the cursor, then the other; a third call clears the loop."""
        if not self.replaying:
            return
        here = self.offset(self.stage_index) + self.cursor
        if self.loop is not None:
            self.playback.loop = None
        elif self.loop_from is None:
            self.loop_from = here
        else:
            self.playback.loop = min(self.loop_from, here), max(self.loop_from, here)
            self.loop_from = None

    def tick(self, seconds: float) -> bool:
        """Advance a playing replay; True if the playhead moved. Without a loop it stops at the end."""
        if not self.playing or self.loading:
            return False
        before = self.playhead
        self.playhead = self.playback.advance(before, seconds, self.pace, self._elapsed)
        if self.playhead != before:
            self.playing = self.loop is not None or self.playhead < self.total
            self._settle()
        return self.playhead != before

    @property
    def pace(self) -> float:
        """Seconds per step over the whole run, for playing it: the median."""
        stream = self.stream
        times = stream.times if stream else np.empty(0)
        return self.keep("pace", (self.run.version, id(stream)), lambda: median_step(times, _PACE))

    @property
    def newest(self) -> tuple[int, int]:
        """The newest stage and step of the run, wherever the cursor is."""
        stage = self._stage_at(self.playhead)
        stages = self.run.stages
        return stage, max(0, stages[stage].steps - 1) if stages else 0

    # Internals

    @property
    def _elapsed(self) -> NDArray[np.float64]:
        """Seconds at which each step of the run was done, stage after stage [total]; see `_all_times`."""
        return self.keep("elapsed", self.run.version, self._all_times)

    def _all_times(self) -> NDArray[np.float64]:
        """Times that go back count as no time; a stage that overlaps the previous one is played after it."""
        furthest = [stage.furthest for stage in self.run.stages if stage.furthest is not None]
        played, reached = [np.empty(0)], -math.inf
        for times in (stream.times for stream in furthest):
            known = np.isfinite(times)
            first = float(times[known][0]) if known.any() else max(reached, 0.0)
            times = np.maximum.accumulate(np.where(known, times, first)) + max(0.0, reached - first)
            reached = float(times[-1]) if times.size else reached
            played.append(times)
        return np.concatenate(played)

    def _stage_at(self, playhead: int) -> int:
        """The stage that holds the newest visible step; live, the newest stage that has not ended, else the newest."""
        stages = self.run.stages
        if self.live:
            return max((s.index for s in stages if not s.ended), default=max(0, len(stages) - 1))
        for stage in stages:
            playhead -= stage.steps
            if playhead <= 0:
                return stage.index
        return max(0, len(stages) - 1)

    def _settle(self) -> None:
        """Bring stage, cursor and window up to date."""
        self.playhead = max(0, min(self.playhead, self.total))
        if self.follow:
            self.stage_index = self._stage_at(self.playhead)
            self.cursor = max(0, self.visible - 1)
            self.keep_in_view()
        else:
            begun = len(self.run.stages) - 1 if self.live else self._stage_at(self.playhead)
            self.stage_index = max(0, min(self.stage_index, begun))
            self.cursor = max(0, min(self.cursor, self.visible - 1))
        self.item = min(self.item, self.items - 1)
