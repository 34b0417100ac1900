"""Clocks that jump, names that are taken, forked children, and several recorders at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from recorder.format import locations
from recorder.journal.journal import is_being_written
from replay.sources.open import Liveness
from tests.faults.conftest import Child, until
from tests.faults.viewing import holds, mended, rows, watch, whole

Start = Callable[..., Child]


def test_a_clock_that_jumps(start: Start) -> None:
    child = start("clock_back")
    assert child.wait() == 0, child.text
    run = whole(Path(child.said["path"]))
    assert rows(run) == list(range(8)) and rows(run, 1) == list(range(4)) and child.logged == []
    video = run.stages[0].streams["video"]
    assert np.diff(video.times).min() < -3000, "the times are as the clock said"
    assert video.values("step_seconds").min() >= 0 and video.values("step_seconds").max() < 600


def test_the_same_name_in_the_same_second(start: Start, folder: Path) -> None:
    children = [start("same_second", gate=str(folder / "gate")) for _ in range(4)]
    for child in children:
        child.tells("ready")
    (folder / "gate").touch()
    paths = set()
    for child in children:
        assert child.wait() == 0 and child.logged == [], child.text
        paths.add(child.said["path"])
        run = whole(Path(child.said["path"]))
        assert run.metadata["process"] == child.pid and run.steps == 4
    assert len(paths) == 4 and len({c.said["socket"] for c in children}) == 4


def test_forked_children_leave_the_run_alone(start: Start) -> None:
    child = start("forks")
    assert child.wait() == 0, child.text
    assert child.said["journal"] and child.said["socket_there"]
    run = whole(Path(child.said["path"]))
    assert rows(run) == list(range(8)) and child.logged == []
    assert run.end is not None and run.end["status"] == "complete"


def test_a_killed_recorder_is_dead_though_its_child_lives(start: Start) -> None:
    child = start("outlived_by_a_child")
    seen_by: list[Path] = []

    def kill_later() -> None:
        until(lambda: "helper" in child.said)
        seen_by.append(Path(child.said["path"]))
        child.signal(signal.SIGKILL)

    import threading

    killer = threading.Thread(target=kill_later)
    killer.start()
    seen = watch(child.tells("socket"))  # ends, since the child holds no viewer's connection
    killer.join()
    helper = child.said["helper"]
    child.wait()  # a dying process closes its files one after the other: the socket may end before the lock does
    try:
        assert seen.ended is Liveness.UNFINISHED and len(seen.rows) == 4
        os.kill(helper, 0)
        path = seen_by[0]
        assert not is_being_written(locations.journal_of(path))
        mended(path, holds(path, seen))
    finally:
        os.kill(helper, signal.SIGKILL)


def test_two_recorders_in_one_process(start: Start) -> None:
    child, alone = start("two_at_once"), start("plain")
    assert child.wait() == 0 and child.logged == [], child.text
    assert alone.wait() == 0
    runs = [whole(Path(child.said[f"loop-{seed}"])) for seed in (10, 20)]
    assert [r.steps for r in runs] == [24, 24]
    first, second = (r.stages[0].streams["video"].values("velocity_rms") for r in runs)
    assert (first == first[0]).all() and (second == second[0]).all() and first[0] != second[0]
    assert whole(Path(alone.said["path"])).steps == 24


def test_an_archive_that_appears_after_the_look_is_not_taken(tmp_path: Path, monkeypatch: object) -> None:
    from recorder import reserve

    archive = tmp_path / "a.zarr"
    original = reserve.Journal

    class Late(original):  # type: ignore[misc, valid-type]
        """Another run of the name ends just before this one's journal is made."""

        def __init__(self, path: Path) -> None:
            if path.stem == "a":
                archive.mkdir()
            super().__init__(path)

    reserve.Journal = Late  # type: ignore[misc]
    try:
        path, journal = reserve.claim(tmp_path, "a")
    finally:
        reserve.Journal = original  # type: ignore[misc]
    journal.close()
    assert path.stem == "a-2" and not locations.journal_of(archive).exists()


def test_a_reader_that_asks_at_that_moment_does_not_stop_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is only `flock`, a reader that asks holds the lock for a moment; a new journal waits for that."""
    import fcntl
    import threading

    from recorder.journal import journal as module

    monkeypatch.delattr(fcntl, "F_OFD_GETLK", raising=False)
    held = threading.Event()
    real = module.os.open

    def open_and_ask(path: object, flags: int, *mode: int) -> int:
        fd = real(path, flags, *mode)  # type: ignore[arg-type]
        if flags & os.O_EXCL and not held.is_set():
            other = real(path, os.O_RDONLY)  # type: ignore[arg-type]
            fcntl.flock(other, fcntl.LOCK_SH)
            held.set()
            threading.Timer(0.05, os.close, (other,)).start()
        return fd

    module.os.open = open_and_ask  # type: ignore[assignment]
    try:
        journal = module.Journal(tmp_path / "a.journal")
    finally:
        module.os.open = real
    assert held.is_set() and is_being_written(journal.path)
    journal.close()
