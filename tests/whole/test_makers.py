"""Any number of makers on one sweep: real processes that are killed, preempted, and have other clocks."""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner, Result

from ltxtui.cli.sweep import sweep as command
from recorder.format.locations import run_name
from recorder.journal.tail import JournalReader
from recorder.sweep import claims, runner, spec
from recorder.sweep import makers as its_module
from recorder.sweep.grid import arms_of, with_controls
from recorder.sweep.shared_jobs import SharedJobs
from recorder.sweep.spec import Job, Sweep, SweepSettings
from replay.sweep import results
from tests.waiting import PATIENCE_SECONDS, suspend, until
from tests.whole import stand_in_maker

ROOT = Path(__file__).parents[2]
TINY = ["--model", "nano", "--seeds", "2", "--steps", "5", "--height", "128", "--width", "160", "--frames", "33"]
TINY += ["--guidance-scale", "1", "--grid", "kind=restart at=0.9 db=6"]


def prepared(folder: Path, seeds: int = 4) -> Sweep:
    """A sweep whose runs the stand-in makes."""
    arms = with_controls(arms_of(["kind=restart at=0.9 db=3,6"], [])[0])
    settings = SweepSettings("made-up", ("a red ball moving left",))
    spec.write(folder, Sweep.make(settings, tuple(range(seeds)), arms, {}))
    return spec.read(folder)


class Makers:
    """Processes of `ltxtui sweep` with the stand-in, none of which outlives the test."""

    def __init__(self) -> None:
        self._all: list[subprocess.Popen[str]] = []

    def start(
        self,
        folder: Path,
        *more: str,
        host: str = "",
        clock: float = 0,
        step: float = 0,
        first: float = 0,
        module: str = "tests.whole.stand_in_maker",
    ) -> subprocess.Popen[str]:
        said = {"STAND_IN_HOST": host, "STAND_IN_CLOCK": str(clock), "STAND_IN_FIRST": str(first)}
        said |= {"STAND_IN_STEP": str(step)} if step else {}
        said |= {"STAND_IN_LOCKS": "none"} if "--join" in more else {}
        self._all.append(
            subprocess.Popen(
                [sys.executable, "-m", module, "sweep", str(folder), *more],
                cwd=ROOT,
                env=os.environ | said,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        return self._all[-1]

    def end(self) -> None:
        for maker in self._all:
            with contextlib.suppress(psutil.NoSuchProcess):
                for process in (*psutil.Process(maker.pid).children(recursive=True), maker):
                    process.kill()
            maker.communicate()


@pytest.fixture
def makers() -> Iterator[Makers]:
    found = Makers()
    yield found
    found.end()


def jobs_of(folder: Path, maker: subprocess.Popen[str]) -> list[str]:
    """The names of the jobs that a maker is at, whose run it has begun."""
    begun = [line.split() for line in beginnings(folder)]
    workers = {child.pid for child in psutil.Process(maker.pid).children()} if begun else set()
    mine = [name for name, pid, _ in begun if int(pid) in workers]
    done = {path.name.rpartition("-")[0] for path in (folder / claims.FOLDER).glob(f"*/*{claims.DONE}")}
    return [name for name in mine if name not in done]


def held_in_a_run(folder: Path, maker: subprocess.Popen[str]) -> list[tuple[str, psutil.Process]]:
    """The job that a maker is at, and its worker, which holds still in mid-run: a run takes less than a second."""
    for name in jobs_of(folder, maker):
        [worker] = psutil.Process(maker.pid).children()
        suspend(worker)
        if jobs_of(folder, maker) == [name] and in_mid_run(folder, name):
            return [(name, worker)]
        worker.resume()
    return []


def in_mid_run(folder: Path, name: str) -> bool:
    """Whether a run of a job has begun and not ended: the journal outlives the end until the archive is complete."""
    for path in (folder / spec.RUNS).glob(f"{'[0-9]' * 8}-{'[0-9]' * 6}-{name}.journal"):
        journal = JournalReader(path)
        kinds = [message["t"] for message in journal.poll()]
        journal.close()
        if kinds and kinds[-1] != "end":
            return True
    return False


def beginnings(folder: Path) -> list[str]:
    log = folder / stand_in_maker.BEGUN
    return log.read_text().splitlines() if log.exists() else []


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / spec.RESULTS).open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "run"} for row in csv.DictReader(file)]


