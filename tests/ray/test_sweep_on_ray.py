"""`ltxtui sweep --ray` on a cluster of real processes: the table of a local sweep, whatever happens to a worker."""

from __future__ import annotations

import json
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from recorder.format import locations
from recorder.sweep import spec
from recorder.sweep.on_ray.maker import PREFIX
from replay.sweep.results import find_runs
from tests.ray.conftest import RUNS, TINY, LocalCluster, answers, finished, free_port, ltxtui, rows_in
from tests.waiting import until

ray = pytest.importorskip("ray", reason="Ray is not installed: make ray")

Local = tuple[list[dict[str, str]], list[str]]


def kill_in_a_run(cluster: LocalCluster) -> int:
    """SIGKILL a worker in the middle of a run, once one is; gives its process."""
    [victim, *_] = until(lambda: cluster.workers(at_work=True))
    victim.kill()
    return victim.pid


def states(folder: Path) -> list[str]:
    return [run.state for run in find_runs(folder, spec.read(folder))]


def jobs_of(folder: Path) -> list[tuple[str, int]]:
    return sorted((run.job.arm, run.job.seed) for run in find_runs(folder, spec.read(folder)))


@pytest.mark.parametrize("shared", [False, True], ids=["packed", "shared"])
def test_a_worker_killed_in_a_run_changes_no_table(
    cluster: LocalCluster, local: Local, tmp_path: Path, shared: bool
) -> None:
    folder = tmp_path / "sweep"
    more = ["--ray-shared"] if shared else []
    process = ltxtui("sweep", str(folder), *TINY, "--ray", cluster.address, *more)
    kill_in_a_run(cluster)
    out, err = finished(process)
    assert "Ray cluster with 1 node, 2 GPUs: 2 workers\n" in err
    assert "was lost (its worker process has died)" in err and "is made again" in err
    assert f"run {RUNS}/{RUNS}" in err
    assert (rows_in(folder), out.splitlines()[:-1]) == local
    assert states(folder) == ["complete"] * RUNS
    made = spec.read(folder)
    assert jobs_of(folder) == sorted((job.arm, job.seed) for job in made.jobs())
    assert {locations.is_packed(run.path) for run in find_runs(folder, made)} == {not shared}
    assert not list(folder.glob(".ray-*"))  # what proved that the folder is shared
    assert not cluster.workers()
    # A killed worker cannot remove its folder. The next one on its node does, once the folder is a minute old.
    assert len(list(cluster.node_folder.glob(f"{PREFIX}*"))) <= 1


