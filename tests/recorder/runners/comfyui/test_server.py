"""A real ComfyUI server, headless on the CPU and driven over HTTP: recorded, watched, cancelled, stopped, shocked."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recorder.runners.comfyui import shim
from recorder.shocks.spec import Shock
from registry.workflows import SOCKETS
from replay.control import send
from replay.library.live_runs import LiveRun, live_runs
from replay.model.run import Run
from replay.sources.open import load
from tests.recorder.runners.comfyui.test_real import COMFYUI, PYTHON, ROOT, environment
from tests.waiting import until

pytestmark = pytest.mark.skipif(not COMFYUI, reason="LTXTUI_COMFYUI names no checkout of ComfyUI")


class Server:
    """A server of its own, with its own folders."""

    def __init__(self, base: Path) -> None:
        self.runs_dir = base / "runs"
        self.sockets = tempfile.mkdtemp(prefix="ltx-comfy-")  # a socket's path is short
        for name in ("web", "custom_nodes", "output", "user", "models", "input", "temp"):
            (base / name).mkdir()
        (base / "web" / "index.html").write_text("<html></html>")
        (base / "custom_nodes" / "toy_nodes.py").write_text(
            "from tests.recorder.runners.comfyui.real.nodes import NODE_CLASS_MAPPINGS\n"
        )
        (base / "custom_nodes" / shim.NAME).write_text(shim.shim_text(record_all=False))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [PYTHON, "-m", "tests.recorder.runners.comfyui.real.serve", COMFYUI, str(base), str(self.port)]
        self._log = (base / "log").open("wb")
        given = {**environment(self.runs_dir), "LTXTUI_RUNTIME_DIR": self.sockets}
        self.process = subprocess.Popen(command, cwd=ROOT, env=given, stdout=self._log, stderr=self._log)
        until(self._answers)

    def _answers(self) -> bool:
        assert self.process.poll() is None, Path(self._log.name).read_text()[-4000:]
        with contextlib.suppress(OSError):
            self.get("/system_stats")
            return True
        return False

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=60) as answer:
            return json.loads(answer.read())

    def post(self, path: str, body: Any) -> Any:
        data = json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def queue(self, graph: Any) -> str:
        return str(self.post("/prompt", {"prompt": graph})["prompt_id"])

    def wait(self, prompt: str) -> Any:
        return until(lambda: self.get(f"/history/{prompt}").get(prompt))

    def digest(self, graph: Any) -> str:
        """Run a prompt and return the digest of its latents."""
        done = self.wait(self.queue(graph))
        assert done["status"]["status_str"] == "success", done["status"]
        return str(done["outputs"]["9"]["digest"][0])

    def run_of(self, prompt: str) -> Run | None:
        """The complete run of a prompt."""
        for path in self.runs_dir.glob("*.zarr"):
            with contextlib.suppress(OSError, ValueError):
                run = load(path)
                if run.metadata.get("comfyui", {}).get("prompt_id") == prompt and run.end is not None:
                    return run
        return None

    def live(self, prompt: str) -> LiveRun:
        """The run of a prompt that is being recorded, once it has steps."""

        def found() -> LiveRun | None:
            for live in live_runs():
                with contextlib.suppress(OSError, ValueError):
                    run = load(live.archive)
                    if live.answers and run.metadata["comfyui"]["prompt_id"] == prompt and run.steps > 1:
                        return live
            return None

        live = until(found)
        assert live is not None
        return live

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()
        self._log.close()
        shutil.rmtree(self.sockets, ignore_errors=True)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("comfyui"))
    yield made
    made.end()


@pytest.fixture(autouse=True)
def sockets(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTXTUI_RUNTIME_DIR", server.sockets)


def graph(recorded: bool = True, slow: float = 0.0, seed: int = 5, steps: str = "1, 0.95, 0.8, 0.5, 0") -> Any:
    """A text-to-video graph at toy size; the sink is node 9."""
    nodes: dict[str, Any] = {
        "1": ("ToyModel", {"slow": slow}),
        "2": ("ToyText", {"text": "a fox in the snow"}),
        "3": ("ToyText", {"text": "blurry"}),
        "4": ("ToyLatents", {"batch": 1}),
        "5": ("CFGGuider", {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "cfg": 3.0}),
        "6": ("KSamplerSelect", {"sampler_name": "euler"}),
        "7": ("ManualSigmas", {"sigmas": steps}),
        "8": ("SamplerCustomAdvanced", {"noise": ["10", 0], "guider": ["5", 0], "sampler": ["6", 0],
                                        "sigmas": ["7", 0], "latent_image": ["4", 0]}),
        "9": ("ToySink", {"latent": ["8", 0]}),
        "10": ("RandomNoise", {"noise_seed": seed}),
    }  # fmt: skip
    if recorded:
        nodes["11"] = ("LTXTelemetry", {"model": ["1", 0]})
        nodes["5"][1]["model"] = ["11", 0]
    return {number: {"class_type": kind, "inputs": inputs} for number, (kind, inputs) in nodes.items()}


def split(made: Any) -> Any:
    """The same with its levels split between two samplers."""
    return {
        **made,
        "12": {"class_type": "SplitSigmas", "inputs": {"sigmas": ["7", 0], "step": 2}},
        "8": {**made["8"], "inputs": {**made["8"]["inputs"], "sigmas": ["12", 0]}},
        "13": {"class_type": "DisableNoise", "inputs": {}},
        "14": {"class_type": "SamplerCustomAdvanced",
               "inputs": {**made["8"]["inputs"], "noise": ["13", 0], "sigmas": ["12", 1], "latent_image": ["8", 0]}},
        "9": {"class_type": "ToySink", "inputs": {"latent": ["14", 0]}},
    }  # fmt: skip


def test_a_recorded_prompt_has_the_same_latents_and_a_run(server: Server) -> None:
    plain = server.digest(graph(recorded=False))
    prompt = server.queue(graph())
    done = server.wait(prompt)
    assert done["outputs"]["9"]["digest"] == [plain]
    run = until(lambda: server.run_of(prompt))
    assert run.standing == "complete" and run.stages[0].steps == 4
    stage = run.stages[0].metadata
    assert (stage["prompt"], stage["negative_prompt"], stage["seed"]) == ("a fox in the snow", "blurry", 5)
    assert stage["node"] == "8"
    server.wait(server.queue(graph()))  # served from the cache
    assert {path.stem for path in server.runs_dir.iterdir()} == {run.name}
    other = until(lambda: server.wait(server.queue(graph(seed=6))))
    assert other["status"]["status_str"] == "success"


def test_split_levels_are_two_stages_of_one_run(server: Server) -> None:
    plain = server.digest(split(graph(recorded=False, seed=7)))
    prompt = server.queue(split(graph(seed=7)))
    assert server.wait(prompt)["outputs"]["9"]["digest"] == [plain]
    run = until(lambda: server.run_of(prompt))
    assert [(stage.steps, stage.metadata["node"]) for stage in run.stages] == [(2, "8"), (2, "14")]
    assert run.standing == "complete"


def test_prompts_in_a_queue_are_runs_of_their_own(server: Server) -> None:
    prompts = [server.queue(graph(seed=100 + i)) for i in range(3)]
    for prompt in prompts:
        server.wait(prompt)
    assert [until(lambda p=prompt: server.run_of(p)).standing for prompt in prompts] == ["complete"] * 3


LONG = ", ".join(f"{1 - i / 40:.3f}" for i in range(40)) + ", 0"


def test_cancel(server: Server) -> None:
    prompt = server.queue(graph(slow=0.3, seed=8, steps=LONG))
    live = server.live(prompt)
    server.post("/interrupt", {})
    server.wait(prompt)
    run = until(lambda: server.run_of(prompt))
    assert run.end is not None and run.end["status"] == "interrupted"
    assert live.archive.stem == run.name
    assert run.stages[0].steps < 40
    assert server.digest(graph(seed=9))  # the next prompt is sampled


def test_shocked_stopped_and_watched_live(server: Server) -> None:
    prompt = server.queue(graph(slow=0.3, seed=10, steps=LONG))
    live = server.live(prompt)
    watching = subprocess.Popen(
        [sys.executable, "-m", "ltxtui", "watch", "--socket", str(live.socket), "--until-done"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    shocked = send(live.socket, "shock", shock=Shock("restart", strength_db=6.0, seed=3))
    assert shocked.accepted, shocked
    stopped = send(live.socket, "stop")
    assert stopped.accepted, stopped
    server.wait(prompt)
    run = until(lambda: server.run_of(prompt))
    assert run.end is not None
    assert (run.end["status"], run.end["error"]) == ("interrupted", "stopped by a viewer")
    assert [e["payload"]["live"] for e in run.events if e["kind"] == "shock"] == [True]
    output, _ = watching.communicate()
    assert "interrupted" in output, output


def test_the_shock_node(server: Server) -> None:
    made = graph(seed=11)
    made["15"] = {"class_type": "LTXShock", "inputs": {"sampler": ["6", 0], "kind": "restart", "sigma": 0.8, "db": 6.0,
                                                       "seed": 1}}  # fmt: skip
    made["8"]["inputs"]["sampler"] = ["15", 0]
    prompt = server.queue(made)
    shocked = server.wait(prompt)["outputs"]["9"]["digest"]
    unrecorded = json.loads(json.dumps(made))
    unrecorded["5"]["inputs"]["model"] = ["1", 0]
    assert shocked == [server.digest(unrecorded)]
    run = until(lambda: server.run_of(prompt))
    assert run.stages[0].streams["video"].series("sigma").tolist()[2] > 0.8
    assert [e["step"] for e in run.events if e["kind"] == "shock"] == [1]


def test_the_examples_fit_the_nodes_of_this_comfyui(server: Server) -> None:
    for kind, (inputs, outputs) in SOCKETS.items():
        info = server.get(f"/object_info/{kind}")[kind]
        wanted = {**info["input"].get("required", {}), **info["input"].get("optional", {})}
        for name, type_of in inputs.items():
            assert wanted[name][0] == type_of, (kind, name)
        assert [(n, t) for n, t in outputs] == list(zip(info["output_name"], info["output"], strict=True)), kind


def test_the_servers_log_has_no_error_of_ours(server: Server) -> None:
    log = Path(server._log.name).read_text()
    assert "Traceback" not in log or "recorder" not in log.split("Traceback", 1)[1]
    assert os.environ.get("LTXTUI_COMFYUI")
