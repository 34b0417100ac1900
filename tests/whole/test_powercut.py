"""The parts of `make powercut` that need neither root nor a disk."""

from __future__ import annotations

import argparse
import os
import random
from pathlib import Path
from typing import Any

import pytest

from benchmarks import powercut
from benchmarks.powercut_verdict import Cut, Trial, Verdict, look_at, missing, promised, table
from recorder.format import locations
from recorder.format.framing import encode
from tests import recorded
from tests.ltxtui import fake

VIDEO, AUDIO = (0, "video"), (0, "audio")
NAME = "20261122-143015-red-disc"


def made(had: dict[tuple[int, str], int], settled: bool = False) -> Cut:
    return Cut(Path("x"), 1.0, "steps", had, settled)


def test_moments_are_spread_over_their_span() -> None:
    found = powercut.moments(20, 2.0, 4.0, random.Random(0))
    assert len(found) == 20 and all(2 + i / 10 <= m <= 2.1 + i / 10 for i, m in enumerate(found))


def test_there_are_forty_cuts_at_least_among_steps_and_after() -> None:
    assert sum(powercut.CUTS.values()) >= 40 and min(powercut.CUTS.values()) >= 10 and powercut.AFTER_SECONDS >= 60


def test_what_is_promised() -> None:
    had = {VIDEO: 5, AUDIO: 4}
    assert missing(had, {VIDEO: 5, AUDIO: 9}) == 0 and missing(had, {VIDEO: 3}) == 6 and missing({}, {}) == 0
    assert promised(True, made(had), {VIDEO: 5, AUDIO: 4}, 9) == []
    assert promised(True, made(had), {VIDEO: 5, AUDIO: 3}, 0) == ["1 rows that a viewer had are missing, with sync"]
    assert promised(False, made(had), {}, 0) == [], "nothing is forced in mid-run"
    assert promised(False, made(had), {}, 3) == ["0 rows, 3 at an earlier cut"]
    assert promised(False, made(had, settled=True), {VIDEO: 5}, 0) == ["4 rows are missing though the journal was gone"]


def test_what_a_cut_left_is_looked_at_as_readers_see_it(tmp_path: Path) -> None:
    messages = list(fake.messages(6, end=None, name=NAME))
    seen: dict[tuple[int, str], list[bytes]] = {}
    for message in messages:
        if message["t"] == "step":
            seen.setdefault((message["stage"], message["stream"]), []).append(message["data"])
    trial = Trial("ext4", True, Path("i"), Path("m"), rows=seen)
    path = tmp_path / f"{NAME}.zarr"
    locations.journal_of(path).write_bytes(b"".join(map(encode, messages)))
    verdict = Verdict({}, "journal")
    look_at(trial, path, verdict)
    assert verdict.rows == {key: len(rows) for key, rows in seen.items()} and verdict.broken == []
    seen[VIDEO][2] = bytes(len(seen[VIDEO][2]))
    verdict = Verdict({}, "archive")
    look_at(trial, path, verdict)
    assert verdict.broken == ["a different row of stage_0/video than the viewer had"]


def test_an_archive_that_only_says_that_it_is_complete_is_told(tmp_path: Path) -> None:
    path = recorded.archive(tmp_path, NAME)
    os.truncate(path / "stage_0/video/sigma/c/0", 0)
    verdict = Verdict({}, "archive")
    look_at(Trial("xfs", False, Path("i"), Path("m")), path, verdict)
    assert len(verdict.broken) == 1 and verdict.broken[0].startswith("complete but not sound: stage_0/video/sigma/c/0")


def test_a_line_for_each_recording() -> None:
    trial = Trial("ext4", True, Path("i"), Path("m"), cuts=[made({VIDEO: 5}), made({VIDEO: 9}, settled=True)])
    trial.cuts[1].phase = "after"
    lines = table([trial], {"ext4 sync": [Verdict({VIDEO: 3}, "journal"), Verdict({VIDEO: 9}, "archive")]})
    assert lines[1].split() == ["ext4", "yes", "2", "1", "14", "2", "1", "0", "1", "0", "2", "rows"]


def test_without_root_it_says_why_it_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    given: Any = argparse.Namespace(only=["ext4"], seed=0)
    assert powercut.run_trials(tmp_path, given) == 0
    assert capsys.readouterr().out == "left out: only root can mount file systems\n"
