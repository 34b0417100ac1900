"""Steps that could not be recorded: counted, and reported by the run itself, the list, the check and the command."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import xarray
from click.testing import CliRunner

from ltxtui.cli import cli
from ltxtui.panels import header
from recorder import record
from recorder.format import locations, protocol
from recorder.format.framing import encode
from recorder.format.run_status import missed_steps, standing
from recorder.metrics.full_precision import full_precision
from recorder.metrics.measures import MEASURES
from recorder.recipes import loading
from recorder.sampling import measure_step
from recorder.sampling.pipeline_loop import Schedule
from recorder.writing import journal_thread
from replay.integrity.check import check
from replay.integrity.repair import repair
from replay.library import listing
from replay.library.cache import ListingCache
from replay.model.run import Run
from replay.sources.open import Liveness, load
from tests.conftest import UNGUIDED, nano_call
from tests.faults.scenarios import SIGMAS, settle, steps


def fails(*_: Any, **__: Any) -> Any:
    raise RuntimeError("cannot be measured")


def listed(folder: Path) -> list[tuple[str, str, int, int]]:
    """What lists say of the runs of a folder, without and with their cache."""
    fresh = listing.list_runs(folder)
    cache = ListingCache(folder, folder.parent / "cache")
    for _ in range(2):
        assert listing.list_runs(folder, cache) == fresh
    return [(r.status, r.standing, r.steps, r.missed) for r in fresh]


def test_a_run_whose_every_step_failed_says_so_everywhere(
    pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(MEASURES, "mean", fails)
    plain = pipe(**nano_call(steps=3, **UNGUIDED))
    with record(pipe, runs_dir=tmp_path / "runs") as run:
        recorded = pipe(**nano_call(steps=3, **UNGUIDED))
    assert torch.equal(plain.frames, recorded.frames)
    said = "complete, nothing recorded"
    assert (run.status, run.standing, run.rows, run.missed, run.kept) == ("complete", said, 0, 6, True)
    assert any("has no row" in r.getMessage() for r in caplog.records)
    assert not locations.journal_of(run.path).exists()
    found = load(run.path)
    assert found.standing == said and found.missed == {"stage_0/video": 3, "stage_0/audio": 3}
    assert xarray.open_datatree(run.path, engine="zarr").attrs["missed"] == found.missed
    assert listed(tmp_path / "runs") == [("complete", said, 0, 3)]
    report = check(run.path)
    assert report.empty and report.word == "nothing recorded" and report.sound
    done = CliRunner().invoke(cli, ["runs", "--runs-dir", str(tmp_path / "runs"), "check", run.name])
    assert done.exit_code == 1 and "nothing recorded" in done.output and "sound" not in done.output
    assert "3 steps of stage_0/video could not be recorded" in done.output
    done = CliRunner().invoke(cli, ["runs", "--runs-dir", str(tmp_path / "runs")])
    assert said in done.output
    done = CliRunner().invoke(cli, ["runs", "--runs-dir", str(tmp_path / "runs"), "check", run.name, "--json"])
    (told,) = json.loads(done.output)["checked"]
    assert (told["sound"], told["empty"], told["status"]) == (False, True, "complete")


def test_some_missed_steps_are_counted_once_for_both_streams(
    pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = MEASURES["mean"], [0]

    def sometimes(step: Any) -> torch.Tensor:
        calls[0] += 1
        return fails() if calls[0] in (3, 4, 7) else real(step)

    monkeypatch.setitem(MEASURES, "mean", sometimes)
    with record(pipe, runs_dir=tmp_path / "runs") as run:
        pipe(**nano_call(steps=4, **UNGUIDED))  # video misses its second and last step, audio its second
    found = load(run.path)
    assert found.missed == {"stage_0/video": 2, "stage_0/audio": 1}
    assert run.standing == found.standing == "complete, 2 steps not recorded"
    assert listed(tmp_path / "runs") == [("complete", run.standing, 4, 2)]
    report = check(run.path)
    assert report.sound and not report.empty and report.word == "sound"
    assert "1 step of stage_0/audio could not be recorded" in report.notes
    deck: Any = SimpleNamespace(liveness=Liveness.FINISHED, loading=False, total=4, run=found)
    assert header.outcome(deck) == ("complete, 2 steps not recorded", "alert")


def test_steps_that_fail_before_they_are_measured_are_counted(
    pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recorder.sampling import tokens

    monkeypatch.setattr(tokens, "clip_layout", fails)
    with record(pipe, runs_dir=tmp_path / "runs") as run:
        pipe(**nano_call(steps=3, **UNGUIDED))
    assert run.kept and run.standing == "complete, nothing recorded"
    assert listed(tmp_path / "runs") == [("complete", run.standing, 0, 3)]
    assert check(run.path).empty


def test_a_call_that_is_given_up_is_kept_with_its_reason(
    pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Schedule, "read", fails)
    with record(pipe, runs_dir=tmp_path / "runs") as run:
        pipe(**nano_call(steps=3, **UNGUIDED))
    assert run.kept and run.standing == "complete, nothing recorded"
    assert [(r[:3]) for r in listed(tmp_path / "runs")] == [("complete", run.standing, 0)]
    assert [e["text"] for e in load(run.path).events if e["kind"] == "error"]
    assert check(run.path).empty


def test_rows_that_are_dropped_or_cannot_be_read_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = journal_thread.values_of
    with record(runs_dir=tmp_path / "runs", previews=False) as run:
        run.stage(SIGMAS)
        first = lambda rows, told: fails() if rows[0].step == 0 else real(rows, told)  # noqa: E731
        monkeypatch.setattr(journal_thread, "values_of", first)
        steps(run, 1)
        settle(run)
        monkeypatch.setattr(journal_thread, "MAX_WAITING_ROWS", -1)
        monkeypatch.setattr(journal_thread, "MAX_WAITING_SNAPSHOTS", -1)
        steps(run, 2, first=1)
        monkeypatch.setattr(journal_thread, "MAX_WAITING_ROWS", 1 << 16)
        steps(run, 1, first=3)
    assert (run.rows, run.missed) == (1, 3) and load(run.path).missed == {"stage_0/video": 3}


def test_what_was_missed_is_known_of_a_killed_run_and_counted_once_where_journal_and_archive_tell_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with record(runs_dir=tmp_path, previews=False) as run:
        run.stage(SIGMAS)
        steps(run, 1)
        monkeypatch.setitem(MEASURES, "mean", fails)
        steps(run, 2, first=1)
        monkeypatch.undo()
        run.stage(SIGMAS)  # folds what there is
        steps(run, 1)
        settle(run)
        journal = locations.journal_of(run.path).read_bytes()
    assert load(run.path).missed == {"stage_0/video": 2}
    left = tmp_path / "left.journal"
    left.write_bytes(journal)
    assert [(r.standing, r.missed) for r in listing.list_runs(tmp_path) if r.name == "left"] == [
        ("unfinished, 2 steps not recorded", 2)
    ]
    run.path.rename(tmp_path / "left.zarr")
    left.write_bytes(journal[:-1])  # the archive has more
    assert load(left).missed == {"stage_0/video": 2}
    mended = repair(left)
    assert load(mended.archive).missed == {"stage_0/video": 2}


@pytest.mark.parametrize(
    "wrong",
    [
        {"stage": -1},
        {"stage": 7},
        {"stream": "../x"},
        {"count": -1},
        {"count": "many"},
        {"count": None},
    ],
)
def test_a_count_that_is_none_is_refused(wrong: dict[str, Any]) -> None:
    run = Run()
    run.feed({"t": protocol.HEADER, "format": protocol.FORMAT, "version": 1, "run": "r", "time": 1.0})
    with pytest.raises(ValueError):
        run.feed({"t": protocol.MISSED, "stage": 0, "stream": "video", "count": 1, **wrong})
    for i in range(100):  # nor does a reader grow with names
        run.feed({"t": protocol.MISSED, "stage": 0, "stream": f"s{i}", "count": 1})
    assert len(run.missed) <= 4 and encode({"t": protocol.MISSED, "stage": 0, "stream": "video", "count": 1})


def test_the_words() -> None:
    assert missed_steps({}) == 0
    assert missed_steps({"stage_0/video": 3, "stage_0/audio": 2, "stage_1/video": 1}) == 4
    assert standing("live", 0, 3) == "live" and standing("complete", 5, 0) == "complete"
    assert standing("failed", 5, 1) == "failed, 1 step not recorded"
    assert standing("interrupted", 0, 0) == "interrupted, nothing recorded"


def test_a_device_without_autocast_costs_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a third-party backend: `torch.autocast` raises for its type, even where it is to be turned off."""
    with full_precision("meta"):
        torch.empty(2, device="meta") * 2

    def without(device_type: str) -> bool:
        return False

    def refuses(*_: Any, **__: Any) -> Any:
        raise RuntimeError("User specified an unsupported autocast device_type 'cpu'")

    monkeypatch.setattr(torch.amp, "is_autocast_available", without)
    monkeypatch.setattr(torch, "autocast", refuses)
    with record(runs_dir=tmp_path, previews=False) as run:
        steps(run, 3, both=True)
    assert run.standing == "complete" and load(run.path).steps == 3


