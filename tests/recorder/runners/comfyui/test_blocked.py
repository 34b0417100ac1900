"""Inside ComfyUI the recorder needs neither diffusers nor the user interface: a prompt is recorded without them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BLOCKED = ("accelerate", "diffusers", "plotext", "rich", "textual", "transformers", "xarray", "zarr")
PROGRAM = f"""
import sys
from pathlib import Path

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {BLOCKED!r}:
            raise ImportError(name + " is blocked")

sys.meta_path.insert(0, Blocked())
import pytest
from recorder.runners.comfyui import nodes
from tests.recorder.runners.comfyui.fakes import KSAMPLER, ComfyUI, CFGGuider, ModelPatcher
from tests.recorder.runners.comfyui.fakes import levels, noises, sample_euler

with pytest.MonkeyPatch.context() as patch:
    comfyui = ComfyUI(Path(sys.argv[1]))
    comfyui.install(patch)
    nodes.load(False)
    noise, empty = noises()
    with comfyui.prompt():
        model = nodes.LTXTelemetry().attach(ModelPatcher())[0]
        (sampler,) = nodes.LTXShock().shock(KSAMPLER(sample_euler), "restart", 0.8, 3.0, 0)
        CFGGuider(model).sample(noise, empty, sampler, levels(), callback=lambda *_: None, seed=1)
    nodes._adapter.runs.wait()
"""


def test_a_prompt_is_recorded_and_shocked_without_them(tmp_path: Path) -> None:
    root = Path(__file__).parents[4]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "ltxtui").glob("*.zarr")
    assert (run / "checksums.json").is_file()
