"""The tables of an export: their columns, and their rows from the parts of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from recorder.format.declarations import QUANTITIES
from recorder.format.protocol import Message
from replay.export.metadata import as_json, iso, settings, stage_settings, status, summary_unit, valid
from replay.export.problems import ExportProblem
from replay.export.steps import BATCH, ExportedStep, StreamRow, is_scalar, items
from replay.model.declarations import MetricInfo
from replay.model.run import Run

Kind = Literal["text", "integer", "double", "single", "list"]
Row = list[object]
NO_ROWS: Final[tuple[Row, ...]] = ()


@dataclass(frozen=True)
class TableColumn:
    """A column of a table; `single` and `list` hold float32, as recorded. None stands for a missing value."""

    name: str
    kind: Kind
    unit: str = ""
    description: str = ""


class RowBuilder:
    """Makes the rows of one table; the parts of a run that it has no rows for give none."""

    def columns(self, runs: Sequence[Run]) -> list[TableColumn]:
        """The columns, known once the streams of the runs are declared."""
        raise NotImplementedError

    def of_step(self, run: Run, step: ExportedStep) -> Iterable[Row]:
        return NO_ROWS

    def of_event(self, run: Run, event: Message) -> Iterable[Row]:
        return NO_ROWS

    def of_sample(self, run: Run, sample: Message) -> Iterable[Row]:
        return NO_ROWS

    def of_end(self, run: Run) -> Iterable[Row]:
        return NO_ROWS


def _texts(*names: str) -> list[TableColumn]:
    return [TableColumn(name, "text") for name in names]


def _integers(*names: str) -> list[TableColumn]:
    return [TableColumn(name, "integer") for name in names]


_TIME: Final = TableColumn("time", "double", "s", "Unix time")
_PLACE: Final = [
    TableColumn("run", "text"),
    TableColumn("stage", "integer", description="denoising loop, counted from 0"),
    TableColumn("stream", "text"),
    TableColumn("step", "integer", description="step of the stage, counted from 0"),
    TableColumn("run_step", "integer", description="step over all stages, counted from 0"),
    _TIME,
]
_ITEM: Final = TableColumn("item", "integer", description="clip of the batch, counted from 0")


class WideSteps(RowBuilder):
    """A row per step, stream and batch item, a column per metric.

    What is measured of a whole step, such as sigma, is repeated for each item. A metric with several values per item,
    such as a spectrum, is a list.
    """

    def __init__(self) -> None:
        self._metrics: dict[str, TableColumn] = {}

    def columns(self, runs: Sequence[Run]) -> list[TableColumn]:
        for run in runs:
            for stage in run.stages:
                for stream in stage.streams.values():
                    for info in stream.metrics.values():
                        known = self._metrics.get(info.name)
                        if known is None or (known.kind == "single" and not is_scalar(info)):
                            kind: Kind = "single" if is_scalar(info) else "list"
                            self._metrics[info.name] = TableColumn(info.name, kind, info.unit, info.description)
        return [*_PLACE, _ITEM, *self._metrics.values()]

    def of_step(self, run: Run, step: ExportedStep) -> Iterator[Row]:
        for stream, row in step.rows.items():
            known = {name: items(row.metrics[name], values) for name, values in row.values.items()}
            if not known.keys() <= self._metrics.keys():
                raise ExportProblem(
                    f"stage {step.stage.index} of {run.name} has metrics that earlier ones lack, which a table that is "
                    "written already has no columns for; use --layout long, or export the run once it has ended"
                )
            numbers = sorted({item for found in known.values() for item, _ in found if item is not None}) or [0]
            for number in numbers:
                cells = (self._cell(name, known.get(name, []), number) for name in self._metrics)
                yield [*_place(run, step, stream, row), number, *cells]

    def _cell(self, name: str, found: list[tuple[int | None, NDArray[np.float32]]], number: int) -> object:
        values = next((part for item, part in found if item is None or item == number), None)
        if values is None:
            return None
        if self._metrics[name].kind == "list":
            return values
        return values[0] if len(values) else None


class LongSteps(RowBuilder):
    """A row per value: every metric of every step, with the item and the place along the metric's axis."""

    def columns(self, runs: Sequence[Run]) -> list[TableColumn]:
        return [
            *_PLACE,
            TableColumn("metric", "text"),
            _ITEM,
            TableColumn("axis", "text", description="such as channel, frame or spatial_frequency"),
            TableColumn("index", "integer", description="place along the axis, counted from 0"),
            TableColumn("coordinate", "double", description="what the axis has at this place, such as a frequency"),
            TableColumn("value", "single"),
            TableColumn("unit", "text"),
        ]

    def of_step(self, run: Run, step: ExportedStep) -> Iterator[Row]:
        for stream, row in step.rows.items():
            place = _place(run, step, stream, row)
            coordinates = step.stage.streams[stream].coordinates
            for name, values in row.values.items():
                info = row.metrics[name]
                axis = _axis(info)
                along = coordinates.get(axis, {}).get("values", ())
                for item, part in items(info, values):
                    if not axis:
                        yield from ([*place, name, item, None, None, None, value, info.unit] for value in part)
                        continue
                    for index, value in enumerate(part):
                        at = float(along[index]) if index < len(along) else None
                        yield [*place, name, item, axis, index, at, value, info.unit]


