"""Sweeps: arms from a grid, the folder, worker processes, and one that is killed and started again."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from click.testing import CliRunner

from ltxtui.cli.sweep import sweep as command
from recorder import record
from recorder.format.locations import run_name
from recorder.sweep import runner, spec, worker
from recorder.sweep.grid import Arm, arms_of, smooth, with_controls
from recorder.sweep.jobs import JobList
from recorder.sweep.spec import Job, Sweep, SweepSettings
from replay.sweep import results
from replay.sweep.analysis import analyse
from tests.waiting import PATIENCE_SECONDS, suspend, until
from tests.whole.test_imports import loaded_after

TINY = ["--model", "nano", "--seeds", "2", "--steps", "5", "--height", "128", "--width", "160", "--frames", "33"]
TINY += ["--guidance-scale", "1", "--grid", "kind=restart at=0.9 db=6"]
RUNS = 6  # two seeds of smooth, smooth+1 and the restart


# -- arms


def names(*grids: str, shocks: tuple[str, ...] = ()) -> list[str]:
    return [a.name for a in arms_of(grids, shocks)[0]]


def test_a_grid_is_the_product_of_its_values_with_short_names() -> None:
    found = names("kind=restart,renoise at=0.95,0.9 db=3,6")
    assert found[:4] == ["restart@0.95+3dB", "restart@0.95+6dB", "restart@0.9+3dB", "restart@0.9+6dB"]
    assert len(found) == len(set(found)) == 8
    assert names("kind=renoise at=12 to=0.5") == ["renoise@step12,to0.5"]
    assert names("kind=renoise snr=-20 db=3 streams=video,audio shape=low") == [
        "renoise@-20dB-SNR+3dB,low,video",
        "renoise@-20dB-SNR+3dB,low,audio",
    ]
    assert names("kind=ancestral eta=0.25,1") == ["ancestral,eta0.25", "ancestral,eta1"]
    assert names("kind=restart at=critical") == ["restart@critical"]
    assert names("kind=restart at=0.9 respace=yes frames=1-2") == ["restart@0.9+3dB,frames1+2,respaced"]


def test_combinations_without_sense_are_left_out_with_one_note() -> None:
    arms, notes = arms_of(["kind=predict_perturb,restart,renoise at=0.9,every db=3,6,9"], [])
    assert [a.name for a in arms if a.shocks[0].kind == "predict_perturb"] == ["predict_perturb@0.9"]
    assert [a.name for a in arms if a.shocks[0].kind == "restart"] == [f"restart@0.9+{d}dB" for d in (3, 6, 9)]
    assert sum(a.shocks[0].kind == "renoise" for a in arms) == 6
    assert len(notes) == 3
    assert "predict_perturb: 4 combinations left out: it takes no db" in notes
    assert "restart: 3 combinations left out: restart cannot act at every step" in notes
    assert arms_of(["kind=restart,renoise at=0.9 eta=0.5"], [])[1] == (
        "restart: 1 combination left out: eta belongs to renoise and additive, not to restart",
    )
    assert arms_of(["kind=renoise at=0.9 db=0,6"], [])[1] == (
        "renoise: 1 combination left out: zero strength is the smooth baseline",
    )


def test_grids_and_shocks_are_united_and_doubles_made_once() -> None:
    found = names(
        "kind=restart at=0.9 db=3",
        "kind=restart at=0.9,0.5",
        shocks=(
            "restart:sigma=0.9",
            "spikes:at=0.95+0.9,db=3",
            "ancestral:eta=0.5",
            "restart:at=0.9,db=3;renoise:at=0.5",
        ),
    )
    assert found == [
        "restart@0.9+3dB",
        "restart@0.5+3dB",
        "restart@0.95/0.9+3dB",
        "ancestral,eta0.5",
        "restart@0.9+3dB&renoise@0.5+3dB",
    ]


@pytest.mark.parametrize(
    ("grid", "why"),
    [
        ("at=0.9", "needs kind="),
        ("kind=restart,wobble at=0.9", "not wobble"),
        ("kind=restart strength=3", "'strength' in the grid is unknown"),
        ("kind=restart at=0.9 seed=3", "follows the run's seed"),
        ("kind=restart at", "not of the form key=value"),
        ("kind=restart at=0.9 at=0.5", "gives at twice"),
        ("kind=restart at=1.5", "no arm that makes sense"),
        ("kind=restart db=3", "needs a place"),
        ("kind=renoise at=0.9 db=3 eta=0.5", "give one of"),
    ],
)
def test_a_grid_that_cannot_be_read_says_why(grid: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        arms_of([grid], [])


def test_controls_are_there_for_every_number_of_evaluations() -> None:
    shocks = ("spikes:at=0.95+0.9+0.8,db=3", "restart:at=0.9,respace", "sigma_bump:at=0.9", "renoise:at=0.9")
    arms = with_controls(arms_of([], shocks)[0])
    assert [a.name for a in arms if a.is_control] == ["smooth", "smooth+2", "smooth+3"]
    by_shock = {a.shocks[0].kind + ("!" if a.shocks[0].respace else ""): a.control for a in arms if a.shocks}
    assert by_shock == {"restart": "smooth+3", "restart!": "smooth", "sigma_bump": "smooth+2", "renoise": "smooth"}
    assert (smooth().control, smooth(2).control) == (None, "smooth")
    assert with_controls(arms) == arms


def test_kinds_that_leave_the_marginal_are_known_before_a_run() -> None:
    def off(text: str) -> bool:
        return arms_of([], [text])[0][0].off_marginal

    assert off("additive:at=0.9,db=1") and off("predict_perturb:at=0.9") and off("sigma_bump:at=0.9,db=6")
    assert off("sigma_bump:at=0.9,to=0.95") and off("sigma_bump:step=3,to=0.95")
    assert not off("sigma_bump:at=0.9,db=0.5") and not off("restart:at=0.9,db=9") and not off("ancestral:eta=1")


def test_noise_differs_from_seed_to_seed_and_is_shared_by_arms() -> None:
    one, spikes = arms_of([], ["restart:at=0.9", "spikes:at=0.95+0.9"])[0]
    assert [s.seed for s in one.shocks_of(7)] == [7] and [s.seed for s in spikes.shocks_of(7)] == [7, 8]


# -- the folder


def small(**more: Any) -> Sweep:
    arms = with_controls(arms_of([more.pop("grid", "kind=restart at=0.9 db=6")], [])[0])
    settings = SweepSettings("nano", ("a red ball moving left", "a blue box moving up"), **more)
    return Sweep.make(settings, (0, 1), arms, {"python": "3"})


def test_a_sweep_is_kept_and_read_back(tmp_path: Path) -> None:
    made = small(steps=4, guidance_scale=1.0)
    spec.write(tmp_path, made)
    assert spec.read(tmp_path) == made
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    assert made.jobs()[:2] == [Job("smooth", 0), Job("smooth+1", 0)] and len(made.jobs()) == 6
    assert [made.settings.prompt(s) for s in (0, 1, 2)] == [*made.settings.prompts, made.settings.prompts[0]]
    assert len({j.file for j in made.jobs()}) == 6


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "Expecting"),
        ("[]", "damaged"),
        ('{"format": "other"}', "not written by ltxtui sweep"),
        ('{"format": "ltxtui-sweep", "version": 99}', "newer version"),
        ('{"format": "ltxtui-sweep", "version": 1}', "damaged"),
    ],
)
def test_what_is_no_sweep_is_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(spec.NotASweep, match="holds no sweep"):
        spec.read(tmp_path)
    (tmp_path / spec.SPEC).write_text(text)
    with pytest.raises(spec.NotASweep, match=why):
        spec.read(tmp_path)


def test_what_differs_is_named_and_seeds_and_arms_can_be_added() -> None:
    made = small()
    assert made.differences(small()) == []
    assert made.differences(small(steps=9)) == ["steps 30 there, 9 asked for"]
    more = small(grid="kind=sigma_bump at=0.9")
    assert made.differences(more) == [
        "2 new arms: smooth+2, sigma_bump@0.9+3dB",
        "2 arms not asked for now: smooth+1, restart@0.9+6dB",
    ]
    joined = made.extended(Sweep.make(more.settings, (1, 2), more.arms, {}))
    assert joined.id == made.id and joined.seeds == (0, 1, 2)
    assert [a.name for a in joined.arms if a.is_control] == ["smooth", "smooth+1", "smooth+2"] and len(joined.arms) == 5


def test_one_sweep_at_a_time_and_workers_are_noticed(tmp_path: Path) -> None:
    with (
        spec.ownership(tmp_path),
        pytest.raises(spec.SweepBusy, match="another ltxtui sweep"),
        spec.ownership(tmp_path),
    ):
        pass
    assert not spec.working(tmp_path)
    held = spec.worker_lock(tmp_path)
    assert spec.working(tmp_path)
    said: list[str] = []
    with pytest.raises(spec.SweepBusy, match="still at work"):
        runner.wait_for_workers(tmp_path, said.append, seconds=0.2)
    assert said
    os.close(held)
    assert not spec.working(tmp_path)


def test_a_fixed_list_gets_more_steps_on_the_same_line() -> None:
    assert worker.stretched([1.0, 0.5], 2) == [1.0, 0.5]
    assert worker.stretched([1.0, 0.5], 4) == [1.0, 0.75, 0.5, 0.25]
    distilled = worker.stretched([1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875], 9)
    assert len(distilled) == 9 and distilled == sorted(distilled, reverse=True) and distilled[0] == 1.0


@pytest.mark.parametrize(
    "modules",
    ["recorder.sweep.runner, recorder.sweep.grid, recorder.sweep.worker", "replay.sweep.analysis, ltxtui.cli.sweep"],
)
def test_starting_a_sweep_loads_nothing_heavy(modules: str) -> None:
    assert loaded_after(f"import {modules}") & {"torch", "diffusers", "transformers", "zarr", "textual"} == set()


# -- workers, played by a small script

STUB = """
import json, sys
for line in sys.stdin:
    job = json.loads(line)
    answer = {"error": None, "fatal": False, "no_plan": False, "seconds": 0.1, "run": "run"}
    BODY
    print(json.dumps(answer), flush=True)