def test_mixed_precision_of_the_caller_does_not_reach_the_metrics(tmp_path: Path) -> None:
    inside: list[bool] = []
    real = measure_step.measured_row

    def looks(step: Any) -> torch.Tensor:
        inside.append(torch.is_autocast_enabled("cpu"))
        return real(step)

    with pytest.MonkeyPatch.context() as patch, record(runs_dir=tmp_path, previews=False) as run:
        patch.setattr(measure_step, "measured_row", looks)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            steps(run, 1)
    assert inside == [False] and run.rows == 1


@pytest.mark.parametrize("what", ["nothing", "missed", "none", "some"])
def test_the_command_says_what_it_recorded(
    pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    real, calls = MEASURES["mean"], [0]

    def sometimes(step: Any) -> torch.Tensor:
        calls[0] += 1
        return fails() if what == "none" or calls[0] == 3 else real(step)

    monkeypatch.setattr(loading, "load", lambda request: pipe)
    if what in ("none", "missed"):
        monkeypatch.setitem(MEASURES, "mean", sometimes)
    if what == "nothing":
        monkeypatch.setattr(type(pipe), "__call__", lambda self, *args, **kwargs: None)
    size = ["--height", "128", "--width", "160", "--frames", "33", "--guidance-scale", "1", "--steps", "3"]
    asked = ["record", "--model", "nano", "--runs-dir", str(tmp_path), *size]
    done = CliRunner().invoke(cli, [*asked, "--json"])
    told = json.loads(done.stdout)
    expected = {
        "nothing": (1, "nothing was recorded: no step was taken, so no run is kept", (0, 0)),
        "none": (1, "nothing was recorded: no step could be measured; the reasons are in", (0, 6)),
        "missed": (0, "the run is kept as `complete, 1 step not recorded`", (5, 1)),
        "some": (0, "", (6, 0)),
    }[what]
    assert done.exit_code == expected[0] and expected[1] in done.stderr, done.stderr
    assert (told["rows"], told["missed"]) == expected[2]
    assert (told["archive"] is None) == (what == "nothing")
    if what == "nothing":
        assert list(tmp_path.iterdir()) == []
    elif what == "none":
        assert told["archive"] in done.stderr
