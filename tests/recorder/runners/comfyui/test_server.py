"""A real ComfyUI server, headless on the CPU and driven over HTTP: recorded, watched, cancelled, stopped, shocked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from recorder.shocks.spec import Shock
from registry.workflows import SOCKETS
from replay.control import send
from tests.recorder.runners.comfyui.real.starting import has_ltxav
from tests.recorder.runners.comfyui.server import COMFYUI, REASON, ROOT, Server, graph, split
from tests.waiting import until

PROMPTS_END = Path(COMFYUI, "comfy_execution", "cache_provider.py").is_file()
"""This ComfyUI reports the end of a prompt; otherwise each sampling is a run."""

pytestmark = pytest.mark.skipif(not COMFYUI, reason=REASON)


@pytest.fixture(autouse=True)
def sockets(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTXTUI_RUNTIME_DIR", server.sockets)


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
    runs = until(lambda: (found := server.runs_of(prompt)) and len(found) >= (1 if PROMPTS_END else 2) and found)
    stages = [[(stage.metadata["node"], stage.steps) for stage in run.stages] for run in runs]
    assert sorted(stages) == ([[("8", 2), ("14", 2)]] if PROMPTS_END else [[("14", 2)], [("8", 2)]])
    assert "complete" in {run.standing for run in runs}


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
    made = psutil.Process(server.process.pid)
    until(lambda: [c.laddr for c in made.net_connections("unix")].count(str(live.socket)) > 1)  # it has connected
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


@pytest.mark.skipif(not has_ltxav(COMFYUI), reason="the examples need LTXAV, which this ComfyUI does not know")
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