"""


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    def use(body: str) -> None:
        code = STUB.replace("    BODY", textwrap.indent(body, "    "))

        def start(folder: Path, log: int, gpu: str, *, tied: bool) -> subprocess.Popen[str]:
            pipe = subprocess.PIPE
            return subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=log, text=True)

        monkeypatch.setattr(runner, "_start", start)

    return use


JOBS = [Job(arm, seed) for seed in range(4) for arm in ("smooth", "a")]


def test_every_job_is_made_once_by_two_workers(play: Any, tmp_path: Path) -> None:
    play("pass")
    told: list[tuple[Job, int]] = []
    assert runner.run_jobs(tmp_path, JobList(JOBS), 2, lambda answer, dropped: told.append((answer.job, dropped))) == []
    assert sorted(str(job) for job, _ in told) == sorted(map(str, JOBS)) and {d for _, d in told} == {0}


def test_an_arm_that_cannot_act_is_dropped_and_the_others_go_on(play: Any, tmp_path: Path) -> None:
    play("if job['arm'] == 'a': answer.update(error='PlanError: beyond', no_plan=True)")
    told: list[tuple[Job, int]] = []

    def slow(answer: runner.JobResult, dropped: int) -> None:
        told.append((answer.job, dropped))
        time.sleep(0.1)  # the worker is not waited for

    failed = runner.run_jobs(tmp_path, JobList(JOBS), 1, slow)
    assert [f.job for f in failed] == [Job("a", 0)]
    assert [(j.arm, d) for j, d in told] == [("smooth", 0), ("a", 3), ("smooth", 0), ("smooth", 0), ("smooth", 0)]


def test_run_after_run_that_fails_ends_the_sweep(play: Any, tmp_path: Path) -> None:
    play("answer['error'] = 'RuntimeError: out of memory'")
    with pytest.raises(runner.Stopped, match=r"3 runs failed one after the other.*out of memory"):
        runner.run_jobs(tmp_path, JobList(JOBS), 1, lambda *_: None)
    play("answer.update(error='CannotGenerate: no such model', fatal=True)")
    with pytest.raises(runner.Stopped, match=r"^no such model$"):
        runner.run_jobs(tmp_path, JobList(JOBS), 1, lambda *_: None)


def test_a_worker_that_dies_is_said_and_its_run_is_not_lost_silently(play: Any, tmp_path: Path) -> None:
    play("if job['seed'] == 1: import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    failed = runner.run_jobs(tmp_path, JobList(JOBS), 1, lambda *_: None)
    assert [f.job for f in failed] == [Job("smooth", 1)]
    assert "signal 9" in str(failed[0].error)


# -- the command line, up to where a model would be loaded


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(command, arguments)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "specify a model"),
        (["--model", "nano"], "specify what to compare"),
        (["--model", "nano", "--grid", "kind=wobble"], "not wobble"),
        (["--model", "nano", "--grid", "kind=restart at=0.9", "--frames", "20"], "--frames must be 8n"),
        (["--model", "some/model", "--grid", "kind=restart at=0.9"], "--prompt"),
        (["--report"], "specify a sweep"),
        (["nowhere", "--report"], "holds no sweep"),
        (["--report", "--svg", "missing/x.svg"], "does not exist"),
    ],
)
def test_what_a_user_can_mend_is_one_line(
    arguments: list[str], why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = invoke(*arguments)
    assert done.exit_code == 1 and why in done.output and done.output.count("\n") == 1


def test_other_arguments_are_refused_with_what_differs(tmp_path: Path) -> None:
    spec.write(tmp_path, Sweep.make(small().settings, (0, 1), small().arms, {}))
    asked = ["--model", "nano", "--prompt", "a red ball moving left", "--prompt", "a blue box moving up"]
    done = invoke(str(tmp_path), *asked, "--seeds", "3", "--steps", "9", "--grid", "kind=restart at=0.9 db=6")
    assert done.exit_code == 1
    assert "steps 30 there, 9 asked for; seeds 0 to 1 there, 0 to 2 asked for" in done.output
    done = invoke(str(tmp_path), "--steps", "9", "--extend")
    assert done.exit_code == 1 and "cannot be extended: steps 30 there, 9 asked for" in done.output


def test_a_sweep_under_way_cannot_be_started_twice(tmp_path: Path) -> None:
    spec.write(tmp_path, small())
    with spec.ownership(tmp_path):
        done = invoke(str(tmp_path))
    assert done.exit_code == 1 and "another ltxtui sweep is at work" in done.output


# -- real runs


def fresh(pipe: Any) -> Any:
    """The nano pipeline as a worker's own would be: with the scheduler that it was saved with."""
    from recorder.nano import components

    pipe.scheduler = components.scheduler()
    return pipe