def times_begun(folder: Path) -> Counter[str]:
    return Counter(line.split()[0] for line in beginnings(folder))


def test_four_makers_two_killed_one_preempted_and_no_clock_right(makers: Makers, tmp_path: Path) -> None:
    whole, shared = tmp_path / "whole", tmp_path / "shared"
    sweep = prepared(shared)
    spec.write(whole, sweep)
    undisturbed = makers.start(whole, "--workers", "2", step=0.001)

    # A claim that its maker did not finish writing, of a day that is still to come.
    torn = Job("smooth", 0)
    half = claims.Claims(shared, sweep.id, "").file(claims.key_of(torn), 1)
    half.write_text('{"maker": "no')
    os.utime(half, (4e9, 4e9))

    steady = makers.start(shared, "--join", host="one")
    orphaned = makers.start(shared, "--join", host="two", clock=420)
    lost = makers.start(shared, "--join", host="one", clock=-540)
    preempted = makers.start(shared, "--join", host="three", clock=86400)
    [(begun, worker)] = until(lambda: held_in_a_run(shared, orphaned))
    orphaned.kill()
    worker.resume()  # ends by itself
    [(ended, worker)] = until(lambda: held_in_a_run(shared, lost))
    lost.kill()  # first, or it would still say that its worker died
    worker.kill()
    [(stopped, worker)] = until(lambda: held_in_a_run(shared, preempted))
    for process in (worker, psutil.Process(preempted.pid)):
        process.send_signal(signal.SIGUSR2)  # to all processes of a job, as Slurm does
    worker.resume()
    _, earlier = preempted.communicate(timeout=PATIENCE_SECONDS)
    assert preempted.returncode == 130 and "interrupted; finished runs are kept" in earlier
    out, told = steady.communicate(timeout=PATIENCE_SECONDS)
    assert steady.returncode == 0, told

    for maker in (orphaned, lost):
        said = f":{maker.pid} is gone; what it was at is free again"
        assert said in told + earlier and told.count(said) <= 1, told
    found = results.find_runs(shared, sweep)
    assert Counter((f.job, f.state) for f in found) == {(job, "complete"): 1 for job in sweep.jobs()}
    # Nothing was begun again but what was interrupted, once for each time.
    counts = times_begun(shared)
    assert counts.total() == len(sweep.jobs()) + 3 and counts.keys() == {job.file for job in sweep.jobs()}
    assert {name for name, many in counts.items() if many > 1} == {begun, ended, stopped}
    # Of a run that was killed before its first message nothing says whose it was.
    assert not [f for f in (shared / spec.RUNS).glob("*.journal") if f.stat().st_size]

    report, _ = undisturbed.communicate(timeout=PATIENCE_SECONDS)
    assert out.splitlines()[:-1] == report.splitlines()[:-1]  # all but the line that names the folder
    assert rows(shared) == rows(whole) and len({row["content_drift"] for row in rows(whole)}) > 4

    # Whoever comes later has nothing to do.
    assert CliRunner().invoke(command, [str(shared), "--join"]).stdout == out


