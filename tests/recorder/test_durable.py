"""No journal goes before its archive is on the disk: at the end, later where the disk is slow, or at the next run."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from recorder import record
from recorder.archive import journal_removal
from recorder.format import locations
from recorder.format.framing import encode
from recorder.journal.journal import Journal, JournalReader, is_being_written
from recorder.system import durability
from replay.integrity.check import check
from replay.library import listing
from replay.sources.open import load
from tests import recorded


def take_steps(run: Any, count: int = 3) -> None:
    x = torch.randn(1, 4, 3, 4, 6)
    for i in range(count):
        run.step(sigma=1 - i / count, sigma_next=1 - (i + 1) / count, sample=x, velocity=x)


def until(condition: Callable[[], Any]) -> None:
    limit = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < limit, "it never happened"
        time.sleep(0.005)


class Watched:
    """What is forced onto the disk, by its path, and when journals are removed, in their order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        fsync, fdatasync, unlink = os.fsync, getattr(os, "fdatasync", os.fsync), os.unlink

        def noted(real: Callable[[int], None]) -> Callable[[int], None]:
            def wrapper(fd: int) -> None:
                self.done.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
                real(fd)

            return wrapper

        def removed(path: Any, **more: Any) -> None:
            if str(path).endswith(".journal"):
                self.done.append(f"removed {Path(path).name}")
            unlink(path, **more)

        monkeypatch.setattr(os, "fsync", noted(fsync))
        monkeypatch.setattr(os, "fdatasync", noted(fdatasync), raising=False)
        monkeypatch.setattr(os, "unlink", removed)

    def until_removal(self, journal: Path) -> set[str]:
        return set(self.done[: self.done.index(f"removed {journal.name}")])


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("paths of open files are not told here")
    return Watched(monkeypatch)


@pytest.mark.parametrize("sync", [False, True])
def test_every_file_and_folder_is_forced_before_the_journal_goes(
    tmp_path: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch, sync: bool
) -> None:
    """Where the file system cannot be forced at once."""
    monkeypatch.setattr(durability, "_sync_file_system", lambda descriptor: False)
    runs = tmp_path / "new" / "runs"
    with record(runs_dir=runs, save_latents=True, sync=sync) as run:
        run.stage([1.0, 0.6, 0.3])
        take_steps(run)
    forced = watched.until_removal(locations.journal_of(run.path))
    there = {str(p) for p in (run.path, *run.path.rglob("*"))}
    assert len(there) > 100 and there <= forced
    assert {str(runs), str(runs.parent), str(tmp_path)} <= forced, "so that it is found again"


def test_a_file_system_that_can_is_forced_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool]] = []
    real = durability._sync_file_system

    def noted(descriptor: int) -> bool:
        folder = Path(f"/proc/self/fd/{descriptor}").readlink()
        complete = '"ended"' in (folder / "zarr.json").read_text()
        seen.append((folder.name, complete and locations.journal_of(folder).exists()))
        return real(descriptor)

    monkeypatch.setattr(durability, "_sync_file_system", noted)
    with record(runs_dir=tmp_path) as run:
        take_steps(run)
    assert seen == [(run.path.name, True)] and not locations.journal_of(run.path).exists()


def test_with_sync_stages_are_forced_when_they_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forced: list[int] = []
    monkeypatch.setattr(durability, "_sync_file_system", lambda descriptor: forced.append(descriptor) or True)
    with record(runs_dir=tmp_path, sync=True) as run:
        for _ in range(3):
            run.stage([1.0, 0.6, 0.3])
            take_steps(run)
    assert len(forced) == 4, "after each stage, and the whole"