def run_jobs(folder: Path, jobs: JobList, workers: int, told: Any, **_: Any) -> list[runner.JobResult]:
    """One worker's own loop in this process, where the model is loaded already."""
    made = list(iter(jobs.next, None))
    lines = "".join(json.dumps({"arm": j.arm, "seed": j.seed}) + "\n" for j in made)
    answers = io.StringIO()
    worker.serve(folder, io.StringIO(lines), answers)
    said = [json.loads(line) for line in answers.getvalue().splitlines()]
    assert [s["error"] for s in said] == [None] * len(made)
    return []


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, nano_pipe: Any) -> tuple[Path, Sweep]:
    """A tiny sweep that nothing disturbed, by the command line, with one worker's own loop in this process."""
    folder = tmp_path_factory.mktemp("sweep") / "undisturbed"

    with tempfile.TemporaryDirectory(prefix="ltx-", dir="/tmp") as runtime, pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTXTUI_RUNTIME_DIR", runtime)
        patch.setattr(worker, "load", lambda sweep: fresh(nano_pipe))
        patch.setattr(runner, "run_jobs", run_jobs)
        done = invoke(str(folder), *TINY)
    assert done.exit_code == 0, done.output
    return folder, spec.read(folder)


def rows_in(folder: Path) -> list[dict[str, str]]:
    with (folder / spec.RESULTS).open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "run"} for row in csv.DictReader(file)]


