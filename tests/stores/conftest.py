"""An S3 server on loopback, and a run of the nano model as a folder and packed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from replay.packed.pack import pack

collect_ignore_glob: list[str] = []
try:
    import moto  # noqa: F401
    import s3fs  # noqa: F401
except ImportError:
    collect_ignore_glob = ["test_*.py"]

NAME = "20261122-143015-red-disc"
STEPS = 40


@pytest.fixture(scope="session")
def server() -> Iterator[Any]:
    from tests.stores.loopback_s3 import LoopbackS3

    made = LoopbackS3()
    yield made
    made.close()


@pytest.fixture
def s3(server: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The server with a bucket `runs`, the environment that leads to it, and a cache of its own."""
    import s3fs

    for name, value in {**server.environment, "LTXTUI_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    fs = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True)
    server.delay, server.answer = 0.0, None
    fs.mkdir("runs")
    server.requests.clear()
    yield server
    server.delay, server.answer = 0.0, None
    fs.rm("runs", recursive=True)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 40 steps of the nano model, with pictures and the machine's load."""
    folder = tmp_path_factory.mktemp("recorded")
    words = ["record", "--model", "nano", "--steps", str(STEPS), "--seed", "1", "--json"]
    subprocess.run([sys.executable, "-m", "ltxtui", *words], cwd=folder, check=True, timeout=300, capture_output=True)
    [made] = (folder / "runs").glob("*.zarr")
    return made.rename(folder / "runs" / f"{NAME}.zarr")


@pytest.fixture(scope="session")
def packed(archive: Path) -> Path:
    return pack(archive, archive.parent.parent / f"{NAME}.zarr.zip")


@pytest.fixture
def ltxtui(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command as a user does."""

    def run(*words: object, seconds: float = 120.0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "ltxtui", *map(str, words)]
        return subprocess.run(
            command, cwd=tmp_path, env=os.environ.copy(), timeout=seconds, capture_output=True, text=True, check=False
        )

    return run
