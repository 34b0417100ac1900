"""Runs as event files of TensorBoard, through tensorboardX."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recorder.format import paths
from recorder.format.declarations import QUANTITIES
from recorder.format.protocol import Message
from replay.export.metadata import as_json, event_line, flat, settings, stage_settings, status, summary
from replay.export.problems import library
from replay.export.steps import ExportedStep, Picture, scalars, vectors
from replay.model.run import Run, StageData
from replay.page.png import png

EXTRA: Final = "tensorboard"
_FLOAT: Final = 1
"""`DT_FLOAT` of TensorFlow's types."""


class TensorBoardTarget:
    """A folder of event files per run, which TensorBoard shows as a run of that name.

    Scalars are `video/velocity_rms` over the steps of the run, the load is `load/process_cpu`. Spectra, channels and
    frames are tensors of the same kind of name; TensorBoard keeps them and has no panel for them. Pictures are images
    `video/x0`, settings are hyperparameters and a text, events are texts.
    """

    wants_pictures = True

    def __init__(self, folders: Iterable[Path]) -> None:
        """Raises MissingLibrary.

        Args:
            folders: one per run, in the order of the runs.
        """
        self._folders = iter(folders)
        self._library = library("tensorboardX", EXTRA)
        self._summaries: Any = library("tensorboardX.summary", EXTRA)
        self._messages: Any = library("tensorboardX.proto.summary_pb2", EXTRA)
        self._tensors: Any = library("tensorboardX.proto.tensor_pb2", EXTRA)
        self._shapes: Any = library("tensorboardX.proto.tensor_shape_pb2", EXTRA)
        self._writer: Any = None
        self._time = 0.0

    def begin(self, run: Run) -> None:
        self._time = float(run.header.get("time", 0.0))
        self._writer = self._library.SummaryWriter(logdir=str(next(self._folders)))

    def stage(self, stage: StageData) -> None:
        text = f"    {as_json(stage_settings(stage))}"  # indented: as it is, in the Markdown of TensorBoard
        self._writer.add_text(f"settings/{paths.stage(stage.index)}", text, 0, walltime=self._time)

    def step(self, step: ExportedStep) -> None:
        self._time = step.time if math.isfinite(step.time) else self._time
        for tag, value in {"stage": float(step.stage.index), **scalars(step)}.items():
            self._scalar(tag, value, step.run_step, self._time)
        for tag, values in vectors(step).items():
            self._add(self._tensor(tag, values), step.run_step)

    def _scalar(self, tag: str, value: float, step: int, time: float) -> None:
        """Not by `add_scalar`, which prints a line for each value that is not finite."""
        made = self._messages.Summary(value=[self._messages.Summary.Value(tag=tag, simple_value=value)])
        self._writer.file_writer.add_summary(made, step, walltime=time)

    def _tensor(self, tag: str, values: NDArray[np.float32]) -> Any:
        shape = self._shapes.TensorShapeProto(dim=[self._shapes.TensorShapeProto.Dim(size=len(values))])
        content = np.ascontiguousarray(values, "<f4").tobytes()
        tensor = self._tensors.TensorProto(dtype=_FLOAT, tensor_shape=shape, tensor_content=content)
        return self._messages.Summary(value=[self._messages.Summary.Value(tag=tag, tensor=tensor)])

    def picture(self, picture: Picture) -> None:
        strip = picture.strip
        rows, columns, depth = strip.shape
        made = self._messages.Summary.Image(
            height=rows, width=columns, colorspace=depth, encoded_image_string=png(strip)
        )
        value = self._messages.Summary.Value(tag=picture.name, image=made)
        self._add(self._messages.Summary(value=[value]), picture.run_step)

    def event(self, event: Message, run_step: int) -> None:
        line = event_line(event)
        self._writer.add_text(f"events/{event['kind']}", f"    {line}", run_step, walltime=event["time"])

    def sample(self, sample: Message, run_step: int) -> None:
        for name, value in sample["values"].items():
            if name in QUANTITIES:
                self._scalar(f"load/{name}", float(value), run_step, sample["time"])

    def end(self, run: Run) -> None:
        found = summary(run)
        for tag, value in found.items():
            self._scalar(f"summary/{tag}", value, run.steps, self._time)
        known = {**settings(run), "run": run.name, "status": status(run)}
        self._writer.add_text("settings/run", f"    {as_json(known)}", 0, walltime=self._time)
        for made in self._summaries.hparams(flat(known), {f"summary/{tag}": value for tag, value in found.items()}):
            self._add(made, None)
        self._finish()

    def _add(self, made: Any, step: int | None) -> None:
        self._writer.file_writer.add_summary(made, step, walltime=self._time)

    def flush(self) -> None:
        if self._writer is not None:
            self._writer.flush()

    def _finish(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()

    def close(self) -> None:
        self._finish()