def test_endpoints_come_from_the_archives(undisturbed: tuple[Path, Sweep]) -> None:
    from replay.sources.open import load

    folder, made = undisturbed
    found = results.find_runs(folder, made)
    assert [f.state for f in found] == ["complete"] * RUNS
    done = results.finished(folder, found, made)
    rows = {r.job: r for r in results.collect(folder, made, done)}
    assert list(rows) == made.jobs()
    job = Job("restart@0.9+6dB", 1)
    row, run = rows[job], load(done[job])
    video = run.stages[-1].streams["video"]
    assert row.values["content_drift"] == run.stages[-1].summary["video"]["content_drift"][0]
    assert row.values["motion"] == pytest.approx(float(video.values("motion")[-1, 0, 2:].mean()))
    assert row.values["final_std"] == pytest.approx(float(video.values("std")[-1, 0]))
    assert (row.evaluations, row.shocks) == (6, 1) == (rows[Job("smooth+1", 1)].evaluations, 1)
    assert rows[Job("smooth", 1)].shocks == 0 and rows[Job("smooth", 1)].evaluations == 5
    assert row.prompt == made.settings.prompt(1) != rows[Job("smooth", 0)].prompt
    assert row.values["colour"] in (0.0, 1.0) and 0 <= row.values["shape_frames"] <= 1
    # A clip's identity by the recorder's x0 and by the final latents are the same thing measured twice.
    assert row.values["task_identity"] == pytest.approx(row.values["identity"], abs=1e-3)
    shock = run.stages[-1].metadata["shocks"]["shocks"][0]
    assert shock["seed"] == 1 and run.metadata["user"]["sweep"]["arm"] == job.arm


