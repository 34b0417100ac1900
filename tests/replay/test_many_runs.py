"""Folders of many runs: what is listed first, what a pass looks at, and what happens while a folder changes."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import many_runs
from ltxtui.cli.runs import _print_json
from recorder.format import locations
from replay.integrity.check import check
from replay.library import edit, folder_watch, in_turn, listing, watcher
from replay.library.cache import ListingCache
from replay.library.folder_names import Stamp, names_in
from replay.library.run_info import RunInfo
from replay.library.watcher import RunWatcher
from replay.packed.pack import pack
from tests import recorded
from tests.ltxtui import fake
from tests.waiting import until

COUNT = 60


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    many_runs.make(folder, COUNT)
    return folder


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The archives that a watcher has looked at, one after the other."""
    found: list[str] = []
    stamp_in = watcher.stamp_in

    def look(folder: str, name: str, has_journal: bool) -> Stamp | None:
        found.append(name)
        return stamp_in(folder, name, has_journal)

    monkeypatch.setattr(watcher, "stamp_in", look)
    return found


def names(found: list[RunInfo]) -> list[str]:
    return sorted(run.name for run in found)


def settled(shelf: RunWatcher) -> list[RunInfo]:
    shelf.update()
    while shelf.pending:
        shelf.update()
    return shelf.runs


def test_the_runs_of_the_benchmark_are_sound_and_differ(runs: Path) -> None:
    found = listing.list_runs(runs)
    packed = [locations.is_packed(run.path) for run in found]
    assert len(found) == COUNT and packed.count(False) == COUNT // many_runs.EVERY_FOLDER
    assert [run.name for run in found] == [many_runs.name_of(n) for n in reversed(range(COUNT))]
    assert len({run.prompt for run in found}) == COUNT and len({run.status for run in found}) == 3
    for run in (*found[:5], found[-1]):
        report = check(run.path)
        assert report.sound and report.rows == {"stage_0/video": many_runs.STEPS}, report.problems


