"""Runs in an experiment tracker: Weights & Biases and trackio, which has the same functions."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from recorder.format.protocol import Message
from replay.export.metadata import as_json, settings, status, summary, valid
from replay.export.steps import ExportedStep, Picture, scalars, vectors
from replay.model.run import Run, StageData

_EVENT_COLUMNS: Final = ["time", "stage", "step", "stream", "kind", "text", "payload"]


@dataclass(frozen=True)
class Tracker:
    """What differs between the trackers.

    `start` begins a run by its name and settings. `finish` takes it and whether the recorded run is complete. `keeps`
    tells whether the settings and the summary of a run can be added to after its start. `place` says where a run is,
    for the user. `own_time` is the key under which a step's time is taken; empty if there is none.
    """

    module: Any
    start: Callable[[str, dict[str, Any]], Any]
    finish: Callable[[Any, bool], None]
    place: Callable[[Any], str]
    keeps: bool
    own_time: str = ""


class TrackerTarget:
    """A run of the tracker per run: one row of its history per step.

    Numbers are `video/velocity_rms`. Spectra, channels and frames are lists under the same kind of name. Pictures are
    images `video/x0`, the settings are the config, the load is `load/gpu_power`, events are a table.
    """

    wants_pictures = True

    def __init__(self, tracker: Tracker) -> None:
        self._tracker = tracker
        self.places: list[str] = []
        """Where the runs are that were begun."""
        self._made: Any = None
        self._run = Run()
        self._at = 0
        """The step that was logged last: a tracker takes no earlier one."""
        self._load: dict[str, float] = {}
        self._row: dict[str, Any] = {}
        """The row of the step `_at`, which is logged when the next step comes: its pictures follow it."""
        self._events: list[list[Any]] = []

    def begin(self, run: Run) -> None:
        self._run, self._at = run, 0
        self._row, self._load, self._events = {}, {}, []

    def stage(self, stage: StageData) -> None:
        if self._made is None:
            self._start()
        elif self._tracker.keeps:
            self._made.config.update(settings(self._run), allow_val_change=True)

    def _start(self) -> None:
        self._made = self._tracker.start(self._run.name, {"run": self._run.name, **settings(self._run)})
        self.places.append(self._tracker.place(self._made))

    def step(self, step: ExportedStep) -> None:
        self._log()
        self._at = step.run_step
        lists = {tag: [float(v) for v in values] for tag, values in vectors(step).items()}
        self._row = {"stage": step.stage.index, **scalars(step), **lists}
        if self._tracker.own_time and math.isfinite(step.time):
            self._row[self._tracker.own_time] = step.time

    def picture(self, picture: Picture) -> None:
        self._row[picture.name] = self._tracker.module.Image(picture.strip, caption=picture.caption)

    def event(self, event: Message, run_step: int) -> None:
        place = [event["time"], event.get("stage"), event.get("step"), event.get("stream")]
        payload = as_json(event.get("payload") or {})
        self._events.append([*place, valid(event["kind"]), valid(event.get("text", "")), payload])

    def sample(self, sample: Message, run_step: int) -> None:
        self._load |= {f"load/{name}": float(value) for name, value in sample["values"].items()}

    def _log(self) -> None:
        """Log the row that waits, with the last sample of the load before it."""
        row = self._row | self._load
        self._row, self._load = {}, {}
        if row:
            if self._made is None:
                self._start()
            self._made.log(row, step=self._at)

    def end(self, run: Run) -> None:
        if self._made is None:
            self._start()
        if self._events:
            self._row["events"] = self._tracker.module.Table(columns=_EVENT_COLUMNS, data=self._events)
        found: dict[str, Any] = {f"summary/{name}": value for name, value in summary(run).items()}
        if self._tracker.keeps:
            self._log()
            self._made.config.update(settings(run), allow_val_change=True)
            self._made.summary.update({**found, "status": status(run)})
        else:
            self._row |= {**found, "status": status(run)}
            self._log()
        self._finish(complete=status(run) == "complete")

    def flush(self) -> None:
        """Trackers send what they have by themselves."""

    def _finish(self, *, complete: bool) -> None:
        made, self._made = self._made, None
        if made is not None:
            self._tracker.finish(made, complete)

    def close(self) -> None:
        """A run that was not finished is marked as failed."""
        if self._made is not None:
            self._log()
        self._finish(complete=False)
