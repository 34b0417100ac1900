"""Disks that are full, read-only, gone, or do not answer: the run continues, and all that can be saved is saved."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from recorder.format import locations
from replay.integrity.check import check
from replay.sources.open import load
from tests.faults.conftest import Child
from tests.faults.viewing import holds, mended, rows, texts, watch, whole

Start = Callable[..., Child]


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of 4 MiB."""
    place = folder / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no small file system can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("heals", [True, False], ids=["room is made", "it stays full"])
def test_a_full_disk_stops_neither_run_nor_stream(start: Start, small_disk: Path, heals: bool) -> None:
    child = start("disk_full", runs=small_disk / "runs", filler=str(small_disk / "filler"), heals=heals)
    seen = watch(child.tells("socket"))
    assert child.wait() == 0, child.text
    steps, path = child.said["steps"], Path(child.said["path"])
    assert child.said["status"] == "complete" and "No space left" in child.said["error"]
    assert len(seen.rows) == steps, "the stream continues"
    assert [t for t in texts(seen, "degraded") if t.startswith("recording degraded")], texts(seen, "degraded")
    assert len([line for line in child.logged if "recording degraded" in line]) == 1
    if heals:
        run = holds(path, seen)
        assert rows(whole(path)) == list(range(steps))
        assert [t for t in texts(run, "degraded") if t.startswith("recording recovered; 0 messages were lost")]
        return
    assert len([line for line in child.logged if "is unfinished" in line]) == 1
    left = load(path)
    # The archive gave way, so that the journal had room again.
    assert rows(left) == list(range(steps)) and not path.exists()
    holds(path, seen)
    (small_disk / "filler").unlink()
    mended(path, left)


@pytest.mark.parametrize("kilobytes", [32, 100])
def test_a_limit_on_file_sizes(start: Start, kilobytes: int) -> None:
    """The journal meets it. With 100 KiB the archive's files do not, and hold everything; with 32 KiB they do too."""
    child = start("file_limit", kilobytes=kilobytes)
    seen = watch(child.tells("socket"))
    assert child.wait() == 0, child.text
    path = Path(child.said["path"])
    assert child.said["status"] == "complete" and "File too large" in child.said["error"]
    assert len(seen.rows) == 300, "the stream continues"
    assert len([line for line in child.logged if "recording degraded" in line]) == 1
    if kilobytes == 100:
        holds(path, seen)
        assert rows(whole(path)) == list(range(300))
        return
    left = load(path)
    assert left.steps >= 20 and rows(left) == list(range(left.steps))
    mended(path, left)


def test_a_journal_that_is_cut_short_goes_also_when_its_archive_is_late(start: Start) -> None:
    child = start("file_limit", kilobytes=100, late=True)
    watch(child.tells("socket"))
    assert child.wait() == 0, child.text
    assert rows(whole(Path(child.said["path"]))) == list(range(300))


@pytest.mark.parametrize(
    "what", ["folder deleted", "folder deleted at the end", "journal deleted", "archive deleted", "folder moved"]
)
def test_what_is_deleted_in_mid_run_is_written_anew(start: Start, what: str) -> None:
    child = start("folder_trouble", what=what)
    assert child.wait() == 0, child.text
    path = Path(child.said["path"])
    run = load(path)
    assert rows(run) == list(range(8)) and rows(run, 1) == list(range(4)) and run.end is not None
    assert check(path).problems == []
    if what in ("folder deleted", "journal deleted"):
        assert [t for t in texts(run, "warning") if "had been deleted; it was written again" in t]
        assert len([line for line in child.logged if "written again" in line]) == 1
    if what in ("folder deleted", "archive deleted", "folder moved"):
        assert [line for line in child.logged if "is complete: it was rebuilt from its journal" in line]
    moved = path.parent.with_name("moved") / locations.journal_of(path).name
    assert moved.exists() == (what == "folder moved")
    if what == "folder moved":
        assert load(moved).steps == 12


def test_a_place_that_cannot_be_had_again(start: Start) -> None:
    child = start("folder_trouble", what="folder replaced by a file")
    assert child.wait() == 0, child.text
    assert child.said["status"] == "complete"
    assert len([line for line in child.logged if "recording degraded" in line]) == 1
    assert len([line for line in child.logged if "is unfinished" in line]) == 1


def test_a_read_only_folder_and_a_lost_permission(start: Start, folder: Path) -> None:
    kept = start("folder_trouble", what="folder read-only", as_nobody=True)
    assert kept.wait() == 0, kept.text
    path = Path(kept.said["path"])
    path.parent.chmod(0o755)
    run = load(path)
    assert rows(run) == list(range(8)) and rows(run, 1) == list(range(4)) and run.end is not None
    # The archive is complete; only its journal could not be taken away.
    assert [line for line in kept.logged if "stays next to it" in line] == kept.logged and len(kept.logged) == 1
    locations.journal_of(path).unlink()
    assert whole(path).steps == 12

    lost = start("folder_trouble", what="permission lost", as_nobody=True, runs=folder / "others")
    assert lost.wait() == 0, lost.text
    run = whole(Path(lost.said["path"]))
    assert rows(run) == list(range(8)) and rows(run, 1) == list(range(4))
    degraded = texts(run, "degraded")
    assert len(degraded) == 1 and "Permission denied" in degraded[0]


@pytest.mark.parametrize("which", ["journal", "archive"])
def test_a_disk_that_does_not_answer_is_not_waited_for(start: Start, which: str) -> None:
    child = start("hanging_disk", which=which)
    assert child.wait() == 0, child.text
    assert child.said["status"] == "complete"
    assert len([line for line in child.logged if "does not answer" in line]) == 1
    left = load(Path(child.said["path"]))
    assert rows(left) == list(range(left.steps)) and 5 <= left.steps <= (8 if which == "archive" else 6)


def test_memory_is_bounded_and_what_others_need_is_given_up_last(start: Start) -> None:
    child = start("little_memory")
    assert child.wait() == 0, child.text
    assert child.said["dropped"] > 0 and child.said["memory"] < 2000 + (64 << 10)
    run = whole(Path(child.said["path"]))
    # Folded from the journal alone: what was dropped is empty, and all later stages are there.
    assert rows(run)[:4] == [0, 1, 2, 3] and len(rows(run)) + len(rows(run, 1)) < 20
    assert len(run.stages) == 3 and rows(run, 2) == [0, 1, 2, 3]
    assert [t for t in texts(run, "degraded") if "messages were lost" in t and "; 0 " not in t]