@pytest.mark.slow
def test_real_makers_that_begin_one_sweep_together(makers: Makers, tmp_path: Path) -> None:
    """The nano model, with one of two makers killed in mid-run."""
    shared, whole = tmp_path / "shared", tmp_path / "whole"
    asked = [*TINY, "--steps", "40"]  # a run that lasts long enough to be found
    killed, steady = (makers.start(shared, *asked, "--join", module="ltxtui") for _ in range(2))

    def live_run() -> bool:
        files = (shared / claims.FOLDER).glob("*/*.1.claim")
        own = {f.name.partition(".")[0] for f in files if f"-{killed.pid}-" in f.read_text()}
        jobs = spec.read(shared).jobs() if own else []
        return any(claims.key_of(job) in own and in_mid_run(shared, job.file) for job in jobs)

    def held_in_a_run() -> list[psutil.Process]:
        """The maker's worker, which holds still: a run takes a second or two, and a worker ends its own."""
        if live_run():
            [worker] = psutil.Process(killed.pid).children()
            suspend(worker)
            if live_run():
                return [worker]
            worker.resume()
        return []

    [worker] = until(held_in_a_run)
    killed.kill()
    worker.kill()
    out, told = steady.communicate(timeout=PATIENCE_SECONDS)
    assert steady.returncode == 0 and f":{killed.pid} is gone" in told, told
    sweep = spec.read(shared)
    found = results.find_runs(shared, sweep)
    assert Counter((f.job, f.state) for f in found) == {(job, "complete"): 1 for job in sweep.jobs()}
    report, _ = makers.start(whole, *asked, module="ltxtui").communicate(timeout=PATIENCE_SECONDS)
    assert rows(shared) == rows(whole) and out.splitlines()[:-1] == report.splitlines()[:-1]


@pytest.mark.slow
def test_a_suspended_maker_comes_back_and_its_run_does_not_count(makers: Makers, tmp_path: Path) -> None:
    sweep = prepared(tmp_path, seeds=1)
    # Before its run's first message: the other maker removes what it finds of the job, and the stand-in needs it.
    suspended = makers.start(tmp_path, "--join", host="one", first=1.0)
    [name] = until(lambda: jobs_of(tmp_path, suspended))
    [worker] = psutil.Process(suspended.pid).children()
    for process in (worker, psutil.Process(suspended.pid)):
        suspend(process)
    other = makers.start(tmp_path, "--join", host="two")
    _, told = other.communicate(timeout=PATIENCE_SECONDS)
    assert other.returncode == 0 and "is gone; what it was at is free again" in told
    [key] = [claims.key_of(job) for job in sweep.jobs() if job.file == name]
    counts = claims.Claims(tmp_path, sweep.id, "").run_of(key)
    for process in (worker, psutil.Process(suspended.pid)):
        process.resume()
    _, told = suspended.communicate(timeout=PATIENCE_SECONDS)
    assert suspended.returncode == 0 and "was made by another maker too" in told
    found = results.find_runs(tmp_path, sweep)
    assert Counter(f.job for f in found) == {job: 1 for job in sweep.jobs()}
    assert counts in {run_name(f.path) for f in found}


