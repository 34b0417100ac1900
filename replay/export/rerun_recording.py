"""Runs as recordings of rerun: curves, spectra, pictures and events on one time line."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from recorder.format.declarations import QUANTITIES
from recorder.format.protocol import Message
from replay.export.metadata import as_json, event_line, flat, settings, status, summary
from replay.export.problems import library
from replay.export.steps import ExportedStep, Picture, is_scalar, tagged
from replay.model.run import Run, StageData

EXTRA: Final = "rerun"
STEP: Final = "step"
TIME: Final = "time"
"""The time lines: the step over all stages, and the time of recording."""
_LEVELS: Final = {"error": "ERROR", "nan": "ERROR", "warning": "WARN", "degraded": "WARN"}
_VIEWS: Final = {
    "signal to noise": ("snr_schedule_db", "snr_measured_db"),
    "velocity": ("velocity_rms", "velocity_conditional_rms"),
    "sample": ("std", "max_abs", "mean"),
    "energy of x0": ("energy_low_x0", "energy_mid_x0", "energy_high_x0"),
}
"""Charts that the recording opens with, of the first stream that has them."""


class RerunTarget:
    """One `.rrd` file per run: `video/velocity_rms` and so on as scalars, spectra, channels and frames as bar charts.

    Pictures are images `video/x0`, events a text log, settings a document and properties of the recording. The file
    holds a blueprint with pictures, charts and events.
    """

    wants_pictures = True

    def __init__(self, files: Iterable[Path]) -> None:
        """Raises MissingLibrary.

        Args:
            files: one per run, in the order of the runs.
        """
        self._files = iter(files)
        self._library: Any = library("rerun", EXTRA)
        self._blueprint: Any = library("rerun.blueprint", EXTRA)
        self._recording: Any = None

    def begin(self, run: Run) -> None:
        rr = self._library
        self._recording = rr.RecordingStream("ltxtui", recording_id=f"{run.name}-{float(run.header['time']):.6f}")
        self._recording.save(str(next(self._files)), default_blueprint=self._opening())
        self._recording.send_recording_name(run.name)

    def _opening(self) -> Any:
        views = self._blueprint
        charts = [
            views.TimeSeriesView(name=name, origin="/", contents=[f"+ /*/{metric}/**" for metric in metrics])
            for name, metrics in _VIEWS.items()
        ]
        pictures = views.Spatial2DView(name="x0", origin="/video/x0")
        events = views.TextLogView(name="events", origin="/events")
        return views.Blueprint(
            views.Vertical(pictures, views.Grid(*charts), events, row_shares=[1, 3, 1]), collapse_panels=True
        )

    def stage(self, stage: StageData) -> None:
        pass

    def step(self, step: ExportedStep) -> None:
        rr = self._library
        self._at(step.run_step, step.time)
        self._recording.log("stage", rr.Scalars([step.stage.index]))
        for tag, info, part in tagged(step):
            if is_scalar(info):
                self._recording.log(tag, rr.Scalars(part.astype(float)))
            elif len(part):
                self._recording.log(tag, rr.BarChart(part))

    def _at(self, step: int, time: float) -> None:
        self._recording.set_time(STEP, sequence=step)
        if math.isfinite(time):
            self._recording.set_time(TIME, timestamp=time)

    def picture(self, picture: Picture) -> None:
        self._recording.disable_timeline(TIME)
        self._recording.set_time(STEP, sequence=picture.run_step)
        self._recording.log(picture.name, self._library.Image(picture.strip))

    def event(self, event: Message, run_step: int) -> None:
        rr = self._library
        self._at(run_step, event["time"])
        level = getattr(rr.TextLogLevel, _LEVELS.get(event["kind"], "INFO"))
        self._recording.log(f"events/{event['kind']}", rr.TextLog(event_line(event), level=level))

    def sample(self, sample: Message, run_step: int) -> None:
        self._at(run_step, sample["time"])
        for name, value in sample["values"].items():
            if name in QUANTITIES:
                self._recording.log(f"load/{name}", self._library.Scalars([float(value)]))

    def end(self, run: Run) -> None:
        rr = self._library
        known = {**settings(run), "run": run.name, "status": status(run), "summary": summary(run)}
        text = json.dumps(json.loads(as_json(known)), indent=2, ensure_ascii=False)
        document = rr.TextDocument(f"```\n{text}\n```", media_type="text/markdown")
        self._recording.log("settings", document, static=True)
        self._recording.send_property("settings", rr.AnyValues(**{_field(k): v for k, v in flat(known).items()}))
        self._finish()

    def flush(self) -> None:
        if self._recording is not None:
            self._recording.flush()

    def _finish(self) -> None:
        recording, self._recording = self._recording, None
        if recording is not None:
            recording.flush()
            recording.disconnect()

    def close(self) -> None:
        self._finish()


def _field(name: str) -> str:
    """A name that a component of rerun may have."""
    return "".join(c if c.isascii() and (c.isalnum() or c == "_") else "_" for c in name) or "_"
