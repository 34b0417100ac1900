"""The view of the selected stage: cursor, reference mark, markers, and the axis with its window. No Textual."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Final, Self, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from ltxtui.plot.axis import EMPTY, MODES, Axis, Mode, Ruler, over_run
from ltxtui.viewmodel.event_index import EventIndex
from ltxtui.viewmodel.findings import DeckFindings
from ltxtui.viewmodel.markers import Marker, markers, of_findings
from ltxtui.viewmodel.selection import Selection, length_of
from ltxtui.viewmodel.usual import Usual
from recorder.format.protocol import Message
from replay.baseline import Band
from replay.model.run import Run, StreamData
from replay.rerun import stages_requested

_PACE: Final = 0.1

T = TypeVar("T")


class Viewport(Selection):
    """A selection with a cursor on one of its visible steps and an axis that all panels share."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.cursor = 0
        self.follow = True
        """Whether stage and cursor follow the newest visible step."""
        self.axis = Axis()
        self.log_y = False
        """Whether charts that allow it have a logarithmic y axis."""
        self.quantity = "x0"
        """Whose spectrum is shown, over the steps and at the cursor: one of `panels.steps.QUANTITIES`."""
        self.frame_quantity = "identity"
        """What is shown of each frame over the steps: one of `frame_quantities.QUANTITIES`."""
        self.findings = DeckFindings(run)
        self.usual = Usual()
        self._events = EventIndex()
        self._marks: dict[int, int] = {}
        self._kept: dict[str, tuple[object, object]] = {}

    # The axis

    @property
    def ruler(self) -> Ruler:
        """The steps of the selected stage on the axis, with its window."""
        stage = self.stage
        if stage is None:
            return EMPTY
        pace = self.seconds_per_step
        run = (self.before(stage.index), self.planned_total) if self.whole_run else (0, 0)
        return self.axis.ruler(stage, self.steps, self.run.version, pace if math.isfinite(pace) else _PACE, run)

    @property
    def whole_run(self) -> bool:
        """Whether the axis covers all stages of the run."""
        return self.axis.mode == "run"

    @property
    def run_ruler(self) -> Ruler:
        """The steps of all stages on the axis over the whole run, with its window."""
        ruler, total = self.ruler, self.planned_total
        return self.keep("run ruler", (ruler, total), lambda: over_run(ruler, total))

    def place_at(self, column: int, width: int) -> tuple[int, int]:
        """The stage and step nearest to a column."""
        if not self.whole_run or self.stage is None:
            return self.stage_index, self.step_at(column, width)
        here = self.before(self.stage_index) + self.cursor
        return self.place_of(self.run_ruler.step_at(column, width, here))

    def place_of(self, step: int) -> tuple[int, int]:
        """The stage and step of a step that is counted through all stages, planned ones among them."""
        for stage in self.run.stages:
            if step < length_of(stage):
                return stage.index, step
            step -= length_of(stage)
        return self.stage_index, self.cursor

    def at_stage(self, stage: int) -> Self:
        """A copy that shows another stage, for one drawing."""
        other = copy.copy(self)
        other.stage_index, other._kept = stage, {}
        return other

    def columns(self, width: int) -> NDArray[np.intp]:
        """The text column, 0…width−1, of every step of the selected stage; −1 outside the window [steps]."""
        return self.ruler.columns(width)

    def step_at(self, column: int, width: int) -> int:
        """The step nearest to a column; of equally near stretches of steps, in the one nearest to the cursor."""
        return self.ruler.step_at(column, width, self.cursor)

    def set_axis(self, mode: Mode) -> None:
        """Select another axis; the steps in the window stay the same."""
        if self.stage is None:
            self.axis.mode = mode
        else:
            self.axis.set_mode(mode, self.stage.index, lambda: self.ruler)
            self.keep_in_view()

    def next_axis(self, by: int = 1) -> None:
        several = self.whole_run or max(len(self.run.stages), stages_requested(self.run)) > 1
        offered = [mode for mode in MODES if mode != "run" or several]
        self.set_axis(offered[(offered.index(self.axis.mode) + by) % len(offered)])

    @property
    def zoomed(self) -> bool:
        """Whether only a part of the axis is shown."""
        return self.axis.window(self.stage_index) is not None

    def zoom(self, by: float) -> None:
        """Show half of what is shown, `by` times, or double it if negative; the cursor keeps its column."""
        if self.steps:
            self.axis.zoom(by, self.stage_index, self.ruler, self.cursor)

    def pan(self, by: float) -> None:
        """Move the window by quarters of itself. If the cursor leaves the window, it stops following."""
        if self.zoomed:
            self.axis.pan(by, self.stage_index, self.ruler)
            self.follow = self.follow and bool(self.ruler.inside[self.cursor : self.cursor + 1].all())

    def zoom_reset(self) -> None:
        """Show the whole axis."""
        self.axis.reset(self.stage_index)

    def keep_in_view(self) -> None:
        """Move the window to the cursor if that has left it."""
        if self.zoomed:
            self.axis.keep_in_view(self.stage_index, self.ruler, self.cursor)

    def toggle_log(self) -> None:
        self.log_y = not self.log_y

    @property
    def levels(self) -> NDArray[np.float64]:
        """The planned noise levels of the selected stage [steps]."""
        sigmas = self.stage.sigmas if self.stage is not None else ()
        return self.keep("levels", (self.stage_index, self.run.version), lambda: np.asarray(sigmas, np.float64))

    def usual_range(self, metric: str, stream: str | None = None) -> Band | None:
        """The usual range of a metric over the steps, planned ones among them [steps]; None where none is known."""
        found = self.stream_of(stream)
        if found is None or not self.usual.version:
            return None
        visible, steps = self.visible_of(stream), self.steps
        key = (self.usual.version, self.stage_index, found.name, visible, steps)
        return self.keep(f"usual {metric} {stream}", key, lambda: self._usual_range(found, metric, visible, steps))

    def _usual_range(self, stream: StreamData, metric: str, visible: int, steps: int) -> Band | None:
        sigmas = np.full(steps, np.nan)
        sigmas[: len(self.levels)] = self.levels[:steps]
        done = self.series("sigma", stream.name)
        if done is not None:
            sigmas[:visible] = done
        return self.usual.band(stream, metric, sigmas)

    # Marks

    @property
    def mark_step(self) -> int | None:
        """The reference mark: the step of the selected stage that values are compared with."""
        return self._marks.get(self.stage_index)

    @mark_step.setter
    def mark_step(self, step: int | None) -> None:
        self._marks.pop(self.stage_index, None)
        if step is not None and 0 <= step < self.steps:
            self._marks[self.stage_index] = step

    def toggle_mark(self) -> None:
        """Set the reference mark at the cursor, or clear it if it is there already."""
        self.mark_step = None if self.mark_step == self.cursor or not self.visible else self.cursor

    @property
    def markers(self) -> list[Marker]:
        """What is in all of the run, whether the playhead has passed it or not, in its order."""
        return self.keep("markers", (self.run.version, self.findings.version), self._all_markers)

    def _all_markers(self) -> list[Marker]:
        found = of_findings(self.findings.found, len(self.run.stages))
        return sorted([*markers(self.run), *found], key=lambda m: m[:2])

    @property
    def markers_shown(self) -> list[Marker]:
        """What is in the selected stage, up to the newest visible step."""
        visible = self.visible
        return [m for m in self.markers if m.stage == self.stage_index and m.step < visible]

    # At the cursor

    @property
    def time(self) -> float | None:
        """Unix time of the step under the cursor."""
        stream = self.stream
        return float(stream.times[self.cursor]) if stream is not None and self.cursor < self.visible else None

    @property
    def events_before(self) -> NDArray[np.bool_]:
        """Whether each event of the run lies at or before the cursor."""
        return self._events_here()[0]

    @property
    def event_place(self) -> int:
        """The place of the latest event at or before the cursor, −1 if there is none."""
        return self._events_here()[1]

    @property
    def event(self) -> Message | None:
        """The latest event at or before the cursor."""
        place = self.event_place
        return self.run.events[place] if place >= 0 else None

    def _events_here(self) -> tuple[NDArray[np.bool_], int]:
        here = self.stage_index, self.cursor, self.time
        return self.keep("events", (self.run.version, *here), lambda: self._events.before(self.run.events, *here))

    def forget(self) -> None:
        """Compute everything again: the run's values are others than they were."""
        self.run.reread()
        self._kept.clear()

    def keep(self, name: str, key: object, make: Callable[[], T]) -> T:
        """The value of `make`, cached until the key changes."""
        kept = self._kept.get(name)
        if kept is None or kept[0] != key:
            kept = self._kept[name] = key, make()
        return cast(T, kept[1])
