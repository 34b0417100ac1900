"""Jobs that makers share: who gets one, when it is free again, and what a disk that is away changes."""

from __future__ import annotations

import errno
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from recorder.sweep import makers, shared_jobs, spec
from recorder.sweep.claims import FOLDER, Claim, Claims, key_of, prepare
from recorder.sweep.grid import arms_of, with_controls
from recorder.sweep.jobs import JobsUnreachable
from recorder.sweep.makers import Heartbeat, Maker, Watch, makers_at_work
from recorder.sweep.shared_jobs import SharedJobs
from recorder.sweep.spec import Job, Sweep, SweepSettings

JOBS = [Job(arm, seed) for seed in (0, 1) for arm in ("smooth", "a")]


class Clock:
    """A monotonic clock that only moves when it is told to, and each time somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class NoRuns:
    """A folder without any archive."""

    def __init__(self) -> None:
        self.complete: dict[Job, str] = {}
        self.kept: list[tuple[Job, str]] = []

    def has(self, job: Job) -> bool:
        return False

    def finished(self, job: Job) -> str | None:
        return self.complete.get(job)

    def keep_only(self, job: Job, run: str) -> None:
        self.kept.append((job, run))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(makers, "time", clock)
    monkeypatch.setattr(shared_jobs, "time", clock)
    # Who waits for a job of others lets time pass.
    waiting = SimpleNamespace(Lock=threading.Lock, Event=lambda: Waits(clock))
    monkeypatch.setattr(shared_jobs, "threading", waiting)
    return clock


class Waits(threading.Event):
    """An event that nobody sets: who waits for it lets the clock go on."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        self._clock.sleep(timeout or 0)
        return self.is_set()


class Folder:
    """A shared folder, and makers in it that beat when the test says so."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.makers = prepare(path)
        self.claims = Claims(path, "x", "").folder
        self.said: list[str] = []
        self.runs = NoRuns()

    def maker(self, id: str, machine: str = "elsewhere", pid: int = 1, start: int = 1) -> SharedJobs:
        said = Maker(id, f"host-{id}", machine, ((pid, start),), False, "0", 1)
        (self.makers / f"{id}.maker").write_text(json.dumps(said.__dict__))
        return SharedJobs(Claims(self.path, "x", id), Watch(self.makers), JOBS, self.runs, self.said.append)

    def beat(self, id: str) -> None:
        file = self.makers / f"{id}.maker"
        file.write_text(file.read_text() + " ")


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def all_of(jobs: SharedJobs) -> Iterator[Job]:
    """Take and end jobs until there is none."""
    while (job := jobs.next()) is not None:
        jobs.done(job, f"run-{job.file}")
        yield job


def test_each_job_is_given_once_in_its_order(folder: Folder, clock: Clock) -> None:
    assert list(all_of(folder.maker("one"))) == JOBS
    assert list(all_of(folder.maker("two"))) == []


@pytest.mark.parametrize("told_late", [False, True], ids=["counted", "a disk that says changes late"])
def test_nobody_leaves_before_the_newest_claims_are_read(
    told_late: bool, folder: Folder, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or what a maker that is killed was at is made by nobody."""
    monkeypatch.setattr(shared_jobs.random, "randrange", lambda stop: 0)
    if told_late:
        monkeypatch.setattr(Claims, "has_changed", lambda self, since: False)
    steady, killed = folder.maker("steady"), folder.maker("killed")
    mine = [steady.next()]
    theirs = killed.next()  # after the other one's reading
    mine += [steady.next(), steady.next()]
    for job in mine:
        assert job is not None
        steady.done(job, f"run-{job.file}")
        assert steady.done_count() == mine.index(job) + 1  # for the display, at any time
    assert steady.next() == theirs
    assert folder.said[-1] == "host-killed:1 is gone; what it was at is free again"


def test_two_makers_share_and_whoever_has_none_waits_for_the_other(folder: Folder, clock: Clock) -> None:
    one, two = folder.maker("one"), folder.maker("two")
    first, *more = [one.next(), two.next(), two.next(), one.next()]
    assert {first, *more} == set(JOBS)
    for job in more:
        assert job is not None
        one.done(job, "run") if key_of(job) in one._mine else two.done(job, "run")
    shared_jobs_wait = clock.now

    def beats(seconds: float, sleep: Callable[[float], None] = clock.sleep) -> None:
        folder.beat("one")
        sleep(seconds)
        if clock.now > shared_jobs_wait + 500:  # far longer than a maker may be silent
            one.give_back(first) if first is not None else None
            clock.sleep = sleep  # type: ignore[method-assign]

    clock.sleep = beats  # type: ignore[method-assign]
    assert two.next() == first
    assert folder.said == ["waiting for 1 run of other makers"]


