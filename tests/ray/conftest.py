"""A Ray cluster on loopback, of one node that is told that it has two GPUs; and a sweep that no cluster made."""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from recorder.sweep import spec
from tests.waiting import PATIENCE_SECONDS, until

TINY = ["--model", "nano", "--seeds", "2", "--steps", "5", "--height", "128", "--width", "160", "--frames", "33"]
TINY += ["--guidance-scale", "1", "--grid", "kind=restart at=0.9 db=6"]
RUNS = 6  # two seeds of smooth, smooth+1 and the restart
QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""Without clusters, as on those systems, Ray listens on loopback alone."""
PATIENT = {"RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "120"}
"""A busy machine starts the process that serves a client in more than the usual 30 s."""
if find_spec("ray") is not None:
    os.environ.update(QUIET)  # before it is imported


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class LocalCluster:
    """Ray on this machine: addresses for nodes and for clients, and its processes."""

    def __init__(self, folder: Path) -> None:
        self.port, self.client_port = free_port(), free_port()
        self.node_folder = folder / "node"
        """Where its workers have their temporary files."""
        self.node_folder.mkdir()
        words = ["--head", "--block", "--node-ip-address=127.0.0.1", f"--port={self.port}", "--num-cpus=2"]
        words += ["--num-gpus=2", "--include-dashboard=false", "--object-store-memory=100000000"]
        words += [f"--ray-client-server-port={self.client_port}", f"--temp-dir={folder}", "--disable-usage-stats"]
        with (folder / "output").open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "ray.scripts.scripts", "start", *words],
                stdout=output,
                stderr=output,
                env={**os.environ, **QUIET, **PATIENT, "TMPDIR": str(self.node_folder)},
            )
        try:
            until(lambda: self._process.poll() is not None or "Ray runtime started" in (folder / "output").read_text())
            assert self._process.poll() is None, (folder / "output").read_text()
            until(lambda: answers(self.port) and answers(self.client_port))
        except BaseException:
            self.end()
            raise

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def processes(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self._process.pid).children(recursive=True)
        return []

    def workers(self, at_work: bool = False) -> list[psutil.Process]:
        """Processes of actors; with `at_work` those that run a job."""
        title = "ray::RunMaker.make" if at_work else "ray::RunMaker"
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                if " ".join(process.cmdline()).startswith(title):
                    found.append(process)
        return found

    def end(self) -> None:
        left = self.processes()
        self._process.terminate()
        try:
            self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    folder = Path(tempfile.mkdtemp(prefix="ltx-ray-", dir="/tmp"))  # short enough for the paths of sockets
    try:
        started = LocalCluster(folder)
        try:
            yield started
        finally:
            started.end()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def ltxtui(*words: str, **environment: str) -> subprocess.Popen[str]:
    """Start the command in a process of its own, as users do."""
    return subprocess.Popen(
        [sys.executable, "-m", "ltxtui", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def finished(process: subprocess.Popen[str], status: int = 0) -> tuple[str, str]:
    """What it printed on standard output and standard error, once it has ended."""
    try:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()
    assert process.returncode == status, err
    return out, err


def rows_in(folder: Path) -> list[dict[str, str]]:
    """The lines of results.csv without the names of the runs, which begin with the time."""
    with (folder / spec.RESULTS).open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "run"} for row in csv.DictReader(file)]


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, str]], list[str]]:
    """Results and printed table of the sweep TINY by one local worker."""
    folder = tmp_path_factory.mktemp("local") / "sweep"
    out, _ = finished(ltxtui("sweep", str(folder), *TINY))
    return rows_in(folder), out.splitlines()[:-1]  # the last line names the folder