def test_a_client_elsewhere_gets_the_same(cluster: LocalCluster, local: Local, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    address = f"ray://127.0.0.1:{cluster.client_port}"
    out, err = finished(ltxtui("sweep", str(folder), *TINY, "--ray", address))
    assert "2 workers" in err
    assert (rows_in(folder), out.splitlines()[:-1]) == local


def test_ctrl_c_keeps_what_is_done_and_the_sweep_goes_on_without_ray(
    cluster: LocalCluster, local: Local, tmp_path: Path
) -> None:
    folder, began = tmp_path / "sweep", time.time()
    process = ltxtui("sweep", str(folder), *TINY, "--ray", cluster.address, "--workers", "1")
    until(lambda: (folder / spec.SPEC).exists() and "complete" in states(folder) and cluster.workers(at_work=True))
    process.send_signal(signal.SIGTERM)
    _, err = finished(process, 130)
    assert f"resume with: ltxtui sweep {folder}" in err
    until(lambda: not cluster.workers())
    assert not [left for left in cluster.node_folder.glob(f"{PREFIX}*") if left.stat().st_mtime > began]
    done = states(folder)
    assert 1 <= len(done) < RUNS and set(done) == {"complete"}
    out, err = finished(ltxtui("sweep", str(folder)))
    assert f"{RUNS - len(done)} run" in err and f"{len(done)} done already" in err
    assert (rows_in(folder), out.splitlines()[:-1]) == local


def test_json_on_standard_output_is_json_alone(cluster: LocalCluster, tmp_path: Path) -> None:
    process = ltxtui("sweep", str(tmp_path / "sweep"), *TINY, "--ray", cluster.address, "--json")
    kill_in_a_run(cluster)
    out, _ = finished(process)
    assert json.loads(out)["primary"] == "content_drift"
    assert "A worker died" in (tmp_path / "sweep" / spec.LOG).read_text()  # what Ray prints


def test_a_cluster_of_this_machine_is_started_on_loopback_and_ended(local: Local, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    process = ltxtui("sweep", str(folder), *TINY, "--ray", "local", "--workers", "2")
    began = until(lambda: psutil.Process(process.pid).children(recursive=True))
    until(lambda: (folder / spec.SPEC).exists() and states(folder))
    everything = {*began, *psutil.Process(process.pid).children(recursive=True)}
    heard = [c for p in everything for c in connections(p) if c.status == psutil.CONN_LISTEN]
    assert heard and {c.laddr.ip.removeprefix("::ffff:") for c in heard} == {"127.0.0.1"}
    out, err = finished(process)
    assert "1 node, 0 GPUs: 2 workers, which compute on CPUs" in err
    assert (rows_in(folder), out.splitlines()[:-1]) == local
    until(lambda: not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in everything))
    assert not list(Path("/tmp").glob("ltxtui-ray-*"))


WITH_A_TOKEN = """
import io, os, subprocess, sys
from recorder.sweep.on_ray.cluster import connected

def enters(**environment):
    words = [sys.executable, "-c", f"import ray; ray.init({address!r})"]
    return subprocess.run(words, capture_output=True, env=os.environ | environment).returncode == 0

with connected("local", io.StringIO()):
    import ray
    address = ray.get_runtime_context().gcs_address
    found = enters(), enters(RAY_AUTH_TOKEN="0" * 64), enters(RAY_AUTH_MODE="disabled")
print(*found)
"""


def test_a_cluster_of_this_machine_answers_with_its_token_only() -> None:
    done = subprocess.run([sys.executable, "-c", WITH_A_TOKEN], capture_output=True, text=True, timeout=240)
    assert done.stdout == "True False False\n", done.stdout + done.stderr


def connections(process: psutil.Process) -> list[Any]:
    try:
        return list(process.net_connections("tcp"))
    except psutil.NoSuchProcess:
        return []


# -- refused in one line


def refused(*words: str, **environment: str) -> str:
    out, err = finished(ltxtui("sweep", *words, **environment), 1)
    [line] = [line for line in err.splitlines() if line.startswith("ltxtui: ")]
    assert "Traceback" not in err and not out
    return line


OTHER_VERSION = "import ray; ray.__version__ = '2.9.0'\nfrom ltxtui.__main__ import main; main()"


@pytest.mark.parametrize("client", [False, True], ids=["node", "client"])
def test_another_version_of_ray_is_told_in_one_line(cluster: LocalCluster, tmp_path: Path, client: bool) -> None:
    address = f"ray://127.0.0.1:{cluster.client_port}" if client else cluster.address
    words = ["sweep", str(tmp_path / "sweep"), *TINY, "--ray", address]
    process = subprocess.Popen(
        [sys.executable, "-c", OTHER_VERSION, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _, err = finished(process, 1)
    [line] = [line for line in err.splitlines() if line.startswith("ltxtui: ")]
    python = platform.python_version()
    assert f"the cluster runs Ray {ray.__version__} on Python {python}, this process Ray 2.9.0 on Python" in line
    assert "install the same versions here" in line and "Traceback" not in err


def test_no_cluster_is_told_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    port = free_port()
    assert not answers(port)
    for address in (f"127.0.0.1:{port}", f"ray://127.0.0.1:{port}"):
        line = refused(str(tmp_path / "sweep"), *TINY, "--ray", address)
        assert line == f"ltxtui: no Ray cluster answers at {address}: [Errno 111] Connection refused"
    assert time.monotonic() - began < 60


def test_a_model_that_no_worker_can_load_ends_the_sweep(cluster: LocalCluster, tmp_path: Path) -> None:
    words = ["--model", str(tmp_path / "nothing"), "--prompt", "a", "--seeds", "6", "--grid", "kind=restart at=0.9"]
    line = refused(str(tmp_path / "sweep"), *words, "--ray", cluster.address)
    assert "nothing" in line and "finished runs are kept" in line
    assert "Traceback" in (tmp_path / "sweep" / spec.LOG).read_text()
