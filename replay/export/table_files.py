"""Tables of an export as files: CSV, which needs no library, and Parquet."""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, Any, Final, Protocol

import numpy as np

from recorder.format.protocol import Message
from recorder.system.open_folders import FILE_MODE
from replay.export.metadata import printable, valid
from replay.export.problems import library
from replay.export.steps import ExportedStep, Picture
from replay.export.tables import NO_ROWS, Row, RowBuilder, TableColumn
from replay.model.run import Run, StageData

ROW_GROUP: Final = 8192
"""Rows that a Parquet file gets at once."""
_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")


class TableFile(Protocol):
    """A file that takes rows."""

    def write(self, rows: Iterable[Row]) -> None: ...

    def flush(self) -> None: ...

    def close(self) -> None: ...


Opened = Callable[[list[TableColumn]], TableFile]


class TableTarget:
    """Writes tables; the file of each is opened once its columns are known, which `runs` lists the runs for."""

    wants_pictures = False

    def __init__(self, tables: Sequence[tuple[RowBuilder, Opened]], runs: Sequence[Run] = ()) -> None:
        self._tables = tables
        self._runs = list(runs)
        self._files: dict[int, TableFile] = {}
        self._run = Run()

    def begin(self, run: Run) -> None:
        self._run = run
        if not self._runs:
            self._runs = [run]

    def stage(self, stage: StageData) -> None:
        pass

    def step(self, step: ExportedStep) -> None:
        self._write(lambda builder: builder.of_step(self._run, step))

    def picture(self, picture: Picture) -> None:
        pass

    def event(self, event: Message, run_step: int) -> None:
        self._write(lambda builder: builder.of_event(self._run, event))

    def sample(self, sample: Message, run_step: int) -> None:
        self._write(lambda builder: builder.of_sample(self._run, sample))

    def end(self, run: Run) -> None:
        self._write(lambda builder: builder.of_end(run))

    def flush(self) -> None:
        for file in self._files.values():
            file.flush()

    def close(self) -> None:
        try:
            for number in range(len(self._tables)) if self._runs else ():
                self._file(number)  # a table without rows has columns
        finally:
            for file in self._files.values():
                file.close()

    def _write(self, rows: Callable[[RowBuilder], Iterable[Row]]) -> None:
        for number, (builder, _) in enumerate(self._tables):
            if (found := rows(builder)) is not NO_ROWS:
                self._file(number).write(found)

    def _file(self, number: int) -> TableFile:
        if number not in self._files:
            builder, opened = self._tables[number]
            self._files[number] = opened(builder.columns(self._runs))
        return self._files[number]


class CsvFile:
    """A table as CSV in UTF-8.

    A missing value is an empty cell. Numbers are as short as their precision allows; those that are not finite are
    `nan`, `inf` and `-inf`. A list is a JSON list, in which `1e999` stands for infinity and `null` for NaN. Text that a
    spreadsheet would take for a formula is quoted, as it comes from the run.
    """

    def __init__(self, file: IO[str], columns: Sequence[TableColumn], *, keep: bool = False) -> None:
        """
        Args:
            file: takes the text.
            columns: of the table.
            keep: leave the file open.
        """
        self._file, self._keep = file, keep
        self._writer = csv.writer(file, lineterminator="\n")
        self._writer.writerow([column.name for column in columns])

    def write(self, rows: Iterable[Row]) -> None:
        self._writer.writerows([_cell(value) for value in row] for row in rows)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.flush()
        if not self._keep:
            self._file.close()


def _cell(value: object) -> object:
    if isinstance(value, str):
        text = printable(value)
        return f"'{text}" if text.startswith(_FORMULAS) else text
    if isinstance(value, np.ndarray):
        return f"[{','.join(map(_number, value))}]"
    return value


def _number(value: np.float32) -> str:
    if math.isfinite(value):
        return str(value)
    return "null" if math.isnan(value) else "1e999" if value > 0 else "-1e999"


class ParquetFile:
    """A table as Parquet, compressed with zstd; units and descriptions are in the metadata of its fields."""

    def __init__(self, path: Path, columns: Sequence[TableColumn]) -> None:
        """Raises MissingLibrary or OSError."""
        self._arrow = library("pyarrow", "parquet")
        parquet = library("pyarrow.parquet", "parquet")
        self._columns = columns
        self._schema = self._arrow.schema([self._field(column) for column in columns])
        self._rows: list[Row] = []
        self._writer = parquet.ParquetWriter(os.fspath(path), self._schema, compression="zstd")

    def _field(self, column: TableColumn) -> Any:
        arrow = self._arrow
        kinds = {
            "text": arrow.string(), "integer": arrow.int64(), "double": arrow.float64(), "single": arrow.float32(),
            "list": arrow.list_(arrow.float32()),
        }  # fmt: skip
        known = {"unit": column.unit, "description": column.description}
        return arrow.field(column.name, kinds[column.kind], metadata={k: v for k, v in known.items() if v})

    def write(self, rows: Iterable[Row]) -> None:
        self._rows.extend(rows)
        if len(self._rows) >= ROW_GROUP:
            self._write_group()

    def _write_group(self) -> None:
        by_column = zip(*self._rows, strict=True) if self._rows else ()
        arrays = [
            self._arrow.array([valid(v) if isinstance(v, str) else v for v in values], field.type)
            for values, field in zip(by_column, self._schema, strict=False)
        ]
        if arrays:
            self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))
        self._rows = []

    def flush(self) -> None:
        """A Parquet file can be read once it is closed."""

    def close(self) -> None:
        try:
            self._write_group()
        finally:
            self._writer.close()


def new_file(path: Path, *, replace: bool) -> IO[str]:
    """Open a CSV file for writing.

    Raises:
        OSError: if it cannot be written; FileExistsError if it exists and is not to be replaced.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if replace else os.O_EXCL)
    return os.fdopen(os.open(path, flags, FILE_MODE), "w", encoding="utf-8", newline="")