class Disk:
    """A disk that takes its time, or fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answer, self.error = threading.Event(), False
        monkeypatch.setattr(journal_removal, "SETTLE_SECONDS", 0.05)
        monkeypatch.setattr(durability, "_sync_file_system", self._sync)

    def _sync(self, descriptor: int) -> bool:
        assert self.answer.wait(60)
        if self.error:
            raise OSError(5, "Input/output error")
        return True


def test_a_slow_disk_is_not_waited_for_and_the_journal_goes_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    with record(runs_dir=tmp_path) as run:
        take_steps(run)
    journal = locations.journal_of(run.path)
    assert journal.exists() and not is_being_written(journal) and journal_removal._late
    (line,) = listing.list_runs(tmp_path)
    assert (line.status, line.steps) == ("complete", 3) and load(run.path).steps == 3
    report = check(run.path)
    assert report.sound and "is left next to the finished archive" in report.notes[0]
    disk.answer.set()
    until(lambda: not journal.exists() and not journal_removal._late)
    assert check(run.path).notes == [] and load(run.path).end is not None
    assert [p.name for p in tmp_path.iterdir()] == [run.path.name]


def test_the_end_of_the_process_waits_a_moment_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    with record(runs_dir=tmp_path) as run:
        take_steps(run)
    monkeypatch.setattr(journal_removal, "EXIT_SECONDS", 0.0)
    journal_removal.wait_for_late()
    assert locations.journal_of(run.path).exists()
    monkeypatch.setattr(journal_removal, "EXIT_SECONDS", 60.0)
    disk.answer.set()
    journal_removal.wait_for_late()
    assert not locations.journal_of(run.path).exists()


@pytest.mark.parametrize("late", [False, True])
def test_a_disk_that_fails_keeps_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, late: bool
) -> None:
    disk = Disk(monkeypatch)
    disk.error = True
    if not late:
        disk.answer.set()
        monkeypatch.setattr(journal_removal, "SETTLE_SECONDS", 60.0)
    with caplog.at_level(logging.WARNING), record(runs_dir=tmp_path) as run:
        take_steps(run)
    disk.answer.set()
    until(lambda: not journal_removal._late and caplog.records)
    assert "Input/output error" in caplog.text and "its journal stays beside it" in caplog.text
    assert locations.journal_of(run.path).exists() and load(run.path).steps == 3


def left(folder: Path, name: str = "20261122-143015-left") -> Path:
    """What a recorder leaves that ended before its archive was on the disk."""
    path = recorded.archive(folder, name)
    locations.journal_of(path).write_bytes(b"".join(map(encode, recorded.whole(name))))
    return path


def test_the_next_run_in_the_folder_removes_the_journal(tmp_path: Path) -> None:
    path = left(tmp_path)
    with record(runs_dir=tmp_path) as run:
        until(lambda: not locations.journal_of(path).exists())
        take_steps(run)
    assert check(path).sound and check(path).notes == []
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([path.name, run.path.name])


def cut_short(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


HARM: dict[str, Callable[[Path], object]] = {
    "an empty chunk": lambda path: os.truncate(path / "stage_0/video/sigma/c/0", 0),
    "a missing chunk": lambda path: (path / "stage_0/video/sigma/c/0").unlink(),
    "an empty document": lambda path: os.truncate(path / "stage_0/video/sigma/zarr.json", 0),
    "a missing document": lambda path: (path / "stage_0/video/zarr.json").unlink(),
    "no checksums": lambda path: (path / "checksums.json").unlink(),
    "an empty root": lambda path: os.truncate(path / "zarr.json", 0),
    "a journal without its end": lambda path: cut_short(locations.journal_of(path)),
    "another run's journal": lambda path: locations.journal_of(path).write_bytes(
        b"".join(map(encode, recorded.whole("x", at=5000.0)))
    ),
    "an archive that was not ended": lambda path: (path / "zarr.json").write_text(
        (path / "zarr.json").read_text().replace('"ended"', '"begun"')
    ),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_journal_that_may_be_needed_stays(tmp_path: Path, harm: str) -> None:
    """As a power cut leaves them: an archive that says it is complete, and is not all there."""
    path = left(tmp_path)
    HARM[harm](path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert journal_removal.settle(path) is False
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_a_live_run_and_what_is_not_ones_own_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = left(tmp_path)
    data = locations.journal_of(path).read_bytes()
    locations.journal_of(path).unlink()
    journal = Journal(locations.journal_of(path))
    journal.append(data)
    assert journal_removal.settle(path) is False
    journal.release(remove=False)
    journal.close()
    link = tmp_path / "link.zarr"
    link.symlink_to(path, target_is_directory=True)
    locations.journal_of(link).write_bytes(data)
    with pytest.raises(NotADirectoryError):
        journal_removal.settle(link)
    started: list[Any] = []
    monkeypatch.setattr(
        journal_removal.threading, "Thread", lambda **given: started.append(given["args"][0]) or threading.Event
    )
    monkeypatch.setattr(journal_removal, "_is_ours", lambda journal, archive: False)
    journal_removal.settle_others(tmp_path / "new.zarr")
    assert started == [] and locations.journal_of(path).exists() and locations.journal_of(link).exists()


# -- sync


def test_with_sync_viewers_are_shown_what_is_on_the_disk(tmp_path: Path, watched: Watched) -> None:
    journal = Journal(tmp_path / "a.journal")
    journal.synced_only = True
    journal.append(b"one")
    assert journal.size == 0 and journal.read(0) == b""
    journal.sync()
    assert watched.done[0] == str(journal.path)
    assert {str(tmp_path), str(tmp_path.parent)} <= set(watched.done), "its folder knows it"
    journal.append(b"two")
    assert journal.size == 3 and journal.read(0) == b"one" and journal.read(3) == b""
    watched.done.clear()
    journal.sync()
    assert watched.done == [str(journal.path)] and journal.read(0) == b"onetwo"
    journal.path.unlink()
    assert journal.flush()
    assert str(tmp_path) in watched.done, "and knows it again when it was deleted"
    journal.release(remove=True)
    journal.close()


def test_with_sync_every_message_is_forced_before_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    behind: list[int] = []
    with record(runs_dir=tmp_path, sync=True) as run:
        real = run._notify

        def told() -> None:
            behind.append(run._journal._on_disk - run._journal._synced)
            real()

        run._pump._out._written = told
        take_steps(run)
    assert len(behind) > 3 and set(behind) == {0}


def test_when_the_disk_cannot_be_forced_any_more_viewers_are_shown_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with record(runs_dir=tmp_path, sync=True) as run:
        take_steps(run, 2)
        until(lambda: run._journal._synced == run._journal._on_disk > 0)

        def fails() -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(run._journal, "sync", fails)
        take_steps(run, 2)
        until(lambda: run._journal.size == run._journal._on_disk and not run._journal.synced_only)
        reader = JournalReader(run._journal.path)
        until(lambda: any("no longer forced" in str(m.get("text")) for m in reader.poll()))
        reader.close()
