"""Alerts of real recorders, in a dashboard on a pseudo-terminal and without one: NaN, findings, stalled, done."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ltxtui.cli.explain import MET
from replay.sources.open import load
from tests.ltxtui.nursery import Child, Nursery, Terminal, nursery
from tests.waiting import PATIENCE_SECONDS, until

ROOT = Path(__file__).parents[2]
SIZE = ["--height", "64", "--width", "96", "--frames", "17"]


@pytest.fixture(scope="module")
def processes() -> Iterator[Nursery]:
    with nursery() as made:
        yield made


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal(120, 40)
    yield made
    made.close()


@contextlib.contextmanager
def recording(folder: Path, *, steps: int = 30, factor: str = "1", pause: str = "0.2", stop: str = "") -> Iterator[Any]:
    """A recorder, and the name of its run."""
    words = ["faulty", str(folder / "runs"), str(steps), pause, factor, stop]
    command = [sys.executable, "-m", "tests.processes", *words]
    running = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert running.stdout is not None
        yield running, Path(json.loads(running.stdout.readline())["path"])
    finally:
        running.send_signal(signal.SIGCONT)
        running.kill()
        running.wait()
        running.stdout.close()


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
    with recording(tmp_path, factor="nan") as (_, path):
        child = dashboard(processes, terminal, tmp_path, runtime_dir, path.stem)
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
    with recording(tmp_path, factor="1.3") as (_, path):
        child = dashboard(processes, terminal, tmp_path, runtime_dir, path.stem)
        terminal.until(lambda: ("finding", "changed-between-steps") in kinds(tmp_path / "told"))
        terminal.until(lambda: ("done", "") in kinds(tmp_path / "told"))
        leave(child, terminal)
    assert len(notifications(terminal, path.stem)) == 1
    assert all(e["finding"]["severity"] != "note" for e in events(tmp_path / "told") if e["finding"])


def test_a_stalled_run_is_announced_on_both_ways_and_then_its_end(
    processes: Nursery, terminal: Terminal, tmp_path: Path, runtime_dir: Path
) -> None:
    """The recorder is stopped, then killed: stalled, then failed, with status 4 and without a dashboard too."""
    other = Terminal()
    with contextlib.closing(other), recording(tmp_path, steps=4000) as (recorder, path):
        child = dashboard(processes, terminal, tmp_path, runtime_dir, path.stem)
        words = ["watch", "--until-done", "--notify", f"tee -a {tmp_path / 'too'}"]
        waiting = processes.start(words, other, tmp_path, surroundings(tmp_path, runtime_dir))
        other.until(lambda: b"/4000" in other.written)
        recorder.send_signal(signal.SIGSTOP)
        terminal.until(lambda: ("stalled", "") in kinds(tmp_path / "told"))
        other.until(lambda: ("stalled", "") in kinds(tmp_path / "too"))
        recorder.send_signal(signal.SIGKILL)
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
    with recording(tmp_path, steps=12) as (_, path):
        child = dashboard(processes, terminal, tmp_path, runtime_dir, path.stem, "alerts = false\n")
        terminal.until(lambda: ("done", "") in kinds(tmp_path / "told"))
        leave(child, terminal)
    assert notifications(terminal, path.stem) == []


def until_done(folder: Path, runtime_dir: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "ltxtui", "watch", "--until-done", "--runs-dir", "runs", *words]
    env = surroundings(folder, runtime_dir) | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize(
    ("factor", "fail_on", "status"),
    [("1", "warning", 0), ("1.3", "warning", 3), ("1.3", "error", 0), ("nan", "error", 3)],
)
def test_until_done_ends_with_its_status(
    factor: str, fail_on: str, status: int, tmp_path: Path, runtime_dir: Path
) -> None:
    with recording(tmp_path, factor=factor, steps=12) as (_, path):
        waiting = until_done(tmp_path, runtime_dir, "--json", "--fail-on", fail_on, path.stem)
        out, err = waiting.communicate(timeout=PATIENCE_SECONDS)
    assert waiting.returncode == status, (out, err)
    said = [json.loads(line) for line in out.splitlines()]
    assert (said[0]["event"], said[-1]["event"], said[-1]["status"]) == ("begun", "done", "complete")
    assert said[-1]["archive"] == str(path)


def test_until_done_waits_for_the_next_run_and_can_be_interrupted(tmp_path: Path, runtime_dir: Path) -> None:
    with contextlib.ExitStack() as stack:
        waiting = stack.enter_context(until_done(tmp_path, runtime_dir, "--wait"))
        assert waiting.stdout is not None
        assert "waiting for the next run" in waiting.stdout.readline()
        _, path = stack.enter_context(recording(tmp_path, steps=4000))
        until(lambda: path.stem in waiting.stdout.readline())
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait(PATIENCE_SECONDS) == 130


def test_a_rule_stops_a_run_of_python(tmp_path: Path) -> None:
    with recording(tmp_path, factor="nan", steps=400, stop="not-finite") as (recorder, path):
        assert json.loads(recorder.stdout.readline())["status"] == "interrupted"
        assert recorder.wait(PATIENCE_SECONDS) == 0
    end = load(path).end
    assert end is not None and end["error"] == "stopped by rule not-finite from step 4 of stage 0: NaN since step 4"
    assert load(path).steps < 20


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
