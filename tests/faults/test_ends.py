"""Ends from outside: SIGKILL in every phase, SIGTERM, Ctrl-C twice, a block that is never left."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from recorder.format import locations
from recorder.journal.journal import is_being_written
from replay.sources.open import Liveness, load
from tests.faults.conftest import Child, until
from tests.faults.viewing import holds, mended, rows, watch, whole

Start = Callable[..., Child]


@pytest.mark.parametrize(
    ("where", "number"),
    [
        ("journal write", 1),
        ("journal write", 9),
        ("journal write", 30),
        ("fold", 120),
        ("fold", 300),
        ("renaming", 200),
        ("consolidation", 1),
        ("journal's removal", 1),
        ("unlocking", 1),
        ("end of the server", 1),
    ],
)
def test_a_kill_loses_nothing_that_was_received(start: Start, where: str, number: int) -> None:
    child = start("killed", where=where, number=number)
    seen = watch(child.tells("socket"))
    assert child.wait() == -signal.SIGKILL
    path = Path(child.said["path"])
    assert not is_being_written(locations.journal_of(path))
    if where in ("unlocking", "end of the server"):
        assert whole(path).steps == 24  # the journal is gone since the archive is complete
        holds(path, seen)
        return
    run = holds(path, seen)
    if where != "journal write":
        assert seen.rows
    if where == "journal write":
        assert seen.ended is Liveness.UNFINISHED
    if number == 30:
        assert len(seen.rows) > 8
    mended(path, run)


def begun(child: Child) -> None:
    """Wait until five rows are in the journal: nothing writes those that are on their way when a process is killed."""
    child.tells("under_way")
    until(lambda: load(Path(child.said["path"])).steps >= 5)


def test_sigterm_ends_the_command_as_ctrl_c_does_and_leaves_a_library_user_his_own_handler(start: Start) -> None:
    command, library = start("command_line"), start("until_killed")
    for child in (command, library):
        begun(child)
        child.signal(signal.SIGTERM)
    assert command.wait() == 130 and "interrupted" in command.text
    run = whole(Path(command.said["path"]))
    assert run.end is not None and run.end["status"] == "interrupted" and run.steps >= 5
    assert library.wait() == -signal.SIGTERM
    path = Path(library.said["path"])
    left = load(path)
    assert left.end is None and left.steps >= 5
    assert rows(mended(path, left)) == list(range(left.steps))


def test_ctrl_c_twice_waits_for_the_archive_and_three_times_does_not(start: Start) -> None:
    twice, thrice = start("interrupted", times=2), start("interrupted", times=3)
    assert twice.wait() == 130
    run = whole(Path(twice.said["path"]))
    assert run.end is not None and run.end["status"] == "interrupted" and run.steps == 5
    assert thrice.wait() == 130, "it waits for an archive that takes ten minutes"
    path = Path(thrice.said["path"])
    left = load(path)
    assert left.steps == 5 and left.end is not None and left.end["status"] == "interrupted"
    mended(path, left)


def test_a_block_that_is_never_left_ends_with_the_process(start: Start) -> None:
    child = start("never_left")
    assert child.wait() == 0
    run = whole(Path(child.said["path"]))
    assert run.end is not None and run.end["status"] == "interrupted" and run.steps == 4


def test_a_run_outlives_its_viewer_and_a_viewer_its_run(start: Start) -> None:
    child = start("until_killed")
    socket = child.tells("socket")
    first, second = start("views", socket=socket), start("views", socket=socket)
    first.tells("received")
    second.tells("received")
    first.signal(signal.SIGKILL)
    first.wait()
    path = Path(child.said["path"])
    before = load(path).steps
    until(lambda: load(path).steps > before + 5)
    child.signal(signal.SIGKILL)
    child.wait()
    assert second.wait() == 0 and second.said["liveness"] == "unfinished"
    assert child.logged == []
