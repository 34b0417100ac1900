"""The targets of an export by name: where each writes, and what it refuses to write over."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, Final

from recorder.format.locations import safe_name
from recorder.system.open_folders import make_folders, replaceable
from replay.export import tracker_services
from replay.export.names import ALL, TABLES
from replay.export.problems import ExportProblem, library
from replay.export.rerun_recording import RerunTarget
from replay.export.steps import Target
from replay.export.table_files import CsvFile, Opened, ParquetFile, TableTarget, new_file
from replay.export.tables import RowBuilder, TableColumn, builder
from replay.export.tensorboard import TensorBoardTarget
from replay.export.trackers import Tracker, TrackerTarget
from replay.model.run import Run

STDOUT: Final = Path("-")
_PART: Final = ".part"
_EVENT_FILES: Final = "events.out.tfevents.*"


@dataclass(frozen=True)
class Wanted:
    """What is to be exported where.

    `names` are those of the runs. `output` is a file, a folder or `-`; None for the usual place. `table` is one of
    `TABLES`, or `all`. With `follow` a table is written where it can be read meanwhile.
    """

    to: str
    names: Sequence[str]
    output: Path | None = None
    table: str = "steps"
    wide: bool = True
    follow: bool = False
    overwrite: bool = False
    project: str = "ltxtui"
    offline: bool = False
    stdout: IO[str] | None = None
    """What `-` means; stays open."""


@dataclass
class Prepared:
    """A target that is ready, and the places that it writes to.

    `runs` is to be filled with the runs before the first of them begins where `needs_runs` is set: the columns of a
    table are those of all runs.
    """

    target: Target
    places: Callable[[], list[str]]
    needs_runs: bool = False
    runs: list[Run] = field(default_factory=list)
    settle: Callable[[], None] = lambda: None
    """Gives files their names, once they are complete."""
    discard: Callable[[], None] = lambda: None
    """Removes files that are not complete."""


def prepared(wanted: Wanted) -> Prepared:
    """The target that is wanted; nothing is written yet.

    Raises:
        ExportProblem: if its library is missing, something exists at the place, or the place does not fit.
        OSError: if a folder cannot be made.
    """
    if wanted.to in ("csv", "parquet"):
        return _tables(wanted)
    if wanted.to in (tracker_services.WANDB, tracker_services.TRACKIO):
        return _tracker(wanted)
    return _tensorboard(wanted) if wanted.to == "tensorboard" else _rerun(wanted)


def _tables(wanted: Wanted) -> Prepared:
    if wanted.to == "parquet":
        library("pyarrow.parquet", "parquet")
    names = TABLES if wanted.table == ALL else (wanted.table,)
    builders = [builder(name, wide=wanted.wide) for name in names]
    runs: list[Run] = []
    if wanted.output == STDOUT:
        if wanted.to != "csv" or wanted.table == ALL:
            raise ExportProblem("standard output takes one table, as CSV; give a name with --output")
        return Prepared(
            TableTarget([(builders[0], partial(CsvFile, wanted.stdout or sys.stdout, keep=True))], runs),
            list,
            not wanted.follow,
            runs,
        )
    paths = _table_paths(wanted, names)
    for path in paths:
        _refuse_existing(path, wanted.overwrite)
    direct = wanted.follow and wanted.to == "csv"
    places = [None if direct else replaceable(path) for path in paths]
    written = [path if place is None else _part(place) for path, place in zip(paths, places, strict=True)]
    opened: list[tuple[RowBuilder, Opened]] = [
        (made, partial(_open_table, wanted.to, path, replace=wanted.overwrite or not direct))
        for made, path in zip(builders, written, strict=True)
    ]

    def settle() -> None:
        for place in filter(None, places):
            _part(place).replace(place)

    def discard() -> None:
        for place in filter(None, places):
            _part(place).unlink(missing_ok=True)

    target = TableTarget(opened, runs)
    return Prepared(target, lambda: [os.fspath(p) for p in paths], not wanted.follow, runs, settle, discard)


def _table_paths(wanted: Wanted, names: Sequence[str]) -> list[Path]:
    suffix, output = f".{wanted.to}", wanted.output
    stem = safe_name(wanted.names[0]) if len(wanted.names) == 1 else "runs"
    if wanted.table == ALL:
        folder = output or Path(f"{stem}-tables")
        make_folders(folder)
        return [folder / f"{name}{suffix}" for name in names]
    named = f"{stem}{suffix}" if wanted.table == "steps" else f"{stem}-{wanted.table}{suffix}"
    if output is None:
        return [Path(named)]
    return [output / named if output.is_dir() else output]


def _part(place: Path) -> Path:
    """What a table is written to until it is complete."""
    return place.with_name(place.name + _PART)


def _open_table(to: str, path: Path, columns: list[TableColumn], *, replace: bool) -> CsvFile | ParquetFile:
    return CsvFile(new_file(path, replace=replace), columns) if to == "csv" else ParquetFile(path, columns)


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.is_dir() or (path.exists() and not overwrite):
        how = "choose another name with --output" + ("" if path.is_dir() else ", or replace it with --overwrite")
        raise ExportProblem(f"{path} exists; {how}")


def _tensorboard(wanted: Wanted) -> Prepared:
    paths = [(wanted.output or Path("tensorboard")) / name for name in _distinct(wanted.names)]
    target = TensorBoardTarget(paths)
    for path in paths:
        old = sorted(path.glob(_EVENT_FILES))
        if old and not wanted.overwrite:
            raise ExportProblem(
                f"{path} has a run; choose another folder with --output, or replace it with --overwrite"
            )
        for file in old:
            file.unlink()
    return Prepared(target, lambda: [os.fspath(path) for path in paths])


def _rerun(wanted: Wanted) -> Prepared:
    names = [f"{name}.rrd" for name in _distinct(wanted.names)]
    output = wanted.output or Path()
    if len(names) > 1 and not output.is_dir():
        make_folders(output)
    paths = [output / name for name in names] if output.is_dir() else [output]
    target = RerunTarget(paths)
    for path in paths:
        _refuse_existing(path, wanted.overwrite)
    return Prepared(target, lambda: [os.fspath(path) for path in paths])


def _tracker(wanted: Wanted) -> Prepared:
    made: Tracker
    if wanted.to == tracker_services.WANDB:
        made = tracker_services.wandb(wanted.project, wanted.output, offline=wanted.offline)
    else:
        made = tracker_services.trackio(wanted.project, wanted.output)
    target = TrackerTarget(made)
    return Prepared(target, lambda: target.places)


def _distinct(names: Sequence[str]) -> list[str]:
    """Names of files, each once: two folders may have runs of one name."""
    found: list[str] = []
    for name in names:
        safe = safe_name(name)
        count = 1
        while (given := safe if count == 1 else f"{safe}-{count}") in found:
            count += 1
        found.append(given)
    return found