def test_alone_or_together_but_not_both(makers: Makers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def invoked(host: str, *more: str) -> Result:
        monkeypatch.setattr(its_module, "_machine", lambda: host)
        return CliRunner().invoke(command, [str(tmp_path), *more])

    prepared(tmp_path, seeds=1)
    alone = makers.start(tmp_path, host="one", step=1.0)
    until(lambda: beginnings(tmp_path))
    refused = invoked("two", "--join")
    assert refused.exit_code == 1 and refused.stderr.endswith("alone; stop it, and start it with --join\n")
    # It is on another machine.
    assert refused.stderr.count("waiting to see whether an earlier start is still at work") == 1
    alone.send_signal(signal.SIGTERM)
    alone.communicate(timeout=PATIENCE_SECONDS)
    assert alone.returncode == 130

    joined = makers.start(tmp_path, "--join", host="one", step=1.0)
    until(lambda: jobs_of(tmp_path, joined))
    refused = invoked("one")
    assert f"is at work in {tmp_path}; join it with --join" in refused.stderr and "waiting" not in refused.stderr
    joined.kill()
    joined.wait()
    monkeypatch.setattr(its_module, "GONE_SECONDS", 1.0)
    monkeypatch.setattr(runner, "run_jobs", lambda *_, **__: [])
    again = invoked("two")
    assert again.stderr.count("waiting to see") == 1 and "runs to make" in again.stderr
    assert list((tmp_path / claims.FOLDER).iterdir()) == []


def test_what_was_made_alone_counts_and_what_was_begun_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def join(folder: Path, jobs: SharedJobs, *_: object, **__: object) -> list[runner.JobResult]:
        for job in iter(jobs.next, None):
            given.append(job)
            jobs.done(job, run_name(stand_in_maker.make_run(None, sweep, job, folder)))
        return []

    given: list[Job] = []
    monkeypatch.setattr(runner, "run_jobs", join)
    monkeypatch.setattr(stand_in_maker, "STEP_SECONDS", 0.0)
    sweep = prepared(tmp_path, seeds=1)
    first, second, *others = sweep.jobs()
    kept = stand_in_maker.make_run(None, sweep, first, tmp_path)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(time, "sleep", lambda seconds: signal.raise_signal(signal.SIGINT))
        stand_in_maker.make_run(None, sweep, second, tmp_path)
    assert [f.state for f in results.find_runs(tmp_path, sweep)] == ["complete", "interrupted"]

    assert CliRunner().invoke(command, [str(tmp_path), "--join"]).exit_code == 0
    assert given == [second, *others]
    found = results.find_runs(tmp_path, sweep)
    assert Counter((f.job, f.state) for f in found) == {(job, "complete"): 1 for job in sweep.jobs()}

    shutil.rmtree(kept)
    again = CliRunner().invoke(command, [str(tmp_path), "--join"])
    assert again.stderr.count("1 run marked as made is not in the folder any more") == 1 and len(given) == 3
    monkeypatch.setattr(runner, "run_jobs", lambda folder, jobs, *_, **__: given.extend(iter(jobs.next, None)) or [])
    CliRunner().invoke(command, [str(tmp_path)])
    assert given[3:] == [first]


@pytest.mark.parametrize("together", [(), ("--join",)])
def test_each_gpu_gets_a_worker_that_sees_no_other(
    together: tuple[str, ...], makers: Makers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(tmp_path, seeds=1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-x,7")
    maker = makers.start(tmp_path, *together, "--gpus", "2,1", step=0.001)
    _, told = maker.communicate(timeout=PATIENCE_SECONDS)
    assert maker.returncode == 0, told
    seen = {line.split()[2] for line in beginnings(tmp_path)}
    assert seen == {"7", "GPU-x"}


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--join", "--gpus", "all"], "no NVIDIA GPU was found"),
        (["--gpus", "0", "--workers", "2"], "leave out --workers"),
        (["--join", "--steps", "9"], "holds another sweep: steps 30 there, 9 asked for"),
    ],
)
def test_what_a_maker_is_not_told_right(
    more: list[str], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    asked = ["--model", "made-up", "--prompt", "a red ball moving left", "--seeds", "4"]
    asked += ["--grid", "kind=restart at=0.9 db=3,6"] if "--steps" in more else []
    done = CliRunner().invoke(command, [str(tmp_path), *(asked if "--steps" in more else []), *more])
    assert done.exit_code == 1 and why in done.stderr and done.stderr.count("\n") == 1
    without = CliRunner().invoke(command, ["--join", *asked])
    assert without.exit_code == 1 and "specify the folder to share" in without.stderr


def test_makers_extend_a_sweep_that_others_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[int] = []
    monkeypatch.setattr(runner, "run_jobs", lambda folder, jobs, *_, **__: given.append(len(jobs._jobs)) or [])
    sweep = prepared(tmp_path)
    for _ in range(2):
        more = CliRunner().invoke(command, [str(tmp_path), "--join", "--extend", "--seeds", "6"])
        assert more.exit_code == 0, more.output
    after = spec.read(tmp_path)
    assert after.id == sweep.id and after.seeds == tuple(range(6)) and given == [24, 24]