class StageRows(RowBuilder):
    """A row per denoising loop: what it was called with, and how far it got."""

    def columns(self, runs: Sequence[Run]) -> list[TableColumn]:
        settings = TableColumn("settings", "text", description="as JSON, with the planned sigmas")
        return [*_PLACE[:2], *_integers("call", "tile"), _TIME, *_integers("planned", "steps", "ended"), settings]

    def of_end(self, run: Run) -> Iterator[Row]:
        for s in run.stages:
            planned = [len(s.sigmas), s.steps, int(s.ended)]
            yield [run.name, s.index, s.call, s.tile, s.time, *planned, as_json(stage_settings(s))]


class SummaryRows(RowBuilder):
    """A row per summary of a stage: drift, straightness and so on, per stream and batch item."""

    def columns(self, runs: Sequence[Run]) -> list[TableColumn]:
        return [*_PLACE[:3], _ITEM, *_texts("summary"), TableColumn("value", "double"), *_texts("unit")]

    def of_end(self, run: Run) -> Iterator[Row]:
        for stage in run.stages:
            for stream, values in stage.summary.items():
                for name, found in values.items():
                    for item, value in enumerate(found):
                        yield [run.name, stage.index, stream, item, valid(name), value, summary_unit(name)]


class EventRows(RowBuilder):
    """A row per event: stages, shocks with the noise that they injected, NaN, warnings, errors."""

    def columns(self, runs: Sequence[Run]) -> list[TableColumn]:
        return [*_PLACE[:4], _TIME, *_texts("kind", "text", "payload")]

    def of_event(self, run: Run, event: Message) -> Iterator[Row]:
        stream = event.get("stream")
        yield [
            run.name, event.get("stage"), None if stream is None else valid(stream), event.get("step"), event["time"],
            valid(event["kind"]), valid(event.get("text", "")), as_json(event.get("payload") or {}),
        ]  # fmt: skip


class LoadRows(RowBuilder):
    """A row per value of a sample of the machine's load."""

    def columns(self, runs: Sequence[Run]) -> list[TableColumn]:
        return [_PLACE[0], _TIME, *_texts("quantity"), TableColumn("value", "double"), *_texts("unit")]

    def of_sample(self, run: Run, sample: Message) -> Iterator[Row]:
        for name, value in sample["values"].items():
            unit = QUANTITIES[name].unit if name in QUANTITIES else ""
            yield [run.name, sample["time"], name, float(value), unit]


class RunRows(RowBuilder):
    """A row per run: when, how it ended, and its settings."""

    def columns(self, runs: Sequence[Run]) -> list[TableColumn]:
        settings = TableColumn("settings", "text", description="as JSON")
        return [
            *[_PLACE[0], *_texts("started"), _TIME, *_texts("status", "error")],
            *[*_integers("stages", "steps"), settings],
        ]

    def of_end(self, run: Run) -> Iterator[Row]:
        time = float(run.header.get("time", "nan"))
        error = (run.end or {}).get("error")
        ended = [status(run), None if error is None else valid(error)]
        yield [run.name, iso(time), time, *ended, len(run.stages), run.steps, as_json(settings(run))]


def builder(table: str, *, wide: bool) -> RowBuilder:
    """The rows of one of `names.TABLES`; `wide` chooses the layout of `steps`."""
    made: dict[str, type[RowBuilder]] = {
        "steps": WideSteps if wide else LongSteps,
        "stages": StageRows,
        "summaries": SummaryRows,
        "events": EventRows,
        "load": LoadRows,
        "runs": RunRows,
    }
    return made[table]()


def _place(run: Run, step: ExportedStep, stream: str, row: StreamRow) -> Row:
    return [run.name, step.stage.index, stream, step.step, step.run_step, row.time]


def _axis(info: MetricInfo) -> str:
    """The axes of a metric besides step and batch, as one name; empty if there are none."""
    return "/".join(info.dims[2:] if info.dims[1:2] == (BATCH,) else info.dims[1:])
