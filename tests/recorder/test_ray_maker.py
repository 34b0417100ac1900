"""Sweeps on Ray, as far as that needs no Ray: addresses, refusals, and the worker of a node in this process."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ltxtui.cli.sweep import sweep as command
from recorder.format.version import VERSION
from recorder.nano import components
from recorder.sweep import spec, worker
from recorder.sweep.grid import arms_of, with_controls
from recorder.sweep.on_ray import cluster, request
from recorder.sweep.on_ray.maker import PREFIX, RunMaker, SharedFolder
from recorder.sweep.spec import Sweep, SweepSettings
from tests.whole.test_imports import loaded_after

TINY = ["--model", "nano", "--seeds", "1", "--grid", "kind=restart at=0.9 db=6"]


@pytest.fixture(autouse=True)
def node_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where workers have their temporary files."""
    folder = tmp_path / "node"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def made() -> Sweep:
    arms = with_controls(arms_of(["kind=restart at=0.9 db=6"], [])[0])
    settings = SweepSettings(
        "nano", ("a red ball moving left",), steps=2, height=128, width=160, frames=33, guidance_scale=1.0
    )
    return Sweep.make(settings, (0,), arms, {})


@pytest.fixture
def loaded(made: Sweep, nano_pipe: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[RunMaker]:
    """A worker with its model, which runs on the node's own disk."""

    def load(sweep: Sweep) -> Any:
        assert sweep == made
        nano_pipe.scheduler = components.scheduler()
        return nano_pipe

    monkeypatch.setattr(worker, "load", load)
    maker = RunMaker(made.as_dict(), None)
    ready = maker.ready(VERSION)
    assert ready.error is None and ready.versions["ltxtui"] == VERSION
    yield maker
    maker.leave()


def test_a_run_comes_home_packed_and_leaves_nothing(loaded: RunMaker, node_folder: Path) -> None:
    made = loaded.make("smooth", 0)
    assert made.error is None and made.archive is not None and made.archive.startswith(b"PK")
    assert made.name.endswith("-0000-smooth") and made.measures["colour"] in (0.0, 1.0)
    [folder] = node_folder.glob(f"{PREFIX}*")
    assert not list((folder / spec.RUNS).iterdir()) and not list((folder / spec.MEASURES).iterdir())
    loaded.leave()
    assert not list(node_folder.iterdir())


def test_a_shared_folder_gets_the_run_itself(loaded: RunMaker, made: Sweep, tmp_path: Path, node_folder: Path) -> None:
    loaded.leave()
    home = tmp_path / "sweep"
    spec.write(home, made)
    (home / "mark").touch()
    maker = RunMaker(made.as_dict(), SharedFolder(str(home), "mark"))
    assert maker.ready(VERSION).error is None
    answer = maker.make("smooth", 0)
    assert answer.error is None and answer.archive is None
    assert (home / spec.RUNS / f"{answer.name}.zarr").is_dir() and spec.measures_file(home, answer.name).is_file()
    maker.leave()
    assert (home / spec.SPEC).is_file() and not list(node_folder.iterdir())
    refused = RunMaker(made.as_dict(), SharedFolder(str(home), "other")).ready(VERSION)
    assert f"{home} is not the shared folder there" in str(refused.error)


def test_a_run_that_fails_is_told_with_its_traceback(loaded: RunMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **more: Any) -> Path:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(worker, "make_run", fail)
    made = loaded.make("smooth", 0)
    assert made.error == "RuntimeError: out of memory" and not made.no_plan
    assert "Traceback" in made.log and made.archive is None


def test_another_version_is_refused_before_anything_is_read() -> None:
    ready = RunMaker({"of": "another form"}, None).ready("0.0.1")
    assert ready.error == f"ltxtui {VERSION} is installed there, 0.0.1 here; install the same version"


def test_folders_of_killed_workers_are_removed_and_those_of_living_ones_stay(
    node_folder: Path, made: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "load", lambda sweep: None)
    dead, alive, young = (node_folder / f"{PREFIX}{name}" for name in ("dead", "alive", "young"))
    for folder in (dead, alive, young):
        folder.mkdir()
    lock = spec.worker_lock(alive)
    try:
        for folder in (dead, alive):
            os.utime(folder, (time.time() - 3600,) * 2)
        maker = RunMaker(made.as_dict(), None)
        maker.ready(VERSION)
        assert (dead.exists(), alive.exists(), young.exists()) == (False, True, True)
        maker.leave()
    finally:
        os.close(lock)


@pytest.mark.parametrize(
    "address", ["auto", "local", "head:6379", "10.0.0.1:6379", "ray://head.lan:10001", "[::1]:6379"]
)
def test_addresses(address: str) -> None:
    assert request.read_address(address) == address


@pytest.mark.parametrize("words", [["--ray", "my-sweep"], ["--ray", "http://head:8265"], ["--ray=head"]])
def test_what_is_no_address_is_refused(words: list[str]) -> None:
    done = CliRunner().invoke(command, [*TINY, *words])
    assert done.exit_code == 2 and "is no address of a Ray cluster" in done.output


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--ray-shared"], "--ray-shared needs --ray"),
        (["--join", "--ray"], "leave out --join"),
        (["--gpus", "all", "--ray"], "leave out --gpus"),
    ],
)
def test_options_that_do_not_go_together(words: list[str], why: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(command, [str(tmp_path / "sweep"), *TINY, *words])
    assert done.exit_code == 1 and why in done.output and not (tmp_path / "sweep").exists()


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "find_spec", lambda name: ModuleSpec(name, None) if name != "ray" else None)
    done = CliRunner().invoke(command, [str(tmp_path / "sweep"), *TINY, "--ray"])
    assert done.exit_code == 1
    assert done.output.splitlines()[-1] == "ltxtui: --ray needs Ray; install it: pip install 'ltxtui[ray]'"


def test_where_no_ray_is_used_none_is_loaded() -> None:
    loaded = loaded_after(
        "import recorder.sweep.on_ray.pool, recorder.sweep.on_ray.cluster, ltxtui.cli.sweep, recorder.sweep.on_ray.run"
    )
    assert loaded & {"ray", "torch", "diffusers"} == set() and "ray" not in sys.modules


def test_the_reason_is_found_in_a_traceback_of_another_process() -> None:
    told = "failed:\nRuntimeError: it failed, because:\n\nray::H.__init__()\nModuleNotFoundError: No module named 'a'\n"
    assert cluster.last_raised(RuntimeError(told)) == "ModuleNotFoundError: No module named 'a'"
    assert cluster.last_raised(RuntimeError("the actor died")) is None
