"""The nano model in ComfyUI: loaded as LTXAV without a change to weights or attributes; the same velocities and runs.

`LTXTUI_COMFYUI=PATH make interop` with a checkout of ComfyUI that has LTXAV (0.16 or newer).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from recorder import nano
from tests.interop import agreement, diffusers_run
from tests.interop.checkouts import COMFYUI
from tests.interop.diffusers_run import RESTART
from tests.recorder.runners.comfyui.real.starting import has_ltxav

ROOT = Path(__file__).parents[2]
GRID = (3, 6, 7)
AUDIO_LATENTS = 18
CFG = 3.0
WITH_CFG = {**nano.UNGUIDED, "guidance_scale": CFG, "audio_guidance_scale": CFG}
"""Classifier-free guidance alone, the same in both streams: what ComfyUI's CFGGuider does."""
FRAME_RATE = 32.0
"""Its reciprocal is exact. ComfyUI multiplies by that where others divide, and rotary angles reach 15,700 radians: at
24 frames per second a position's last bit alone is some 1e-5 of the metrics."""

pytestmark = pytest.mark.skipif(
    not COMFYUI or not has_ltxav(COMFYUI), reason="no ComfyUI with LTXAV: LTXTUI_COMFYUI=PATH make interop"
)


def comfyui(program: str, *arguments: Path, runs: Path | None = None) -> dict[str, Any]:
    """What a program in a process of ComfyUI prints; a fault of this ComfyUI that was corrected is told."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.interop.{program}", str(COMFYUI), *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "LTXTUI_RUNS_DIR": str(runs or "")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert (answer["model"], answer["network"]) == ("LTXAV", "LTXAVModel")
    assert answer["missing_or_unexpected"] == []
    if answer["timestep_fault_corrected"]:
        warnings.warn(
            f"this ComfyUI ({answer['version']}) gives attention between the streams σ, not 1000 σ; corrected here",
            stacklevel=1,
        )
    return answer


def test_it_loads_as_ltxav_and_predicts_what_diffusers_does(pipe: Any, checkpoint: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    generator = torch.Generator().manual_seed(0)
    video = torch.randn(1, 8, *GRID, generator=generator)
    audio = torch.randn(1, 8, AUDIO_LATENTS, 16, generator=generator)
    sigma = torch.tensor([0.7])
    contexts = load_file(checkpoint.with_name("contexts.safetensors"))
    text, sound = contexts["video"][5:6], contexts["audio"][5:6]
    call, out = tmp_path / "call.safetensors", tmp_path / "out.safetensors"
    save_file({"video": video, "audio": audio, "sigma": sigma, "context": torch.cat([text, sound], -1)}, call)

    comfyui("comfyui_call", checkpoint, call, out)
    with torch.no_grad():
        ours = pipe.transformer(
            hidden_states=video.flatten(2).transpose(1, 2),
            audio_hidden_states=audio.transpose(1, 2).flatten(2),
            encoder_hidden_states=text,
            audio_encoder_hidden_states=sound,
            timestep=sigma * 1000,
            sigma=sigma * 1000,
            num_frames=GRID[0],
            height=GRID[1],
            width=GRID[2],
            fps=nano.CALL["frame_rate"],
            audio_num_frames=AUDIO_LATENTS,
            use_cross_timestep=True,
            return_dict=False,
        )
    found = load_file(out)
    theirs = (found["video"].flatten(2).transpose(1, 2), found["audio"].transpose(1, 2).flatten(2))
    for name, own, other in zip(("video", "audio"), ours, theirs, strict=True):
        apart = float((own - other).abs().max() / own.abs().max())
        print(f"{name}: {apart:.1e} of the largest value apart")
        assert apart < agreement.RELATIVE, name


@dataclass(frozen=True)
class Pair:
    """The same run in diffusers and in ComfyUI."""

    diffusers: Path
    comfyui: Path
    version: str


@pytest.fixture(scope="module")
def pairs(pipe: Any, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    """Unguided, with a restart, and with classifier-free guidance, from the same noise, levels and contexts."""
    torch = pytest.importorskip("torch")
    from safetensors.torch import save_file

    base = tmp_path_factory.mktemp("pairs")
    ours: dict[str, Path] = {}
    rate = {"frame_rate": FRAME_RATE}
    ours["unguided"], _ = diffusers_run.recorded(pipe, base, nano.UNGUIDED, "unguided", **rate)
    ours["restart"], _ = diffusers_run.recorded(pipe, base, nano.UNGUIDED, "restart", [RESTART], **rate)
    ours["cfg"], begun = diffusers_run.recorded(pipe, base, WITH_CFG, "cfg", **rate)
    contexts = torch.cat([begun.video_context, begun.audio_context], -1)
    tensors = {
        "video": begun.video.transpose(1, 2).unflatten(2, diffusers_run.GRID),
        "audio": begun.audio.unflatten(2, (8, 16)).transpose(1, 2),
        "sigmas": begun.sigmas,
        "negative": contexts[:1],
        "positive": contexts[1:],
    }
    shock = {"kind": RESTART.kind, "sigma": RESTART.at, "db": RESTART.strength_db, "seed": RESTART.seed}
    samplings = [
        {"name": "unguided", **rate, "cfg": 1.0, "shock": None},
        {"name": "restart", **rate, "cfg": 1.0, "shock": shock},
        {"name": "cfg", **rate, "cfg": CFG, "shock": None},
    ]
    call = base / "call.safetensors"
    save_file({n: t.contiguous() for n, t in tensors.items()}, call, {"samplings": json.dumps(samplings)})
    answer = comfyui("comfyui_sampling", checkpoint, call, runs=base / "comfyui")
    return {
        name: Pair(path, *(Path(found) for found in answer["runs"][name]), answer["version"])
        for name, path in ours.items()
    }


@pytest.mark.parametrize("name", ["unguided", "restart", "cfg"])
def test_the_same_run_has_the_same_metrics(pairs: dict[str, Pair], name: str, record_property: Any) -> None:
    pair = pairs[name]
    worst = agreement.differences(pair.diffusers, pair.comfyui)
    record_property("worst", max(worst.values()))
    print(agreement.told(worst, f"{name}, ComfyUI {pair.version}"))
    assert len(worst) > 60
    assert {metric: value for metric, value in worst.items() if value > 1} == {}


def test_a_restart_has_the_same_levels(pairs: dict[str, Pair]) -> None:
    agreement.assert_same_levels(pairs["restart"].diffusers, pairs["restart"].comfyui, diffusers_run.STEPS + 1)
