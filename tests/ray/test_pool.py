"""The pool of workers: every job has one result, whatever workers do. Its workers make no runs."""

from __future__ import annotations

import contextlib
import io
import json
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest

from recorder.format.locations import run_name
from recorder.format.version import VERSION
from recorder.sweep import spec
from recorder.sweep.grid import Arm
from recorder.sweep.on_ray import pool
from recorder.sweep.on_ray.cluster import connected
from recorder.sweep.on_ray.maker import RunMaker
from recorder.sweep.runner import JobResult, Stopped
from recorder.sweep.spec import Job, Sweep, SweepSettings
from tests.ray import makers
from tests.ray.conftest import LocalCluster

pytest.importorskip("ray", reason="Ray is not installed: make ray")


@pytest.fixture(scope="module", autouse=True)
def driver(cluster: LocalCluster) -> Iterator[None]:
    """This process is the driver."""
    with connected(cluster.address, io.StringIO()) as has:
        assert (has.nodes, has.gpus, has.cpus) == (1, 2, 2)
        yield


@dataclass
class Heard:
    """Everything that a pool tells."""

    results: list[JobResult] = field(default_factory=list)
    dropped: int = 0
    said: list[str] = field(default_factory=list)
    lost: list[Job] = field(default_factory=list)
    complete: set[Job] = field(default_factory=set)
    """Runs that are in the folder though their worker was lost."""
    log: io.StringIO = field(default_factory=io.StringIO)

    def told(self, result: JobResult, dropped: int) -> None:
        self.results.append(result)
        self.dropped += dropped

    def kept(self, job: Job) -> bool:
        self.lost.append(job)
        return job in self.complete

    @property
    def jobs(self) -> Counter[Job]:
        return Counter(result.job for result in self.results)


def run(
    folder: Path, maker: type[RunMaker], jobs: list[Job], heard: Heard, workers: int = 2, shared: bool = False
) -> list[JobResult]:
    arms = tuple(Arm(name) for name in dict.fromkeys(job.arm for job in jobs))
    made = Sweep.make(SweepSettings(str(folder), ("a prompt",)), (0,), arms, {"torch": "not installed"})
    spec.write(folder, made)
    hearing = pool.Hearing(heard.told, heard.said.append, heard.kept, heard.log)
    return pool.run_jobs(folder, made, jobs, workers, hearing, shared=shared, maker=maker)


def jobs(count: int, *arms: str) -> list[Job]:
    return [Job(arm, seed) for seed in range(count) for arm in arms]


def test_ten_thousand_jobs_are_made_once_each(tmp_path: Path) -> None:
    heard, asked = Heard(), jobs(5_000, "smooth", "a")
    began = time.monotonic()
    assert run(tmp_path, makers.EmptyMaker, asked, heard) == []
    assert heard.jobs == Counter(asked) and not heard.said
    assert (time.monotonic() - began) / len(asked) < 0.05


def test_results_come_home_measures_first_and_nothing_is_overwritten(tmp_path: Path) -> None:
    heard, asked = Heard(), jobs(10, "smooth", "a")
    assert run(tmp_path, makers.DryMaker, asked, heard) == []
    homes = sorted(path.name for path in (tmp_path / spec.RUNS).iterdir())
    assert homes == sorted(f"{job.seed:05d}-{job.arm}.zarr.zip" for job in asked)
    assert {path.read_bytes() for path in (tmp_path / spec.RUNS).iterdir()} == {makers.ARCHIVE}
    assert run(tmp_path, makers.DryMaker, [Job("a", 0)], Heard()) == []  # another run of the same name
    names = sorted(run_name(path) for path in (tmp_path / spec.RUNS).iterdir())
    assert len(names) == len(asked) + 1 and "00000-a-2" in names
    for name in names:
        kept = json.loads(spec.measures_file(tmp_path, name).read_bytes())
        assert kept == {"run": name, "measures": {"colour": 1.0}}


def test_a_lost_run_is_made_again_and_one_that_loses_every_worker_fails(tmp_path: Path) -> None:
    heard, asked = Heard(), [*jobs(3, "once", "smooth"), Job("deadly", 0)]
    failed = run(tmp_path, makers.DyingMaker, asked, heard)
    assert heard.jobs == Counter(asked)
    assert [f.job for f in failed] == [Job("deadly", 0)]
    assert failed[0].error == "WorkerDied: 3 workers were lost during this run (its worker process has died)"
    assert Counter(heard.lost) == Counter([*jobs(3, "once"), *[Job("deadly", 0)] * 3])
    assert "a worker on node was lost (its worker process has died); once seed 0 is made again" in heard.said


def test_a_run_that_was_complete_when_its_worker_was_lost_is_not_made_again(tmp_path: Path) -> None:
    heard = Heard(complete={Job("deadly", 1)})
    assert run(tmp_path, makers.DyingMaker, [Job("deadly", 1), *jobs(3, "smooth")], heard) == []
    assert heard.jobs == Counter([Job("deadly", 1), *jobs(3, "smooth")]) and heard.lost == [Job("deadly", 1)]
    assert heard.said == ["a worker on node was lost (its worker process has died) after a run"]


def test_workers_that_die_while_loading_end_the_sweep(tmp_path: Path) -> None:
    with pytest.raises(Stopped, match="3 workers were lost while they loaded the model"):
        run(tmp_path, makers.DeadMaker, jobs(9, "a"), Heard())


