"""Waits beside a command for its end, and says there if nothing was recorded, with the likely reason.

The command takes the place of the process that starts it, so process id, signals, exit status and terminal are its own.
What waits is a process apart: no child of the command, in a session of its own, with the command's standard error.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from recorder.format import locations
from recorder.journal.journal import is_being_written
from recorder.runners.launched.notes import Note, read

_POLL_SECONDS: Final = 0.1
_NO_ENVIRONMENT: Final = ("-E", "-I", "-S")


def watch(notes: Path, command: Sequence[str]) -> None:
    """Start the process that waits for the end of this one. `notes` and its folder are removed then."""
    command_process = os.getpid()
    between = os.fork()
    if between:
        os.waitpid(between, 0)
        return
    try:
        wait = _end_of(command_process)
        if os.fork() == 0:
            _wait_and_say(wait, notes, command)
    finally:
        os._exit(0)


def _wait_and_say(wait: Callable[[], None], notes: Path, command: Sequence[str]) -> None:
    os.setsid()
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    for fd in (0, 1):  # so that a pipe ends with the command
        os.dup2(nothing, fd)
    wait()
    try:
        line = verdict(read(notes), command)
        if line:
            with contextlib.suppress(OSError):
                os.write(2, f"ltxtui run: {line}\n".encode(errors="replace"))
    finally:
        shutil.rmtree(notes.parent, ignore_errors=True)


def _end_of(process: int) -> Callable[[], None]:
    """What waits for the end of a process that is not a child; called while that process waits for this one."""
    try:
        fd = os.pidfd_open(process)
    except (AttributeError, OSError):

        def poll() -> None:
            with contextlib.suppress(ProcessLookupError):
                while True:
                    os.kill(process, 0)
                    time.sleep(_POLL_SECONDS)

        return poll
    return lambda: _readable(fd)


def _readable(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    poll.poll()


def verdict(notes: Sequence[Note], command: Sequence[str]) -> str:
    """Why nothing, or no whole run, was recorded; empty if one was, or if the script records itself."""
    kinds = {one.kind for one in notes}
    if "kept" in kinds:
        return ""
    for path in (Path(one.text) for one in notes if one.kind == "begun"):
        journal = locations.journal_of(path)
        if journal.is_file():
            live = is_being_written(journal)  # by a process that has outlived the command
            return "" if live else f"recorded {path}, which is unfinished since its process was killed"
    if "itself" in kinds:
        return ""
    return f"nothing was recorded: {_reason(notes, kinds, command)}"


def _reason(notes: Sequence[Note], kinds: set[str], command: Sequence[str]) -> str:
    last = {one.kind: one.text for one in notes}
    if "trouble" in kinds:
        return last["trouble"]
    if "called" in kinds:
        return f"{last['called']} was called, but no step was taken"
    if "rank" in kinds:
        return f"only rank 0 is recorded, and this was {last['rank']}; --ranks all records every rank"
    if "imported" in kinds:
        return f"{last['imported']} was imported, but no pipeline of it was called"
    if "started" in kinds:
        return "no LTX pipeline of diffusers or ltx-pipelines was imported, and no ComfyUI"
    if "without" in kinds:
        python = last["without"]
        return f"{python} has no ltxtui; install it there: {shlex.quote(python)} -m pip install ltxtui"
    if (option := _ignores_environment(command)) is not None:
        return f"Python ignores PYTHONPATH with {option}; run it without, or use record() in the script"
    return "no Python was started, or none that sees PYTHONPATH: its environment was cleared, or it has -E or -I"


def _ignores_environment(command: Sequence[str]) -> str | None:
    """The option by which the Python of a command line ignores its environment, if it has one."""
    if not Path(command[0]).name.startswith(("python", "pypy")):
        return None
    for word in command[1:]:
        if not word.startswith("-") or word.startswith("--") or word in ("-c", "-m", "-"):
            return None
        for option in _NO_ENVIRONMENT:
            if option[1] in word[1:].partition("X")[0].partition("W")[0]:
                return option
    return None
