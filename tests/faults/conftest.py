"""Recorders to be hurt: children of a process that has loaded everything, with folders that any user may use."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import PATIENCE_SECONDS, until

pytest.register_assert_rewrite("tests.faults.viewing")

ROOT = Path(__file__).parent.parent.parent
NOBODY = 65534
"""Root is stopped by no permission, so what is about permissions runs as this user where the tests run as root."""


@dataclass
class Child:
    """A recorder, or whatever a scenario is."""

    nursery: Nursery
    pid: int
    out: Path
    ended: int | None = None

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Its exit status, negative for a signal."""
        if self.ended is None:
            self.ended = self.nursery.ask(do="wait", pid=self.pid, seconds=seconds)["status"]
        assert self.ended is not None, f"still running: {self.text}"
        return self.ended

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    @property
    def text(self) -> str:
        return self.out.read_text() if self.out.exists() else ""

    @property
    def logged(self) -> list[str]:
        """What was logged, without the loggers' names."""
        return [line.split(" ", 2)[2] for line in self.text.splitlines() if line.startswith("LOG ")]

    @property
    def said(self) -> dict[str, Any]:
        """All JSON lines that it printed, as one."""
        found: dict[str, Any] = {}
        for line in self.text.splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n"):
                found |= json.loads(line)
        return found

    def tells(self, key: str) -> Any:
        """Wait until it has printed something."""
        until(lambda: key in self.said or self.gone())
        assert key in self.said, self.text
        return self.said[key]

    def gone(self) -> bool:
        if self.ended is None:
            self.ended = self.nursery.ask(do="wait", pid=self.pid, seconds=0)["status"]
        return self.ended is not None


@dataclass
class Nursery:
    """The process that forks the children."""

    process: subprocess.Popen[str]
    children: list[Child] = field(default_factory=list)

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        reply: dict[str, Any] = json.loads(self.process.stdout.readline())
        return reply


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    command = [sys.executable, "-m", "tests.faults.nursery"]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdin is not None
    assert json.loads(process.stdout.readline()) == {"ready": True}
    yield Nursery(process)
    process.stdin.close()
    process.wait(PATIENCE_SECONDS)
    process.stdout.close()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path, for runs and their sockets; in memory where there is room, since a run has hundreds of files."""
    memory = os.access("/dev/shm", os.W_OK) and shutil.disk_usage("/dev/shm").free > 32 << 20
    path = Path(tempfile.mkdtemp(prefix="ltx-", dir="/dev/shm" if memory else "/tmp"))
    (path / "sock").mkdir(mode=0o700)
    yield path
    subprocess.run(["chmod", "-R", "u+rwx", str(path)], check=False)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def start(nursery: Nursery, folder: Path) -> Iterator[Callable[..., Child]]:
    """Starts a scenario in a child, by its name."""
    started: list[Child] = []

    def begin(scenario: str, *, runs: Path | None = None, as_nobody: bool = False, **given: Any) -> Child:
        out = folder / f"out-{len(started)}"
        uid = NOBODY if as_nobody and os.getuid() == 0 else None
        if uid is not None:
            for own in (folder, folder / "sock"):
                os.chown(own, uid, uid)
        given["runs"] = str(runs or folder / "runs")
        env = {"LTXTUI_RUNTIME_DIR": str(folder / "sock")}
        pid = nursery.ask(do="start", scenario=scenario, given=given, env=env, uid=uid, out=str(out))["pid"]
        started.append(Child(nursery, pid, out))
        return started[-1]

    yield begin
    for child in started:
        if not child.gone():
            child.signal(signal.SIGKILL)
            child.wait()