def test_run_after_run_that_fails_ends_the_sweep(tmp_path: Path) -> None:
    heard = Heard()
    with pytest.raises(Stopped, match=r"3 runs failed one after the other, the last with RuntimeError: out of memory"):
        run(tmp_path, makers.FailingMaker, jobs(99, "a"), heard, workers=1)
    assert len(heard.results) == 3 and "a seed 0 on node:\nTraceback\n" in heard.log.getvalue()


def test_one_broken_gpu_does_not_eat_the_jobs(tmp_path: Path) -> None:
    heard, asked = Heard(), jobs(100, "a", "b")
    with contextlib.suppress(Stopped):  # if the other worker is not ready before
        failed = run(tmp_path, makers.HalfBrokenMaker, asked, heard)
        assert heard.jobs == Counter(asked) and len(failed) < 20
        return
    assert len(heard.results) < 20


def test_an_arm_that_cannot_act_is_dropped_and_the_others_go_on(tmp_path: Path) -> None:
    heard, asked = Heard(), jobs(50, "a", "smooth")
    failed = run(tmp_path, makers.UnplannableMaker, asked, heard, workers=1)
    assert [f.job for f in failed] == [Job("a", 0)] and heard.dropped == 49
    assert set(heard.jobs) == {Job("a", 0), *jobs(50, "smooth")}


def test_what_a_worker_never_should_raise_is_a_failed_run(tmp_path: Path) -> None:
    heard, asked = Heard(), [*jobs(3, "smooth"), Job("a", 0), *jobs(3, "b")]
    [failed] = run(tmp_path, makers.RaisingMaker, asked, heard, workers=1)
    assert failed.job == Job("a", 0) and failed.error == "AssertionError: an oversight"
    assert "makers.py" in heard.log.getvalue()


def test_another_version_of_ltxtui_is_told_once(tmp_path: Path) -> None:
    heard = Heard()
    with pytest.raises(Stopped, match=f"ltxtui {VERSION} is installed there, 0.0.1 here"):
        run(tmp_path, makers.OldMaker, jobs(9, "a"), heard)
    assert len(heard.said) == 1


def test_other_versions_of_the_libraries_are_told_once(tmp_path: Path) -> None:
    heard = Heard()
    run(tmp_path, makers.OtherLibrariesMaker, jobs(300, "a"), heard)
    assert len(heard.said) <= 1 and all("runs may not be exact pairs" in line for line in heard.said)
    assert spec.read(tmp_path).versions["torch"].startswith("2.")  # of the cluster, not of this process


def test_a_folder_that_the_nodes_do_not_have_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool.SharedFolder, "__init__", _elsewhere)
    with pytest.raises(Stopped, match=r"is not the shared folder there; leave out --ray-shared"):
        run(tmp_path, RunMaker, jobs(2, "a"), Heard(), shared=True)
    assert not list(tmp_path.glob(".ray-*"))


def _elsewhere(self: pool.SharedFolder, path: str, mark: str) -> None:
    object.__setattr__(self, "path", f"{path}-elsewhere")
    object.__setattr__(self, "mark", mark)


def test_a_run_costs_little_beyond_itself(tmp_path: Path) -> None:
    """With its real archive: read, sent, and forced onto the disk."""
    settings = SweepSettings(
        "nano", ("a red ball moving left",), steps=5, height=128, width=160, frames=33, guidance_scale=1.0
    )
    made = Sweep.make(settings, tuple(range(8)), (Arm("smooth"),), {})
    spec.write(tmp_path, made)
    times: list[float] = []
    seconds: list[float] = []

    def told(result: JobResult, dropped: int) -> None:
        assert result.error is None
        times.append(time.monotonic())
        seconds.append(result.seconds)

    hearing = pool.Hearing(told, print, lambda job: False, io.StringIO())
    assert pool.run_jobs(tmp_path, made, made.jobs(), 1, hearing) == []
    between = [after - before for before, after in pairwise(times)]
    assert statistics.median(gap - made for gap, made in zip(between, seconds[1:], strict=True)) < 0.05


NOT_THERE = """
import io, sys, types
from pathlib import Path
sys.path.insert(0, {root!r})
from recorder.sweep.on_ray import cluster, maker, pool
from recorder.sweep.runner import Stopped
from tests.ray.test_pool import Heard, jobs, run
module = types.ModuleType("only_here")
class HereMaker(maker.RunMaker): pass
HereMaker.__module__ = "only_here"
module.HereMaker = HereMaker
sys.modules["only_here"] = module
try:
    with cluster.connected({address!r}, io.StringIO()):
        run(Path({folder!r}), HereMaker, jobs(3, "a"), Heard())
except Stopped as error:
    print("Stopped:", error)
"""


def test_nodes_without_ltxtui_are_told_in_one_line(cluster: LocalCluster, tmp_path: Path) -> None:
    """A module that the nodes lack stands for ltxtui."""
    root = str(Path(__file__).parents[2])
    code = NOT_THERE.format(root=root, address=cluster.address, folder=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout.startswith("Stopped: ") and done.stdout.count("\n") == 1, done.stdout + done.stderr
    assert "No module named 'only_here'" in done.stdout