def test_a_report_is_derived_from_the_archives_alone(undisturbed: tuple[Path, Sweep], tmp_path: Path) -> None:
    folder, _ = undisturbed
    (folder / spec.RESULTS).unlink(missing_ok=True)
    files = [tmp_path / "t.md", tmp_path / "f.svg"]
    done = invoke(str(folder), "--report", "--markdown", str(files[0]), "--svg", str(files[1]))
    assert done.exit_code == 0, done.output
    assert "Verdict" in done.output and "restart@0.9+6dB" in done.output
    assert "restart@0.9+6dB" in files[0].read_text() and "restart@0.9+6dB" in files[1].read_text()
    assert len(rows_in(folder)) == RUNS
    told = json.loads(invoke(str(folder), "--report", "--json").stdout)
    assert told["primary"] == "content_drift" and told["arms"][0]["differences"]["content_drift"]["pairs"] == 2


def test_runs_that_are_not_ours_or_not_whole_do_not_count(undisturbed: tuple[Path, Sweep]) -> None:
    folder, made = undisturbed
    other = Sweep.make(made.settings, made.seeds, made.arms, {})
    assert results.find_runs(folder, other) == []
    job = Job("smooth", 0)
    found = results.find_runs(folder, made)
    file = spec.measures_file(folder, run_name(results.finished(folder, found, made)[job]))
    kept = file.read_text()
    try:
        file.write_text(json.dumps({"run": "another", "measures": {}}))
        assert set(made.jobs()) - set(results.finished(folder, found, made)) == {job}
        file.rename(spec.measures_file(folder, job.file)).write_text(kept)  # as sweeps of earlier versions have it
        assert set(made.jobs()) == set(results.finished(folder, found, made))
    finally:
        spec.measures_file(folder, job.file).unlink(missing_ok=True)
        file.write_text(kept)


