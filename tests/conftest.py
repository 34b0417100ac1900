"""Fixtures shared by all tests: a nano pipeline, private runtime and runs directories."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from recorder.archive import journal_removal
from recorder.sampling.guidance_presets import UNGUIDED as UNGUIDED

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny tensors: more threads only wait for each other

# A suite that was started under nohup, or in the background of a script, has ignored signals, and so would have every
# process that a test starts.
for _number, _default in {
    signal.SIGHUP: signal.SIG_DFL,
    signal.SIGINT: signal.default_int_handler,
    signal.SIGQUIT: signal.SIG_DFL,
}.items():
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _default)

# A machine that others use too makes drawing examples slow now and then, which says nothing of the code. A result says
# something of the tree only if the same tree gives it again: `make shuffled` is where new examples are drawn.
settings.register_profile(
    "repeatable", deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("random", settings.get_profile("repeatable"), derandomize=False, print_blob=True)
settings.load_profile("repeatable")

MEMORY = Path("/dev/shm")
ROOMY_BYTES = 4 * 2**30


def pytest_configure(config: pytest.Config) -> None:
    """Keep temporary folders in memory where there is room: a run of the suite makes 300,000 files.

    On a disk, removing them takes minutes. A folder that is given by an option or a variable is respected.
    """
    if config.option.basetemp is None and os.access(MEMORY, os.W_OK):
        found = os.statvfs(MEMORY)
        if found.f_bavail * found.f_frsize >= ROOMY_BYTES and not found.f_flag & os.ST_NOEXEC:
            os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def pytest_collection_finish() -> None:
    gc.set_threshold(10_000)
    spare_the_collector()


def spare_the_collector() -> None:
    """Spare the garbage collector the million objects of imported libraries, which it walks through in vain.

    It took a fifth of the suite's time.
    """
    gc.collect()
    gc.freeze()


SMALL: dict[str, Any] = {"height": 128, "width": 160, "num_frames": 33, "output_type": "latent"}
"""A small clip: 5 latent frames of 4×5."""


@pytest.fixture(autouse=True, scope="session")
def patience(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Most tests look at what is there once the block has been left, also on a disk that others keep busy."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(journal_removal, "SETTLE_SECONDS", 60.0)
        # Of fixtures that are wider than a test too: colours of models that this user has run must not matter.
        patched.setenv("LTXTUI_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def shared_folders() -> Iterator[None]:
    """Folders of the whole machine keep their modes, also where tests run as root."""
    before = {path: path.stat().st_mode for path in (MEMORY, Path("/tmp")) if path.exists()}
    yield
    assert {path: path.stat().st_mode for path in before} == before


@pytest.fixture(autouse=True)
def runtime_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Sockets of a test are in a separate directory, short enough for a socket path."""
    import shutil
    import tempfile

    path = Path(tempfile.mkdtemp(prefix="ltx-", dir="/tmp"))
    monkeypatch.setenv("LTXTUI_RUNTIME_DIR", str(path))
    monkeypatch.delenv("LTXTUI_RUNS_DIR", raising=False)
    monkeypatch.setenv("LTXTUI_CACHE", f"{path}-cache")
    monkeypatch.setenv("LTXTUI_DATA", f"{path}-data")
    monkeypatch.setenv("TERM", "xterm-256color")  # what is drawn depends on it
    yield path
    shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(f"{path}-cache", ignore_errors=True)
    shutil.rmtree(f"{path}-data", ignore_errors=True)


@pytest.fixture(scope="session")
def nano_pipe() -> Any:
    """The nano LTX 2.3, loaded once."""
    import torch

    from recorder import nano

    torch.set_num_threads(1)
    pipe = nano.load()
    pipe.set_progress_bar_config(disable=True)
    spare_the_collector()
    return pipe


@pytest.fixture
def pipe(nano_pipe: Any) -> Iterator[Any]:
    """The nano pipeline with a fresh scheduler, which tests may replace."""
    from recorder.nano import components

    nano_pipe.scheduler = components.scheduler()
    yield nano_pipe
    nano_pipe.scheduler = components.scheduler()  # other tests must not use a scheduler that a test has set


def nano_call(steps: int = 4, seed: int = 0, **more: Any) -> dict[str, Any]:
    """Arguments of a small nano call."""
    import torch

    from recorder import nano

    base = {**nano.CALL, **SMALL, "num_inference_steps": steps, "generator": torch.Generator().manual_seed(seed)}
    return {"prompt": "a red ball moving left", **base, **more}
