"""How a recording ends where it is hard: without a file descriptor left, by a closed terminal, by any ending signal."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recorder.format import locations
from recorder.journal.journal import is_being_written
from recorder.system.signals import as_ctrl_c
from replay.sources.open import load
from tests.faults.conftest import ROOT, Child, until
from tests.faults.viewing import mended, rows, whole

Start = Callable[..., Child]
ENDING = [signal.SIGHUP, signal.SIGTERM, signal.SIGQUIT]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors in /proc")
@pytest.mark.parametrize("when", ["end", "mid-run"])
def test_without_a_descriptor_left_everything_is_released_and_no_row_is_lost(
    start: Start, folder: Path, when: str
) -> None:
    child = start("no_descriptors", when=when)
    assert child.wait() == 0, child.text
    assert child.said["left"] == [] and child.said["status"] == "complete", child.text
    assert list((folder / "sock").iterdir()) == []
    path = Path(child.said["path"])
    journal = locations.journal_of(path)
    assert journal.exists() and not is_being_written(journal)
    left = load(path)
    assert left.end is not None and left.end["status"] == "complete" and left.steps == 6
    run = mended(path, left)
    assert run.steps == 6 and not journal.exists()


def in_a_process_of_its_own(folder: Path, call: str) -> dict[str, Any]:
    """What a scenario says in a new interpreter, which must end without an error."""
    code = f"import sys; from tests.faults.scenarios import *; {call}"
    env = {**os.environ, "LTXTUI_RUNTIME_DIR": str(folder / "sock")}
    command = [sys.executable, "-c", code, str(folder / "runs")]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "Error" not in done.stderr, done.stderr
    said: dict[str, Any] = {}
    for line in done.stdout.splitlines():
        said |= json.loads(line)
    return said


def test_an_interpreter_ends_in_peace_where_a_block_is_never_left(folder: Path) -> None:
    """Its modules go before the recording does, and torch with them."""
    said = in_a_process_of_its_own(folder, "never_left(sys.argv[1])")
    run = whole(Path(said["path"]))
    assert run.end is not None and run.end["status"] == "interrupted" and run.steps == 4


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors in /proc")
def test_nothing_is_loaded_at_the_end(folder: Path) -> None:
    """In a separate process, which has loaded no more than its run needs."""
    said = in_a_process_of_its_own(folder, "no_descriptors(sys.argv[1], 'end')")
    assert said["left"] == [] and said["status"] == "complete", said
    journal = locations.journal_of(Path(said["path"]))
    assert journal.exists() and not is_being_written(journal) and list((folder / "sock").iterdir()) == []
    assert load(journal).steps == 6


def test_a_disk_that_answers_late_gets_the_archive_then(start: Start) -> None:
    child = start("hesitating_disk")
    assert child.wait() == 0, child.text
    assert child.said["status"] == "complete" and child.said["locked"]
    assert whole(Path(child.said["path"])).steps == 8


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors in /proc")
def test_a_run_that_cannot_begin_for_want_of_a_descriptor_leaves_nothing(start: Start, folder: Path) -> None:
    child = start("no_descriptors", when="beginning")
    assert child.wait() == 0 and child.said["refused"] and child.said["left"] == [], child.text
    assert not (folder / "runs").exists() or list((folder / "runs").iterdir()) == []


@pytest.mark.parametrize("number", ENDING)
def test_every_ending_signal_is_as_ctrl_c_for_the_command(start: Start, number: signal.Signals) -> None:
    child = start("command_line")
    child.tells("under_way")
    child.signal(number)
    assert child.wait() == 130 and "interrupted" in child.text
    run = whole(Path(child.said["path"]))
    assert run.end is not None and run.end["status"] == "interrupted" and run.steps >= 5


@pytest.mark.parametrize("number", [*ENDING, signal.SIGINT])
def test_they_are_for_the_workers_of_a_sweep_too(start: Start, number: signal.Signals) -> None:
    child = start("sweep_worker")
    child.tells("under_way")
    child.signal(number)
    assert child.wait() == 130
    run = whole(Path(child.said["path"]))
    assert run.end is not None and run.end["status"] == "interrupted" and run.steps >= 5


@pytest.mark.parametrize("number", ENDING)
def test_they_end_a_sweep_and_a_demo_with_all_that_these_have_started(start: Start, number: signal.Signals) -> None:
    sweep, demo = start("sweep_command"), start("demo")
    for child in (sweep, demo):
        child.tells("under_way")
        child.signal(number)
    assert sweep.wait() == 130 and sweep.said["workers_ended"] and "interrupted" in sweep.text
    assert demo.wait() == 130 and demo.said["recorder"] == 130, demo.text


def test_a_closed_terminal_ends_the_command_with_a_complete_archive(start: Start) -> None:
    """The kernel's own SIGHUP, and a standard error that takes nothing any more."""
    master, slave = pty.openpty()
    name = os.ttyname(slave)
    os.close(slave)
    child = start("on_a_terminal", terminal=name)
    child.tells("under_way")
    os.close(master)
    assert child.wait() == 130, child.text
    run = whole(Path(child.said["path"]))
    assert run.end is not None and run.end["status"] == "interrupted" and run.steps >= 5


def test_under_nohup_a_hangup_ends_nothing(start: Start) -> None:
    child = start("under_nohup")
    child.tells("under_way")
    child.signal(signal.SIGHUP)
    path = Path(child.said["path"])
    before = load(path).steps
    until(lambda: load(path).steps > before + 5)
    child.signal(signal.SIGTERM)
    assert child.wait() == 130
    run = whole(path)
    assert run.end is not None and run.end["status"] == "interrupted"
    assert rows(run) == list(range(run.steps))


def test_handlers_are_put_back(start: Start) -> None:
    child = start("handlers")
    assert child.wait() == 0 and child.said["taken"] and child.said["back"], child.text


def test_handlers_are_set_in_the_main_thread_and_only_where_nothing_is_ignored() -> None:
    before = {n: signal.getsignal(n) for n in (*ENDING, signal.SIGINT)}
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with as_ctrl_c():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
            inside: list[object] = []

            def other() -> None:
                with as_ctrl_c():
                    inside.append(signal.getsignal(signal.SIGTERM))

            thread = threading.Thread(target=other)
            thread.start()
            thread.join()
            assert inside == [signal.default_int_handler]
        assert signal.getsignal(signal.SIGTERM) is before[signal.SIGTERM]
        with as_ctrl_c(forced=True):
            assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
