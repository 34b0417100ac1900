"""The file of a list's cache: damaged, of another version, locked, read-only, shared, missing. Only the log is told."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import many_runs
from replay.library import cache as module
from replay.library import listing
from replay.library.cache import ListingCache
from replay.library.folder_names import stamp_of

COUNT = 30


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many") / "runs"
    folder.mkdir()
    many_runs.make(folder, COUNT)
    return folder


@pytest.fixture
def file(runs: Path, tmp_path: Path) -> Path:
    """A cache that knows all runs."""
    filled(runs, tmp_path / "cache")
    return tmp_path / "cache"


def filled(runs: Path, file: Path) -> None:
    cache = ListingCache(runs, file)
    listing.list_runs(runs, cache)
    cache.close()


def known(runs: Path, file: Path) -> int:
    """How many runs are found in a file, which is opened and closed."""
    cache = ListingCache(runs, file)
    stamps = {path.name: stamp for path in listing.archives_in(runs) if (stamp := stamp_of(path)) is not None}
    lines = cache.lines(runs, stamps)
    cache.close()
    assert all(line.path == runs / name for name, line in lines.items())
    return len(lines)


@contextlib.contextmanager
def database(file: Path) -> Iterator[sqlite3.Connection]:
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as opened:
        yield opened


def test_lines_come_back_as_they_were_and_belong_to_the_user(runs: Path, file: Path) -> None:
    fresh = listing.list_runs(runs)
    cache = ListingCache(runs, file)
    assert listing.list_runs(runs, cache) == fresh and known(runs, file) == COUNT == len(cache)
    assert cache.starts() == {run.path.name: run.started for run in fresh}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    schedules = [run.sigmas for run in listing.list_runs(runs, ListingCache(runs, file))]
    assert len(set(map(id, schedules))) == len(set(schedules)), "equal ones are one object"


def test_a_file_of_another_version_is_made_again(
    runs: Path, file: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with database(file) as opened:
        opened.execute(f"PRAGMA user_version = {module.VERSION + 1}")
        opened.execute("ALTER TABLE lines RENAME TO other")
    with caplog.at_level(logging.INFO, "replay.library.cache"):
        assert known(runs, file) == 0
    assert f"its version is {module.VERSION + 1}, not {module.VERSION}" in caplog.text
    filled(runs, file)
    assert known(runs, file) == COUNT and capfd.readouterr() == ("", "")


@pytest.mark.parametrize("table", ["DROP TABLE lines", "DROP TABLE folder", "ALTER TABLE lines DROP COLUMN started"])
def test_a_file_with_other_tables_is_made_again(runs: Path, file: Path, table: str) -> None:
    with database(file) as opened:
        opened.execute(table)
    cache = ListingCache(runs, file)
    assert len(listing.list_runs(runs, cache)) == COUNT
    cache.close()
    filled(runs, file)  # what an older table refused is there the next time
    assert known(runs, file) == COUNT


def test_a_file_that_is_damaged_while_it_is_used_is_made_again(
    runs: Path, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = ListingCache(runs, file)
    assert len(cache) == COUNT
    with file.open("r+b") as out:
        out.seek(4096)
        out.write(os.urandom(file.stat().st_size - 4096))
    with caplog.at_level(logging.INFO, "replay.library.cache"):
        assert len(listing.list_runs(runs, cache)) == COUNT
        cache.close()
        filled(runs, file)
    assert "is made again" in caplog.text and known(runs, file) == COUNT


def test_a_file_that_another_program_has_locked_is_done_without(
    runs: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.01)
    monkeypatch.setattr(module, "REST_SECONDS", 0.0)
    cache = ListingCache(runs, file)
    with database(file) as opened:
        opened.execute("BEGIN EXCLUSIVE")
        opened.execute("DELETE FROM lines")
        assert len(cache) == 0 and len(listing.list_runs(runs, cache)) == COUNT
        cache.save()
        opened.execute("COMMIT")
    assert known(runs, file) == 0
    cache.save()
    assert len(cache) == COUNT == known(runs, file), "what waited is saved once it is free"


def test_a_file_that_fails_is_left_alone_for_a_while(runs: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.2)
    cache = ListingCache(runs, file)
    with database(file) as opened:
        opened.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        assert len(listing.list_runs(runs, cache)) == COUNT and len(listing.list_runs(runs, cache)) == COUNT
        cache.close()
        assert time.monotonic() - began < 2, "waited for once, not for every line"


def test_a_file_that_cannot_be_written_is_read(runs: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a read-only home; a test may run as root, whom no permission stops."""
    really = os.open

    def read_only(path: object, flags: int, *more: object, **others: object) -> int:
        if flags & os.O_CREAT:
            raise OSError(30, "Read-only file system", str(path))
        return really(path, flags, *more, **others)  # type: ignore[arg-type]

    content = file.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", read_only)
        cache = ListingCache(runs, file)
        assert len(listing.list_runs(runs, cache)) == COUNT and len(cache) == COUNT
        cache.put(listing.list_runs(runs)[0], (1, 2))
        cache.drop(["other.zarr"])
        cache.close()
        missing = ListingCache(runs, file.with_name("missing"))
        assert len(listing.list_runs(runs, missing)) == COUNT and len(missing) == 0
        missing.close()
    assert file.read_bytes() == content and not file.with_name("missing").exists()


def test_two_programs_use_one_file(runs: Path, tmp_path: Path) -> None:
    one, other = ListingCache(runs, tmp_path / "cache"), ListingCache(runs, tmp_path / "cache")
    first, second, *_ = listing.list_runs(runs)
    assert len(one) == len(other) == 0
    one.put(first, (1,))
    other.put(second, (2,))
    one.save()
    other.save()
    assert one.get(second.path, (2,)) == second and other.get(first.path, (1,)) == first
    other.drop([first.path.name])
    assert one.get(first.path, (1,)) is None and len(one) == 1


def test_a_python_without_sqlite_keeps_nothing(runs: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sqlite3", None)
    cache = ListingCache(runs, file)
    assert len(listing.list_runs(runs, cache)) == COUNT and len(cache) == 0
    cache.close()