def test_a_maker_is_gone_by_the_clock_of_the_observer_alone(folder: Folder, clock: Clock) -> None:
    folder.maker("gone").next()
    here = folder.maker("here")
    begun = clock.now
    assert len(list(all_of(here))) == len(JOBS)
    assert makers.GONE_SECONDS <= clock.now - begun <= makers.GONE_SECONDS + 10
    assert folder.said == ["waiting for 1 run of other makers", "host-gone:1 is gone; what it was at is free again"]


def test_time_in_which_nobody_looked_does_not_count(folder: Folder, clock: Clock) -> None:
    """As when the observer was suspended, or the disk was away for everybody."""
    folder.maker("away")
    watch = Watch(folder.makers)
    for _ in range(5):
        assert not watch.is_gone("away")
        clock.now += 3600
    for _ in range(int(makers.GONE_SECONDS / 5)):
        clock.now += 5
        gone = watch.is_gone("away")
    assert gone


def test_a_maker_of_this_machine_is_gone_with_its_processes(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(makers, "_machine", lambda: "this")
    started = {7: 70}
    monkeypatch.setattr(makers, "_started", lambda pid: started.get(pid, 0))
    folder.maker("it", "this", 7, 70)
    folder.maker("recycled", "this", 7, 69)
    watch = Watch(folder.makers)
    assert not watch.is_gone("it") and watch.is_gone("recycled")
    started.clear()
    assert watch.is_gone("it")


def test_half_a_claim_and_a_maker_without_a_file_are_free_in_time(folder: Folder, clock: Clock) -> None:
    (folder.claims / f"{key_of(JOBS[0])}.1.claim").write_bytes(b'{"mak')
    assert Claims(folder.path, "x", "unknown").take(key_of(JOBS[1]), 1)
    (folder.claims / f"{key_of(JOBS[2])}.1.claim").write_bytes(b"")
    assert set(all_of(folder.maker("one"))) == set(JOBS)


def test_of_two_that_find_a_maker_gone_one_gets_its_job(folder: Folder, clock: Clock) -> None:
    lost = folder.maker("gone").next()
    one, two = folder.maker("one"), folder.maker("two")
    for maker in (one, two):
        maker._look()
        for _ in range(30):
            assert lost is not None and maker._is_free(key_of(lost), 1, Claim("gone")) in (True, False)
            clock.now += 5
    assert [one._take_again(), two._take_again()] == [key_of(lost), None]  # type: ignore[arg-type]


def test_a_maker_that_was_only_suspended_keeps_nothing(folder: Folder, clock: Clock) -> None:
    late = folder.maker("late")
    job = late.next()
    assert job is not None
    assert job in set(all_of(folder.maker("here")))
    late.done(job, "mine")
    assert folder.runs.kept == [(job, f"run-{job.file}")] * 2  # by the other, whose claim is the second, and by itself
    assert (
        folder.said[-1] == f"{job.arm} seed {job.seed} was made by another maker too, whose run run-{job.file} counts"
    )


def test_a_complete_run_whose_maker_was_gone_before_the_mark_is_not_made_again(folder: Folder, clock: Clock) -> None:
    job = folder.maker("gone").next()
    assert job is not None
    folder.runs.complete[job] = "there"
    here = folder.maker("here")
    assert job not in set(all_of(here))
    assert Claims(folder.path, "x", "here").run_of(key_of(job)) == "there" and here.done_count() == len(JOBS)


def test_a_failed_job_is_tried_by_others_and_not_for_ever(folder: Folder, clock: Clock) -> None:
    held, bad = JOBS[:2]
    # Somebody else is at work, so that none is a start after the end of all.
    folder.maker("slow")
    Claims(folder.path, "x", "slow").take(key_of(held), 1)
    for id in ("one", "two", "three", "four"):
        jobs = folder.maker(id)
        made = []
        while (job := jobs._take()) is not None:
            found = jobs._jobs[job]
            made.append(found)
            if found == bad:
                assert jobs.failed(found, "RuntimeError: out of memory", no_plan=False) == 0
            else:
                jobs.done(found, "run")
        assert (bad in made) == (id != "four") and held not in made
    assert jobs._held_elsewhere() and jobs.failed_elsewhere == {"a": "RuntimeError: out of memory"}
    (folder.claims / f"{key_of(held)}.done").write_text("{}")
    assert folder.maker("later").next() == bad  # nobody is at work any more: started to try it again


def test_an_arm_without_a_plan_is_left_out(folder: Folder, clock: Clock) -> None:
    jobs = folder.maker("one")
    assert jobs.next() == Job("smooth", 0) and jobs.next() == Job("a", 0)
    assert jobs.failed(Job("a", 0), "PlanError: beyond", no_plan=True) == 1
    jobs.done(Job("smooth", 0), "run")
    assert list(all_of(jobs)) == [Job("smooth", 1)]


def test_a_job_given_back_is_free_at_once(folder: Folder, clock: Clock) -> None:
    one = folder.maker("one")
    job = one.next()
    assert job is not None
    one.give_back(job)
    one.stop()
    assert one.next() is None
    begun = clock.now
    assert set(all_of(folder.maker("two"))) == set(JOBS) and clock.now == begun


def test_a_disk_that_is_away_is_told_once_and_waited_for(
    folder: Folder, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = folder.maker("one")
    away = iter([True] * 20)
    whole = Claims.take

    def take(self: Claims, *given: Any) -> bool:
        if next(away, False):
            raise OSError(errno.ESTALE, "Stale file handle")
        return whole(self, *given)

    monkeypatch.setattr(Claims, "take", take)
    assert list(all_of(jobs)) == JOBS
    assert [line.split(" cannot ")[-1][:35] for line in folder.said] == [
        "be used (Stale file handle); it is ",
        f"{folder.claims} can be used again"[:35],
    ]
    away = iter([True] * 10_000)
    other = folder.maker("two")
    (folder.claims / f"{key_of(JOBS[0])}.1.claim").unlink()
    (folder.claims / f"{key_of(JOBS[0])}.done").unlink()
    with pytest.raises(JobsUnreachable, match="Stale file handle"):
        other.next()
    assert len(folder.said) == 3


def test_a_heartbeat_changes_and_is_told_once_when_it_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(makers, "BEAT_SECONDS", 0.01)
    said: list[str] = []
    changed = threading.Event()

    def say(line: str) -> None:
        said.append(line)
        changed.set()

    with Heartbeat(tmp_path, say) as beat:
        first = beat.file.read_bytes()
        assert Maker.parse(first) is not None and len(first) == 1024
        beat.file.unlink()
        beat.file.mkdir()
        assert changed.wait(60) and "cannot be written" in said[0]
        changed.clear()
        beat.file.rmdir()
        assert changed.wait(60) and said[1:] == ["the heartbeat is written again"]
        assert makers_at_work(tmp_path, beat.maker.id, say) == []
        with Heartbeat(tmp_path, say, alone=True) as other:
            assert [m.id for m in makers_at_work(tmp_path, beat.maker.id, say, only_alone=True)] == [other.maker.id]
    assert list(tmp_path.iterdir()) == [] and len(said) == 2


def test_makers_that_begin_at_once_have_one_sweep(tmp_path: Path) -> None:
    arms = with_controls(arms_of([], ["restart:at=0.9,db=3"])[0])
    asked = [Sweep.make(SweepSettings("nano", ("x",)), (0,), arms, {}) for _ in range(8)]
    found: list[Sweep] = []
    ready = threading.Barrier(len(asked))

    def begin(sweep: Sweep) -> None:
        ready.wait()
        found.append(spec.begin(tmp_path, sweep))

    threads = [threading.Thread(target=begin, args=(sweep,)) for sweep in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == len(asked) and {s.id for s in found} == {spec.read(tmp_path).id}
    assert {p.name for p in tmp_path.iterdir()} == {spec.SPEC, spec.RUNS, spec.MEASURES}


def test_a_folder_without_hard_links_begins_a_sweep_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: Any) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(spec.os, "link", link)
    arms = with_controls(arms_of([], ["restart:at=0.9,db=3"])[0])
    made = Sweep.make(SweepSettings("nano", ("x",)), (0,), arms, {})
    assert spec.begin(tmp_path, made) == made == spec.begin(tmp_path, Sweep.make(made.settings, (0,), arms, {}))


def test_long_names_of_arms_are_different_jobs(tmp_path: Path) -> None:
    arms = [f"restart@{'/'.join(['0.9'] * 30)}/{end}" for end in (1, 2)]
    keys = {key_of(Job(arm, 0)) for arm in arms}
    assert len(keys) == 2 and all(len(key) < 100 for key in keys)
    assert (tmp_path / FOLDER).exists() is False
