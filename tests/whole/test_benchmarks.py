"""The commands that the figures of docs/benchmarks.md come from, at tiny sizes."""

from __future__ import annotations

import json
import struct
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import bigfolder, claims, panels, rules, soak, soak_helpers, zarr_python
from benchmarks.peers import WIDTH, tools
from benchmarks.peers.__main__ import table
from benchmarks.peers.child import made_up
from benchmarks.peers.ours import Ours
from benchmarks.peers.record_files import leveldb_records, tf_records
from benchmarks.peers.rows import named, unnamed
from recorder.format import locations


def test_rows_put_beside_the_peers_are_read_back_exactly(tmp_path: Path) -> None:
    rows = made_up(70)
    ours = Ours()
    ours.open(tmp_path, len(rows))
    for i, row in enumerate(rows):
        ours.log(i, row)
    ours.close()
    assert not list(tmp_path.glob("*" + locations.JOURNAL_SUFFIX))
    assert np.array_equal(ours.read(tmp_path), rows)


def test_zarr_rows_are_read_back_exactly(tmp_path: Path) -> None:
    rows = made_up(3)
    plain = tools.PlainZarr()
    plain.open(tmp_path, len(rows))
    for i, row in enumerate(rows):
        plain.log(i, row)
    assert np.array_equal(plain.read(tmp_path), rows)


def test_torn_logs_of_peers_give_their_whole_records() -> None:
    event = struct.pack("<QI", 3, 0) + b"abc" + bytes(4)
    assert list(tf_records(2 * event + event[:-5])) == [b"abc", b"abc"]
    header, first, last = bytes(7), struct.pack("<IHB", 0, 2, 2) + b"ab", struct.pack("<IHB", 0, 1, 4) + b"c"
    assert list(leveldb_records(header + first + last + first)) == [b"abc"]


def test_a_row_as_a_dictionary_and_back() -> None:
    row = made_up(1)[0]
    assert np.array_equal(np.array(unnamed(named(row)), np.float32), row) and row.size == WIDTH


def test_the_table_shows_ratios_to_ours() -> None:
    figures = {"median_us": 2.0, "p99_us": 9.0, "total_s": 1.0, "bytes": 1024, "disk_bytes": 4096, "read_s": 0.5}
    lost = {"lost": [0, 4, 2], "lost_fast": [0], "lost_paced": []}
    twice = {k: 2 * v for k, v in figures.items()}
    text = table({"ours": {**figures, **lost}, "other": {**twice, **lost}}).splitlines()
    assert [cell.strip() for cell in text[2].split("|")][:3] == ["ours", "2.0", "9"]
    assert [cell.strip() for cell in text[3].split("|")][:2] == ["other", "4.0 (2×)"] and "2 (≤ 4)" in text[3]


def test_a_soak_of_a_few_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    helper = soak.Helper
    # A second viewer in place of the dashboard, which takes its time to start.
    monkeypatch.setattr(soak, "Helper", lambda role, *rest: helper(role.replace("dashboard", "viewer"), *rest))
    found = soak.soak(tmp_path, 24, previews=True)
    assert found["steps"] == found["viewer"]["rows"] == found["dashboard"]["rows"] == found["opened"]["rows"] == 24
    assert found["viewer"]["gaps"] == 0 and found["archive_bytes"] > 0 and len(found["samples"]) == 24
    soak.report(found)
    assert "24 in" in capsys.readouterr().out


def test_makers_share_dry_jobs(tmp_path: Path, capsys: Any) -> None:
    claims.run(tmp_path, 4, 60, killed=1)
    said = capsys.readouterr().out
    assert "60 of 60, marked 60, twice 0" in said and "4 makers on a sweep of 60 dry jobs" in said


def test_many_stages_and_runs_leave_nothing_behind(tmp_path: Path) -> None:
    stages = soak_helpers.many_stages(tmp_path / "stages", 3)
    runs = soak_helpers.many_runs(tmp_path / "runs", 3)
    assert len(stages["ms_per_stage"]) == len(runs["ms_per_run"]) == 2
    # The process has threads of libraries too, which come when they like.
    assert not [t.name for t in threading.enumerate() if t.name.startswith("ltxtui")]
    assert runs["late"]["files"] <= runs["early"]["files"] and runs["late"]["socket_paths"] == 0


def test_memory_is_fitted_over_the_last_half() -> None:
    rest = (0.0, 0.0, 0.0)
    samples = [soak.Sample(1000 * i, *rest, 9000 if i < 5 else 100 + 2 * i, 1, 1, 0, 0, 0, 0, 0.0) for i in range(10)]
    assert soak.slope(samples, "rss_kb") == pytest.approx(2)


def test_our_writer_and_zarr_python_are_measured_on_equal_archives(capsys: pytest.CaptureFixture[str]) -> None:
    zarr_python.main(["--arrays", "4", "--repeats", "1"])
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| create", "| write chunks", "| consolidate", "| write in all", "| read", "| import",
    ]  # fmt: skip
    assert all("×" in line for line in lines[2:])


def test_both_sides_write_the_same_documents(tmp_path: Path) -> None:
    groups, arrays = zarr_python.hierarchy(3)
    for side, write in zarr_python.WRITERS.items():
        assert len(list(write(tmp_path / side, groups, arrays))) == 3
    for file in (tmp_path / "ours").rglob("zarr.json"):
        for side in zarr_python.WRITERS:
            other = tmp_path / side / file.relative_to(tmp_path / "ours")
            assert json.loads(other.read_text()) == json.loads(file.read_text()), other


def test_blocks_of_a_run_hold_its_rows_and_the_last_come_alone() -> None:
    messages = panels.long_run(10, 10)
    blocks = list(rules.in_blocks(messages, 4, single=2))
    assert [[m.get("count", 1) for m in block] for block in blocks[1:]] == [[4, 4], [4, 4], [1, 1], [1, 1]]
    whole = [m for m in messages if m["t"] == "step"]
    for at, message in enumerate(whole):
        assert b"".join(block[at]["data"] for block in blocks[1:]) == message["data"]


def test_what_many_runs_cost_is_measured_at_a_tiny_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The list without a screen, and the commands; home in a terminal takes too long here."""
    monkeypatch.setattr(bigfolder, "home", lambda folder, count: [])
    bigfolder.run(tmp_path, 12)
    said = capsys.readouterr().out
    assert "A folder of 12 runs" in said and "filters, without the screen" in said
    assert said.count("MB at its highest") == 3 and not (tmp_path / "many").exists()


def test_what_rules_cost_is_measured_at_a_tiny_size(tmp_path: Path) -> None:
    found = dict(rules.live(steps=210))
    assert len(found) == 5 and all(found.values())
    assert [name for name, _ in rules.lists(tmp_path, 2)] == ["from stored verdicts", "examined", "ratio"]
