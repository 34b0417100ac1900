"""The nano model in ComfyUI: loaded as LTXAV without a change to weights or attributes, and the same velocities.

`LTXTUI_COMFYUI=PATH make interop` with a checkout of ComfyUI that has LTXAV (0.16 or newer).
"""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from recorder import nano
from tests.interop.checkouts import COMFYUI

ROOT = Path(__file__).parents[2]
GRID = (3, 6, 7)
AUDIO_LATENTS = 18
RELATIVE = 1e-4

pytestmark = pytest.mark.skipif(
    not COMFYUI or not Path(COMFYUI, "comfy/ldm/lightricks/av_model.py").is_file(),
    reason="no ComfyUI with LTXAV: LTXTUI_COMFYUI=PATH make interop",
)


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

    done = subprocess.run(
        [sys.executable, "-m", "tests.interop.comfyui_process", str(COMFYUI), str(checkpoint), str(call), str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    assert (answer["model"], answer["network"]) == ("LTXAV", "LTXAVModel")
    assert answer["missing_or_unexpected"] == []
    if answer["timestep_fault_corrected"]:
        warnings.warn(
            f"this ComfyUI ({answer['version']}) gives attention between the streams σ, not 1000 σ; corrected here",
            stacklevel=1,
        )

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
        assert apart < RELATIVE, name