def test_runs_come_newest_first_before_the_others_are_read(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    described = in_turn.described
    monkeypatch.setattr(in_turn, "described", lambda path, tails: read.append(path) or described(path, tails))
    found = in_turn.each(runs)
    first = next(found)
    assert isinstance(first, RunInfo) and first.name == many_runs.name_of(COUNT - 1) and len(read) <= 2
    assert [first, *found] == listing.list_runs(runs)
    read.clear()
    assert (newest := listing.newest(runs)) is not None and newest.name == first.name and len(read) <= 2


@pytest.mark.parametrize("cached", [False, True])
def test_names_without_a_time_come_in_order_too(tmp_path: Path, cached: bool) -> None:
    """When their runs began is known once they are read; until then their files' time is at least that late."""
    second = time.strftime("%Y%m%d-%H%M%S", time.localtime(fake.START))
    named = {"zebra": -3, f"{second}-b": 0, "apple": 5, "20991231-235959-late": 0.5, f"{second}-a": 0.7, "mango": 0.2}
    for name, at in named.items():
        recorded.archive(tmp_path / "runs", name, at=fake.START + at)
    pack(tmp_path / "runs" / "apple.zarr")
    shutil.rmtree(tmp_path / "runs" / "apple.zarr")
    cache = ListingCache(tmp_path / "runs", tmp_path / "cache") if cached else None
    for _ in range(2):
        found = [one for one in in_turn.each(tmp_path / "runs", cache) if isinstance(one, RunInfo)]
        assert [run.started for run in found] == sorted((run.started for run in found), reverse=True)
        assert len(found) == len(named)


def test_json_is_printed_while_runs_are_read(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (runs / "bad.zarr").mkdir()
    (runs / "bad.zarr" / "zarr.json").write_text("{")
    read: list[Path] = []
    printed: list[tuple[int, str]] = []
    described = in_turn.described
    monkeypatch.setattr(in_turn, "described", lambda path, tails: read.append(path) or described(path, tails))

    class Out:
        def write(self, text: str) -> None:
            printed.append((len(read), text))

        def flush(self) -> None:
            pass

    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", Out())
        _print_json(runs, None)
    assert printed[0][0] <= 3 and printed[-2][0] > COUNT / 2
    text = "".join(text for _, text in printed)
    assert [run["name"] for run in json.loads(text)["runs"]] == [run.name for run in listing.list_runs(runs)]
    assert [refused["name"] for refused in json.loads(text)["unreadable"]] == ["bad"]
    assert len(text.splitlines()) == COUNT + 2, "a run a line"


def test_a_slow_disk_gets_no_more_than_its_time_in_a_pass(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stamp_in, delay = watcher.stamp_in, [0.02]
    asked: list[str] = []

    def slowly(folder: str, name: str, has_journal: bool) -> Stamp | None:
        asked.append(name)
        time.sleep(delay[0])
        return stamp_in(folder, name, has_journal)

    monkeypatch.setattr(watcher, "stamp_in", slowly)
    shelf = RunWatcher(runs)
    shelf.update(0.1)
    assert 0 < len(asked) < 10 and shelf.pending >= COUNT - 10
    shelf.update(0.1)
    assert shelf.runs and max(names(shelf.runs)) == many_runs.name_of(COUNT - 1)
    delay[0] = 0.0
    assert len(settled(shelf)) == COUNT
    delay[0] = 0.05
    monkeypatch.setattr(folder_watch, "LOOK_SECONDS", 0.0)  # always due
    for _ in range(3):
        asked.clear()
        shelf.update()
        assert 0 < len(asked) <= 3, "a round goes on in the next pass"
    shelf.close()


def test_a_pass_over_an_unchanged_folder_looks_at_nothing(runs: Path, looked: list[str]) -> None:
    shelf = RunWatcher(runs)
    known = settled(shelf)
    shelf.update()  # the first round
    while shelf._folder._round:
        shelf.update()
    looked.clear()
    for _ in range(5):
        shelf.update()
        assert shelf.runs is known
    assert looked == []
    (runs / f"{many_runs.name_of(3)}.zarr.zip").unlink()
    shelf.update()
    assert looked == [] and len(shelf.runs) == COUNT - 1, "one is gone; the others are not looked at for it"
    shelf.close()


def test_what_changed_inside_of_an_archive_shows_with_the_next_round(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = RunWatcher(runs)
    settled(shelf)
    path = runs / f"{many_runs.name_of(4)}.zarr"
    edit.set_tags(path, ["late"])
    monkeypatch.setattr(folder_watch, "LOOK_SECONDS", 0.0)
    for _ in range(5):
        settled(shelf)
    assert [run.tags for run in shelf.runs if run.path == path] == [("late",)]
    shelf.close()


def test_what_this_program_changed_shows_at_once(runs: Path) -> None:
    shelf = RunWatcher(runs)
    settled(shelf)
    tagged, renamed, deleted = (runs / f"{many_runs.name_of(n)}{ending}"
                                for n, ending in ((4, ".zarr"), (5, ".zarr.zip"), (8, ".zarr")))  # fmt: skip
    edit.set_tags(tagged, ["now"])
    new = edit.rename(renamed, "other")
    edit.delete(deleted)
    for path in (tagged, renamed, deleted):
        shelf.forget(path)
    found = {run.path: run for run in settled(shelf)}
    assert found[tagged].tags == ("now",) and new in found and not {renamed, deleted} & found.keys()
    assert len(found) == COUNT - 1
    shelf.close()
    assert len(ListingCache(runs)) == COUNT - 1


def test_a_folder_that_changes_while_it_is_listed_is_listed_again(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    added: list[Path] = []

    def listed(folder: Path) -> dict[str, bool]:
        found = names_in(folder)
        if not added:
            added.append(recorded.archive(runs, "20301122-143015-meanwhile"))
        return found

    monkeypatch.setattr(folder_watch, "names_in", listed)
    shelf = RunWatcher(runs)
    settled(shelf)
    until_read(shelf, lambda: added[0] in {run.path for run in shelf.runs})
    shelf.close()


def test_runs_that_go_while_they_are_read_are_passed_over(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    describe = listing.describe_run

    def gone(path: Path) -> RunInfo:
        if "run-0003" in path.name:
            path.unlink() if path.is_file() else shutil.rmtree(path)
        return describe(path)

    monkeypatch.setattr(watcher, "describe_run", gone)
    shelf = RunWatcher(runs)
    assert len(settled(shelf)) == COUNT - 10 and shelf.unreadable == []
    shelf.close()


def test_a_folder_that_cannot_be_read_for_a_while_keeps_its_runs(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shelf = RunWatcher(runs)
    known = settled(shelf)

    def fails(folder: Path) -> dict[str, bool]:
        raise PermissionError(13, "Permission denied", str(folder))

    with monkeypatch.context() as patch:
        patch.setattr(folder_watch, "names_in", fails)
        (runs / "new.journal").touch()
        shelf.update()
        assert shelf.runs == known and [refused.name for refused in shelf.unreadable] == ["runs"]
        assert "cannot be read: Permission denied; see it with: ls -ld" in shelf.unreadable[0].text
    (runs / "new.journal").unlink()
    until_read(shelf, lambda: shelf.unreadable == [])
    assert len(shelf.runs) == COUNT
    shelf.close()


def until_read(shelf: RunWatcher, done: Callable[[], bool]) -> None:
    def looked() -> bool:
        shelf.update()
        return done()

    until(looked)


def test_a_folder_that_is_away_leaves_the_cache_as_it_is(runs: Path) -> None:
    shelf = RunWatcher(runs)
    settled(shelf)
    runs.rename(runs.with_name("away"))
    shelf.update()
    assert shelf.runs == [] and shelf.unreadable == []
    shelf.close()
    again = RunWatcher(runs)
    assert settled(again) == []
    again.close()
    assert len(ListingCache(runs)) == COUNT
    runs.with_name("away").rename(runs)
    again = RunWatcher(runs)
    assert len(settled(again)) == COUNT
    again.close()
