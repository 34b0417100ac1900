"""Alerts of real recorders, in a dashboard on a pseudo-terminal and without one: NaN, findings, stalled, done."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ltxtui.cli.explain import MET
from replay.library import listing
from replay.sources.open import load
from tests.nursery import Child, Nursery, Program, Terminal
from tests.waiting import PATIENCE_SECONDS, until

ROOT = Path(__file__).parents[2]
SIZE = ["--height", "64", "--width", "96", "--frames", "17"]


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal(120, 40)
    yield made
    made.close()


@dataclass(frozen=True)
class Recording:
    """A recorder that waits at its gate after the second step."""

    program: Program
    path: Path
    gate: Path

    def let_go(self) -> None:
        self.gate.touch()


@contextlib.contextmanager
def recording(
    processes: Nursery, folder: Path, *, steps: int = 12, factor: str = "1", stop: str = ""
) -> Iterator[Recording]:
    gate = folder / "gate"
    program = processes.run("faulty", str(folder / "runs"), str(steps), str(gate), factor, stop)
    try:
        yield Recording(program, Path(json.loads(program.stdout.readline())["path"]), gate)
    finally:
        program.end()


def surroundings(folder: Path, runtime_dir: Path, settings: str = "") -> dict[str, str]:
    (folder / "config").write_text("tour = false\n" + settings)
    named = {f"LTXTUI_{name}": str(folder / name.lower()) for name in ("CONFIG", "STATE", "CACHE")}
    kept = {name: os.environ[name] for name in ("PATH", "HF_HUB_OFFLINE", "OMP_NUM_THREADS")}
    more = {"HOME": str(folder), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    return {**kept, **more, **named, "LTXTUI_RUNTIME_DIR": str(runtime_dir)}


def events(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def kinds(file: Path) -> list[tuple[str, str]]:
    return [(e["event"], e["finding"]["id"] if e["finding"] else "") for e in events(file)]


def notifications(terminal: Terminal, name: str) -> list[str]:
    """Texts of OSC 9 about a run; each comes with OSC 777 and one bell."""
    found = terminal.written.decode(errors="replace").split("\x1b]9;ltxtui: ")[1:]
    texts = []
    for each in found:
        text, _, rest = each.partition("\x1b\\")
        assert rest.startswith(f"\x1b]777;notify;ltxtui;{text}\x1b\\\x07"), rest[:200]
        texts.append(text.removeprefix(f"{name}: "))
    return texts


def dashboard(
    processes: Nursery, terminal: Terminal, folder: Path, runtime_dir: Path, name: str, settings: str = ""
) -> Child:
    words = ["watch", name, "--runs-dir", "runs", "--notify", f"tee -a {folder / 'told'}"]
    child = processes.start(words, terminal, folder, surroundings(folder, runtime_dir, settings))
    terminal.until(lambda: b"LIVE" in terminal.written)
    return child


def leave(child: Child, terminal: Terminal) -> None:
    terminal.type(b"q")
    assert child.wait(terminal) == 0
    assert terminal.restored and b"Traceback" not in terminal.written


def test_nan_arrives_in_the_dashboard_and_at_the_command(
    processes: Nursery, terminal: Terminal, tmp_path: Path, runtime_dir: Path
) -> None:
    with recording(processes, tmp_path, factor="nan") as run:
        path = run.path
        child = dashboard(processes, terminal, tmp_path, runtime_dir, path.stem)
        run.let_go()
        terminal.until(lambda: "NaN since step 4" in notifications(terminal, path.stem))
        terminal.until(lambda: ("done", "") in kinds(tmp_path / "told"))
        leave(child, terminal)
    assert notifications(terminal, path.stem) == ["NaN since step 4", "done: NaN since step 4"]
    told = events(tmp_path / "told")
    assert kinds(tmp_path / "told").count(("nan", "not-finite")) == 1
    assert {(e["run"], e["archive"]) for e in told} == {(path.stem, str(path))}
    nan = next(e for e in told if e["event"] == "nan")
    assert nan["verdict"] == {"severity": "error", "text": "NaN since step 4"} and nan["finding"]["step"] == 4


def test_a_finding_reaches_the_command_and_does_not_ring(
    processes: Nursery, terminal: Terminal, tmp_path: Path, runtime_dir: Path
) -> None:
    with recording(processes, tmp_path, factor="1.3") as run:
        path = run.path
        child = dashboard(processes, terminal, tmp_path, runtime_dir, path.stem)
        run.let_go()
        terminal.until(lambda: ("finding", "changed-between-steps") in kinds(tmp_path / "told"))
        terminal.until(lambda: ("done", "") in kinds(tmp_path / "told"))
        leave(child, terminal)
    assert len(notifications(terminal, path.stem)) == 1
    assert all(e["finding"]["severity"] != "note" for e in events(tmp_path / "told") if e["finding"])


def test_a_clip_that_drifts_is_named_at_the_command_and_in_the_notification_of_its_end(
    processes: Nursery, terminal: Terminal, tmp_path: Path, runtime_dir: Path
) -> None:
    """Its last frames show other things than those before; the last row has that."""
    with recording(processes, tmp_path, factor="swap") as run:
        path = run.path
        child = dashboard(processes, terminal, tmp_path, runtime_dir, path.stem)
        run.let_go()
        terminal.until(lambda: ("done", "") in kinds(tmp_path / "told"))
        leave(child, terminal)
    told = events(tmp_path / "told")
    assert kinds(tmp_path / "told") == [("finding", "hard-cut"), ("done", "")]
    assert told[0]["finding"]["severity"] == "warning" and "frame 7" in told[0]["finding"]["text"]
    assert all(e["verdict"] == {"severity": "warning", "text": "cut at frame 7"} for e in told)
    assert notifications(terminal, path.stem) == ["done: cut at frame 7"]
    summary = load(path).stages[0].summary["video"]
    assert summary["content_drift"][0] > 0.2 and summary["drift_first_frame"][0] >= 7


def test_a_stalled_run_is_announced_on_both_ways_and_then_its_end(
    processes: Nursery, terminal: Terminal, tmp_path: Path, runtime_dir: Path
) -> None:
    """The recorder is stopped, then killed: stalled, then failed, with status 4 and without a dashboard too."""
    other = Terminal()
    with contextlib.closing(other), recording(processes, tmp_path, steps=4000) as run:
        path = run.path
        child = dashboard(processes, terminal, tmp_path, runtime_dir, path.stem)
        words = ["watch", "--until-done", "--notify", f"tee -a {tmp_path / 'too'}"]
        waiting = processes.start(words, other, tmp_path, surroundings(tmp_path, runtime_dir))
        other.until(lambda: b"/4000" in other.written)
        run.let_go()
        terminal.until(lambda: listing.list_runs(tmp_path / "runs")[0].steps > 4)
        run.program.signal(signal.SIGSTOP)
        terminal.until(lambda: ("stalled", "") in kinds(tmp_path / "told"))
        other.until(lambda: ("stalled", "") in kinds(tmp_path / "too"))
        run.program.signal(signal.SIGKILL)
        terminal.until(lambda: ("failed", "") in kinds(tmp_path / "told"))
        assert waiting.wait(other) == 4
        leave(child, terminal)
    for screen, file in ((terminal, "told"), (other, "too")):
        said = notifications(screen, path.stem)
        assert said[0].startswith("stalled ") and said[1:] == ["unfinished"]
        assert kinds(tmp_path / file) == [("stalled", ""), ("failed", "")]
    assert events(tmp_path / "too")[0]["verdict"]["text"].startswith("stalled ")


def test_the_setting_turns_the_bell_off_and_the_command_stays(
    processes: Nursery, terminal: Terminal, tmp_path: Path, runtime_dir: Path
) -> None:
    with recording(processes, tmp_path) as run:
        path = run.path
        child = dashboard(processes, terminal, tmp_path, runtime_dir, path.stem, "alerts = false\n")
        run.let_go()
        terminal.until(lambda: ("done", "") in kinds(tmp_path / "told"))
        leave(child, terminal)
    assert notifications(terminal, path.stem) == []


@contextlib.contextmanager
def until_done(folder: Path, runtime_dir: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "ltxtui", "watch", "--until-done", "--runs-dir", "runs", *words]
    env = surroundings(folder, runtime_dir) | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        try:
            yield running
        finally:
            running.kill()


@pytest.mark.parametrize(
    ("factor", "fail_on", "status"),
    [("1", "warning", 0), ("1.3", "warning", 3), ("1.3", "error", 0), ("nan", "error", 3)],
)
def test_until_done_ends_with_its_status(
    processes: Nursery, factor: str, fail_on: str, status: int, tmp_path: Path, runtime_dir: Path
) -> None:
    with recording(processes, tmp_path, factor=factor) as run:
        path = run.path
        with until_done(tmp_path, runtime_dir, "--json", "--fail-on", fail_on, path.stem) as waiting:
            assert waiting.stdout is not None
            first = waiting.stdout.readline()
            run.let_go()
            out, err = waiting.communicate(timeout=PATIENCE_SECONDS)
    assert waiting.returncode == status, (first, out, err)
    said = [json.loads(line) for line in (first, *out.splitlines())]
    assert (said[0]["event"], said[-1]["event"], said[-1]["status"]) == ("begun", "done", "complete")
    assert said[-1]["archive"] == str(path)


def test_until_done_waits_for_the_next_run_and_can_be_interrupted(
    processes: Nursery, tmp_path: Path, runtime_dir: Path
) -> None:
    with contextlib.ExitStack() as stack:
        waiting = stack.enter_context(until_done(tmp_path, runtime_dir, "--wait"))
        assert waiting.stdout is not None
        assert "waiting for the next run" in waiting.stdout.readline()
        path = stack.enter_context(recording(processes, tmp_path)).path
        until(lambda: path.stem in waiting.stdout.readline())
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait(PATIENCE_SECONDS) == 130


def test_a_rule_stops_a_run_of_python(processes: Nursery, tmp_path: Path) -> None:
    with recording(processes, tmp_path, factor="nan", steps=400, stop="not-finite") as run:
        run.let_go()
        assert json.loads(run.program.stdout.readline())["status"] == "interrupted"
        assert run.program.wait() == 0
    path = run.path
    end = load(path).end
    assert end is not None and end["error"] == "stopped by rule not-finite from step 4 of stage 0: NaN since step 4"
    assert load(path).steps < 20


@pytest.mark.slow
def test_a_rule_stops_a_run_of_the_command_and_the_alerts_of_it_arrive(tmp_path: Path, runtime_dir: Path) -> None:
    words = ["--model", "nano", "--steps", "100", *SIZE, "--guidance-scale", "60", "--stop-if", "guidance-strong"]
    command = [sys.executable, "-m", "ltxtui", "record", *words, "--json", "--notify", f"tee -a {tmp_path / 'told'}"]
    env = surroundings(tmp_path, runtime_dir) | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    assert done.returncode == MET, (done.stdout, done.stderr)
    said = json.loads(done.stdout)
    assert said["stopped_by"]["id"] == "guidance-strong" and "stopped by rule guidance-strong" in done.stderr
    assert said["status"] == "interrupted" and said["rows"] < 150
    assert kinds(tmp_path / "told")[-1] == ("failed", "")
