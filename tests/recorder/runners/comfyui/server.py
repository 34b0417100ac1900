"""A real ComfyUI server with our nodes and those of the tests, and graphs at toy size for it."""

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
from pathlib import Path
from typing import Any

from recorder.runners.comfyui import shim
from replay.library.live_runs import LiveRun, live_runs
from replay.model.run import Run
from replay.sources.open import load
from tests.waiting import until

ROOT = Path(__file__).parents[4]
COMFYUI = str(Path(found).absolute()) if (found := os.environ.get("LTXTUI_COMFYUI")) else ""
PYTHON = os.environ.get("LTXTUI_COMFYUI_PYTHON", sys.executable)
REASON = "LTXTUI_COMFYUI names no checkout of ComfyUI"


def environment(runs: Path) -> dict[str, str]:
    """That of a process in which ComfyUI's modules are imported."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "LTXTUI_RUNS_DIR": str(runs), "OMP_NUM_THREADS": "1"}


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

    def runs_of(self, prompt: str) -> list[Run]:
        """The complete runs of a prompt."""
        found = []
        for path in sorted(self.runs_dir.glob("*.zarr")):
            with contextlib.suppress(OSError, ValueError):
                run = load(path)
                if run.metadata.get("comfyui", {}).get("prompt_id") == prompt and run.end is not None:
                    found.append(run)
        return found

    def run_of(self, prompt: str) -> Run | None:
        """A complete run of a prompt."""
        return next(iter(self.runs_of(prompt)), None)

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


def graph(recorded: bool = True, slow: float = 0.0, seed: int = 5, steps: str = "1, 0.95, 0.8, 0.5, 0") -> Any:
    """A text-to-video graph at toy size; the sink is node 9."""
    nodes: dict[str, Any] = {
        "1": ("ToyModel", {"slow": slow}),
        "2": ("ToyText", {"text": "a fox in the snow", "broken": False}),
        "3": ("ToyText", {"text": "blurry", "broken": False}),
        "4": ("ToyLatents", {"batch": 1}),
        "5": ("CFGGuider", {"model": ["1", 0], "positive": ["2", 0], "negative": ["3", 0], "cfg": 3.0}),
        "6": ("KSamplerSelect", {"sampler_name": "euler"}),
        "7": ("ToySigmas", {"sigmas": steps}),
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
