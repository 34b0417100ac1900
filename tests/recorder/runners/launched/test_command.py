"""`ltxtui run` as a real process: what the command is given and gives, in itself and in its children."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from replay.library.listing import archives_in
from replay.model.run import Run
from replay.sources.open import load
from tests.conftest import UNGUIDED, nano_call
from tests.waiting import PATIENCE_SECONDS, until

HERE = Path(__file__).parent
ROOT = HERE.parents[3]
PROGRAMS = HERE / "programs"
LIGHTRICKS = str(PROGRAMS / "lightricks.py")
FAKES = HERE.parent / "lightricks" / "stage_api"


def command(runs_dir: Path, *words: str, options: tuple[str, ...] = ()) -> list[str]:
    return [sys.executable, "-m", "ltxtui", "run", "--runs-dir", str(runs_dir), *options, "--", *words]


def surroundings(*folders: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*folders, FAKES, ROOT)))}


def done(runs_dir: Path, *words: str, options: tuple[str, ...] = (), **more: Any) -> subprocess.CompletedProcess[str]:
    more = {"env": surroundings(), "timeout": 3 * PATIENCE_SECONDS, **more}
    return subprocess.run(
        command(runs_dir, *words, options=options), capture_output=True, text=True, check=False, **more
    )


def said(finished: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in finished.stderr.splitlines() if line.startswith("ltxtui")]


def runs(folder: Path) -> list[Run]:
    return [load(path) for path in sorted(archives_in(folder))]


def stages(folder: Path) -> list[list[int]]:
    """Rows of the video of each stage of each run."""
    return [[len(s.streams["video"].series("sigma")) for s in run.stages] for run in runs(folder)]


def test_a_script_that_imports_none_of_it(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "sitecustomize.py").write_text("import sys\nsys.other = 'ran'\n")
    script = (
        "import json, os, signal, sys\n"
        "import sitecustomize\n"
        "ignored = [s for s in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT) if False]\n"
        "path = [p for p in sys.path if 'launched' in p]\n"
        "print(json.dumps([sys.other, sys.stdin.read(), path, os.getppid(), sitecustomize.__file__, sys.argv[1:]]))\n"
        "sys.exit(3)\n"
    )
    finished = done(
        tmp_path / "runs", sys.executable, "-c", script, "--flag", "a b", input="typed", env=surroundings(other)
    )
    given = json.loads(finished.stdout)
    assert finished.returncode == 3
    # Its parent is the test: the command has taken the place of `ltxtui`.
    assert given == ["ran", "typed", [], os.getpid(), str(other / "sitecustomize.py"), ["--flag", "a b"]]
    (line,) = finished.stderr.splitlines()
    assert line.startswith("ltxtui run: nothing was recorded: no LTX pipeline")


def test_a_command_that_does_not_exist(tmp_path: Path) -> None:
    finished = done(tmp_path / "runs", "no-such-command")
    assert (finished.returncode, finished.stdout) == (127, "")
    assert finished.stderr == "ltxtui: no-such-command: command not found\n"


@pytest.mark.slow
def test_a_diffusers_script_of_two_stages(tmp_path: Path, nano_pipe: Any) -> None:
    finished = done(tmp_path, sys.executable, str(PROGRAMS / "diffusers_two_stages.py"), options=("--name", "fox"))
    small = {"height": 64, "width": 96, "num_frames": 17, **UNGUIDED, "return_dict": False}
    plain = [nano_pipe(**nano_call(2, seed, **small))[0].numpy().tobytes() for seed in (0, 1)]
    assert finished.stdout.split() == [hashlib.sha256(one).hexdigest() for one in plain]
    assert finished.returncode == 7 and stages(tmp_path) == [[2, 2]]
    (path,) = archives_in(tmp_path)
    assert said(finished) == [f"ltxtui run: recorded {path}"] and path.name.endswith("-fox.zarr")


@pytest.mark.slow
def test_children_of_every_kind(tmp_path: Path, stage_api: Any) -> None:
    video, _ = stage_api.distilled.DistilledPipeline()(prompt="a fox", seed=3, second=True)
    plain = hashlib.sha256(video.latent.numpy().tobytes()).hexdigest()
    finished = done(tmp_path, sys.executable, LIGHTRICKS, "children")
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.split() == ["plain", plain, "spawn", plain, "fork", plain, "os.fork", plain]
    assert stages(tmp_path) == [[4, 2]] * 4
    assert {run.end["status"] for run in runs(tmp_path) if run.end} == {"complete"}
    assert len(said(finished)) == 4


@pytest.mark.slow
def test_torchrun_with_two_ranks(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
    where = ("--master-addr", "127.0.0.1", "--local-addr", "127.0.0.1", "--master-port", port)
    launcher = (sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", *where)
    env = {**surroundings(), "GLOO_SOCKET_IFNAME": "lo"}
    finished = done(tmp_path, *launcher, LIGHTRICKS, "rank", env=env, timeout=3 * PATIENCE_SECONDS)
    assert finished.returncode == 0, finished.stderr
    assert [(run.metadata["rank"], run.metadata["world_size"]) for run in runs(tmp_path)] == [(0, 2)]
    assert [line.split()[0] for line in sorted(finished.stdout.splitlines())] == ["rank0", "rank1"]
    assert len({line.split()[1] for line in finished.stdout.splitlines()}) == 1
    assert ["--ranks all" in line for line in said(finished)] == [True]


@pytest.mark.slow
def test_a_script_that_records_itself(tmp_path: Path) -> None:
    finished = done(tmp_path / "ours", sys.executable, LIGHTRICKS, "itself", str(tmp_path / "own"))
    assert finished.returncode == 0 and not said(finished)
    assert stages(tmp_path / "own") == [[4, 2]] and stages(tmp_path / "ours") == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_are_the_commands_own(number: signal.Signals, tmp_path: Path) -> None:
    words = command(tmp_path, sys.executable, LIGHTRICKS, "endless")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(words, env=surroundings(), **pipes) as running:
        assert running.stdout is not None
        for _ in range(3):
            assert running.stdout.readline() == "endless evaluates\n"
        running.send_signal(number)
        _, errors = running.communicate(timeout=PATIENCE_SECONDS)
        assert running.wait(PATIENCE_SECONDS) == -number
    (path,) = until(lambda: list(archives_in(tmp_path)))
    run = load(path)
    assert run.steps >= 1
    if number == signal.SIGINT:
        assert run.end is not None and run.end["status"] == "interrupted"
    else:
        assert run.end is None  # as with SIGKILL: the journal has everything
        assert errors == f"ltxtui run: recorded {path}, which is unfinished since its process was killed\n"


@pytest.mark.slow
def test_a_notebook_kernel(tmp_path: Path) -> None:
    if importlib.util.find_spec("ipykernel") is None or importlib.util.find_spec("nbclient") is None:
        pytest.skip("ipykernel and nbclient are not installed")
    script = (
        "import nbformat, nbclient, sys\n"
        "book = nbformat.v4.new_notebook()\n"
        f'book.cells = [nbformat.v4.new_code_cell("import sys; sys.path.append({str(PROGRAMS)!r})\\n"\n'
        "    \"import lightricks; lightricks.generate('cell')\")]\n"
        "nbclient.NotebookClient(book).execute()\n"
        "print(book.cells[0].outputs[0]['text'], end='')\n"
    )
    finished = done(tmp_path, sys.executable, "-c", script)
    assert finished.returncode == 0 and finished.stdout.startswith("cell "), finished.stderr
    assert stages(tmp_path) == [[4, 2]]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([sys.executable, "-E", "-c", ""], "Python ignores PYTHONPATH with -E"),
        (["env", "-i", sys.executable, "-c", ""], "its environment was cleared"),
    ],
)
@pytest.mark.slow
def test_what_the_hook_cannot_reach_runs_all_the_same(words: list[str], expected: str, tmp_path: Path) -> None:
    finished = done(tmp_path, *words)
    assert finished.returncode == 0
    (line,) = finished.stderr.splitlines()
    assert line.startswith("ltxtui run: nothing was recorded: ") and expected in line