def test_a_shock_beyond_the_schedule_is_told_as_one(
    undisturbed: tuple[Path, Sweep], nano_pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, made = undisturbed
    beyond = arms_of([], ["restart:step=77"])[0]
    spec.write(tmp_path, Sweep.make(made.settings, (0,), with_controls(beyond), {}))
    monkeypatch.setattr(worker, "load", lambda sweep: fresh(nano_pipe))
    answers = io.StringIO()
    worker.serve(tmp_path, io.StringIO(json.dumps({"arm": beyond[0].name, "seed": 0}) + "\n"), answers)
    said = json.loads(answers.getvalue())
    assert said["no_plan"] and "beyond the schedule" in said["error"]
    sweep = spec.read(tmp_path)
    assert results.find_runs(tmp_path, sweep) == []  # no step was taken, so there is no run
    mark = {"sweep": {"id": sweep.id, "arm": beyond[0].name, "seed": 0}}
    with contextlib.suppress(ZeroDivisionError), record(runs_dir=tmp_path / spec.RUNS, metadata=mark) as run:
        x = torch.randn(1, 4, 3, 4, 6)
        run.step(sigma=0.9, sigma_next=0.8, sample=x, velocity=x)
        raise ZeroDivisionError("it fails in mid-run")
    [failed] = results.find_runs(tmp_path, sweep)
    assert failed.state == "failed" and "mid-run" in failed.error
    assert results.discard([failed]) == 1 and results.find_runs(tmp_path, sweep) == []


# -- killed and started again


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "ltxtui", "sweep", str(folder), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def suspended_in_the_middle(worker: psutil.Process, folder: Path) -> bool:
    """Suspend a worker; it is resumed unless it is in the middle of a run, with a whole one before it."""
    suspend(worker)
    states = {f.state for f in results.find_runs(folder, spec.read(folder))}
    if {"live", "complete"} <= states:
        return True
    worker.resume()
    return False


@pytest.mark.slow
def test_killed_in_the_middle_and_started_again_it_finds_the_same(
    undisturbed: tuple[Path, Sweep], nano_pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first start is real processes, which are killed; the second continues here, as `undisturbed` did."""
    folder = tmp_path / "killed"
    process = start(folder, *TINY)
    workers: list[psutil.Process] = []
    before: dict[Job, Path] = {}

    def waited(seconds: float) -> None:
        """A worker that the killed sweep left behind is waited for: no run is made twice, none at the same time."""
        if not before:
            found = results.find_runs(folder, spec.read(folder))
            before.update({f.job: f.path for f in found if f.state == "complete"})
            assert [f.state for f in found if f.state != "complete"] == ["live"]
            workers[0].kill()
        time.sleep(seconds)

    try:
        workers += until(lambda: psutil.Process(process.pid).children())
        until(lambda: suspended_in_the_middle(workers[0], folder))
        process.kill()
        process.wait()
        monkeypatch.setattr(runner, "time", SimpleNamespace(monotonic=time.monotonic, sleep=waited))
        monkeypatch.setattr(runner, "run_jobs", run_jobs)
        monkeypatch.setattr(worker, "load", lambda sweep: fresh(nano_pipe))
        again = invoke(str(folder), *TINY)
    finally:
        for left in (process, *workers):
            with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
                left.kill()
    assert again.exit_code == 0, again.output
    assert "waiting for workers" in again.stderr
    assert 1 <= len(before) < RUNS
    assert f"{RUNS - len(before)} runs to make, {len(before)} done already" in again.stderr
    made = spec.read(folder)
    after = results.find_runs(folder, made)
    assert [f.state for f in after] == ["complete"] * RUNS  # what was unfinished is gone, and made again
    assert {f.job: f.path for f in after}.items() >= before.items()  # what was finished was not touched

    whole, asked = undisturbed
    report = invoke(str(whole), "--report").stdout.splitlines()
    assert again.stdout.splitlines()[:-1] == report[:-1]  # all but the line that names the folder
    assert rows_in(folder) == rows_in(whole)
    one, other = (
        analyse(s, results.collect(f, s, results.finished(f, results.find_runs(f, s), s)))
        for f, s in ((folder, made), (whole, asked))
    )
    assert [a.as_json() for a in one.ranked] == [a.as_json() for a in other.ranked]

    def never(*_: Any) -> None:
        raise AssertionError("nothing was left to make")

    monkeypatch.setattr(runner, "run_jobs", never)
    assert invoke(str(folder), *TINY).stdout == again.stdout


def test_ctrl_c_keeps_what_is_done_and_says_how_to_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "stopped"
    process = start(folder, *TINY)
    try:
        assert process.stderr is not None
        while "runs to make" not in (line := process.stderr.readline()):
            assert line
        until(lambda: psutil.Process(process.pid).children())
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
    assert process.returncode == 130
    assert f"resume with: ltxtui sweep {folder}" in err
    # One that was stopped while it was being started ends by itself, having no job.
    until(lambda: not spec.working(folder))
    assert all(f.state in ("complete", "interrupted") for f in results.find_runs(folder, spec.read(folder)))


def test_arms_and_sweeps_survive_json() -> None:
    for arm in with_controls(arms_of(["kind=renoise,additive at=0.9,7,critical shape=low"], ["spikes:at=0.9+0.5"])[0]):
        assert Arm.from_dict(json.loads(json.dumps(arm.as_dict()))) == arm
