"""Real processes, quickly: forked from one that has imported everything.

Two kinds: `ltxtui` on a pseudo-terminal, and the programs of `tests.processes`, whose output is read from a pipe.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TextIO

VIEWER = "replay.sources.open"
RECORDER = ("recorder.nano.components", "recorder.session")
"""What viewers and recorders import at their start; the second is seconds of work."""
PATIENCE = 60.0
"""Seconds: a busy machine is no failure."""
DRAWN = b"\x1b[?25l"
_MODE = re.compile(rb"\x1b\[\?(\d+)([hl])")
AT_FIRST = {1049: False, 25: True, 7: True, 1000: False, 1003: False, 1006: False, 1015: False, 1016: False,
            2004: False, 1004: False, 2048: False}  # fmt: skip
"""Modes of a terminal that a shell expects: main screen, cursor, line wrap, and no reports of any kind."""


class Terminal:
    """A pseudo-terminal with what was written to it, and the modes and attributes that it is in."""

    def __init__(self, columns: int = 100, rows: int = 30) -> None:
        self.master, self.slave = os.openpty()
        self.written = b""
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self.slave)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def read(self, seconds: float = 0.0) -> None:
        """Take what is there, waiting for the first of it."""
        while select.select([self.master], [], [], seconds)[0]:
            seconds = 0.0
            try:
                self.written += os.read(self.master, 1 << 16)
            except OSError:  # it is not open any more
                return

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, self.written[-2000:]
            self.read(0.05)

    @property
    def modes(self) -> dict[int, bool]:
        """On or off by number, of the modes that matter."""
        said = {int(number): how == b"h" for number, how in _MODE.findall(self.written)}
        return {mode: said.get(mode, first) for mode, first in AT_FIRST.items()}

    @property
    def restored(self) -> bool:
        """Whether the terminal is as it was: modes, attributes, and as many keyboard protocols popped as pushed."""
        pushed, popped = len(re.findall(rb"\x1b\[>\d+u", self.written)), self.written.count(b"\x1b[<u")
        return self.modes == AT_FIRST and termios.tcgetattr(self.slave) == self.before and popped >= pushed

    def close(self) -> None:
        for fd in (self.master, self.slave):
            with contextlib.suppress(OSError):
                os.close(fd)


class Child:
    """A process of the nursery."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery = nursery
        self.pid = pid

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        found = self._nursery.ask({"status": self.pid})["status"]
        return None if found is None else int(found)

    def wait(self, terminal: Terminal | None = None) -> int:
        deadline = time.monotonic() + PATIENCE
        while (status := self.status()) is None:
            assert time.monotonic() < deadline, "still running"
            if terminal is not None:
                terminal.read(0.02)
            else:
                time.sleep(0.02)
        if terminal is not None:
            terminal.read()
        return status


class Program(Child):
    """A program of `tests.processes`, with what it prints."""

    def __init__(self, nursery: Nursery, pid: int, stdout: TextIO) -> None:
        super().__init__(nursery, pid)
        self.stdout = stdout

    def end(self) -> None:
        """Kill it, even if it is stopped, and wait for it."""
        if self.status() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)
        self.wait()
        self.stdout.close()


class Nursery:
    """Starts processes that have imported what `preloaded` names."""

    def __init__(self, *preloaded: str) -> None:
        self._here, there = socket.socketpair()
        with there:
            command = [sys.executable, "-m", "tests.nursery", str(there.fileno()), *preloaded]
            self._process = subprocess.Popen(command, pass_fds=[there.fileno()])

    def ask(self, asked: dict[str, object], fds: list[int] | None = None) -> dict[str, object]:
        socket.send_fds(self._here, [json.dumps(asked).encode() + b"\n"], fds or [])
        answer: dict[str, object] = json.loads(self._here.recv(4096))
        return answer

    def start(
        self, arguments: list[str], terminal: Terminal, folder: Path, env: dict[str, str], ignored: tuple[int, ...] = ()
    ) -> Child:
        """Start `ltxtui` with arguments on a terminal."""
        asked = {"start": arguments, "folder": str(folder), "env": env, "ignored": list(ignored)}
        return Child(self, int(str(self.ask(asked, [terminal.slave])["pid"])))

    def run(self, name: str, *arguments: str) -> Program:
        """Start a program of `tests.processes` in this process's folder and environment."""
        output, into = os.pipe()
        asked = {"run": [name, *arguments], "folder": str(Path.cwd()), "env": dict(os.environ), "ignored": []}
        try:
            pid = int(str(self.ask(asked, [into])["pid"]))
        finally:
            os.close(into)
        return Program(self, pid, os.fdopen(output))

    def close(self) -> None:
        self._here.close()
        self._process.wait(PATIENCE)


@contextlib.contextmanager
def nursery(*preloaded: str) -> Iterator[Nursery]:
    made = Nursery(*preloaded)
    try:
        yield made
    finally:
        made.close()


def _child(asked: dict[str, object], output: int) -> None:
    os.setsid()
    on_terminal = os.isatty(output)
    if on_terminal:
        fcntl.ioctl(output, termios.TIOCSCTTY, 0)
    for fd in (0, 1, 2) if on_terminal else (1,):
        os.dup2(output, fd)
    os.closerange(3, 64)
    os.chdir(str(asked["folder"]))
    os.environ.clear()
    os.environ.update(asked["env"])  # type: ignore[call-overload]
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    for number in asked["ignored"]:  # type: ignore[attr-defined]
        signal.signal(number, signal.SIG_IGN)
    if "run" in asked:
        from tests import processes

        sys.argv = ["processes", *map(str, asked["run"])]  # type: ignore[call-overload]
        processes.main()
        return
    sys.argv = ["ltxtui", *map(str, asked["start"])]  # type: ignore[call-overload]
    if os.environ.get("BREAK"):
        from ltxtui.screens.help import HelpScreen

        HelpScreen.compose = _broken  # type: ignore[method-assign, assignment]
    from ltxtui.cli import main

    main()


def _broken(self: object) -> Iterator[object]:
    raise RuntimeError("broken on purpose")
    yield


def _serve(fd: int, preloaded: list[str]) -> None:
    for name in preloaded:
        importlib.import_module(name)
    ended: dict[int, int] = {}
    running: set[int] = set()
    with socket.socket(fileno=fd) as line:
        while True:
            data, fds, _, _ = socket.recv_fds(line, 1 << 16, 4)
            if not data:
                break
            asked = json.loads(data)
            if "status" not in asked:
                pid = os.fork()
                if pid == 0:
                    status = 1
                    try:
                        _child(asked, fds[0])
                        status = 0
                    except SystemExit as error:
                        status = error.code if isinstance(error.code, int) else int(error.code is not None)
                    finally:
                        with contextlib.suppress(OSError, ValueError):
                            sys.stdout.flush()
                        os._exit(status)
                running.add(pid)
                answer: dict[str, object] = {"pid": pid}
            else:
                pid = asked["status"]
                if pid in running:
                    found, how = os.waitpid(pid, os.WNOHANG)
                    if found:
                        running.discard(pid)
                        ended[pid] = os.waitstatus_to_exitcode(how)
                answer = {"status": ended.get(pid)}
            for each in fds:
                os.close(each)
            line.sendall(json.dumps(answer).encode())
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2:])
