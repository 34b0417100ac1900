"""Parquet, read back by pyarrow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.bridges.conftest import Exported
from tests.replay import exported

parquet = pytest.importorskip("pyarrow.parquet", reason="needs the extra parquet: make bridges")


def test_every_value_with_its_unit_in_the_wide_table(export: Exported, archive: Path) -> None:
    assert export("--to", "parquet") == f"{exported.NAME}.parquet\n"
    table = parquet.read_table(f"{exported.NAME}.parquet")
    run, expected = exported.expected(archive)
    assert table.num_rows == 48
    for row in table.to_pylist():
        for name, info in run.stages[0].streams[row["stream"]].metrics.items():
            values = expected[row["run_step"]]
            tag = f"{row['stream']}/{name}"
            wanted = values[tag] if tag in values else values[f"{tag}/{row['item']}"]
            np.testing.assert_array_equal(np.float32(np.atleast_1d(row[name])), wanted, err_msg=name)
            assert table.schema.field(name).metadata[b"unit"].decode() == info.unit
    assert str(table.schema.field("sigma").type) == "float" and str(table.schema.field("step").type) == "int64"
    assert str(table.schema.field("spectrum_x").type).startswith("list<")


def test_every_value_in_the_long_table_and_all_others(export: Exported, archive: Path) -> None:
    printed = export("--to", "parquet", "--layout", "long", "--table", "all", "-o", "all")
    assert len(printed.splitlines()) == 6
    _, expected = exported.expected(archive)
    found = parquet.read_table("all/steps.parquet").to_pydict()
    count = sum(len(values) for row in expected.values() for values in row.values())
    assert len(found["value"]) == count
    tags = [
        f"{stream}/{metric}" + ("" if item is None else f"/{item}")
        for stream, metric, item in zip(found["stream"], found["metric"], found["item"], strict=True)
    ]
    for step, tag, index, value in zip(found["run_step"], tags, found["index"], found["value"], strict=True):
        np.testing.assert_array_equal(np.float32(value), expected[step][tag][index or 0], err_msg=tag)
    events = parquet.read_table("all/events.parquet").to_pylist()
    assert [json.loads(e["payload"]) for e in events if e["kind"] == "shock"] == [exported.NOISE] * 2
    (run,) = parquet.read_table("all/runs.parquet").to_pylist()
    assert run["status"] == "complete" and json.loads(run["settings"])["prompt"] == 'a "red" ball,\nσ ≤ 1'


def test_several_runs_and_no_overwriting(export: Exported, archive: Path, tmp_path: Path) -> None:
    other = exported.archive(tmp_path, "other", steps=4, batch=1)
    export("--to", "parquet", "-o", "both.parquet", runs=(archive, other))
    assert set(parquet.read_table("both.parquet")["run"].to_pylist()) == {exported.NAME, "other"}
    assert "both.parquet exists" in export("--to", "parquet", "-o", "both.parquet", status=1)
    export("--to", "parquet", "-o", "both.parquet", "--overwrite", "--follow")
    assert set(parquet.read_table("both.parquet")["run"].to_pylist()) == {exported.NAME}
    assert not list(tmp_path.glob("*.part"))
