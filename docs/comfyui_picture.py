"""Samples the nano model in a real ComfyUI, for the picture of docs/comfyui.md: a part of `make pictures`.

`LTXTUI_COMFYUI` names a checkout that has LTXAV; without it the picture stays as it is. `make interop` makes the
environment of the process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROMPT = "a red ball moving left"
VIDEO, AUDIO = (8, 9, 10, 12), (8, 68, 16)
"""Latents of a clip at home size: channels, frames, rows and columns; channels, latents and mel bins."""


def sampled(levels: Sequence[float], runs: Path) -> Path | None:
    """The run of a sampling with CFG 3 and one restart on levels with the closing 0; None without a ComfyUI."""
    import torch
    from safetensors.torch import load_file, save_file

    from recorder import nano
    from recorder.nano import lightricks

    comfyui = os.environ.get("LTXTUI_COMFYUI")
    if not comfyui:
        return None
    pipe = nano.load()
    checkpoint, contexts, call = (runs / f"{name}.safetensors" for name in ("nano", "contexts", "call"))
    lightricks.export(pipe, checkpoint)
    prompts = lightricks.export_contexts(pipe, contexts)
    kept = load_file(contexts)
    context = torch.cat([kept["video"], kept["audio"]], -1)
    generator = torch.Generator().manual_seed(3)
    tensors = {
        "video": torch.randn(1, *VIDEO, generator=generator),
        "audio": torch.randn(1, *AUDIO, generator=generator),
        "sigmas": torch.tensor(levels),
        "positive": context[prompts.index(PROMPT)][None],
        "negative": context[prompts.index("")][None],
    }
    shock = {"kind": "restart", "sigma": 0.9, "db": 6.0, "seed": 1}
    sampling = {"name": "comfyui", "frame_rate": nano.CALL["frame_rate"], "cfg": 3.0, "shock": shock}
    save_file({n: t.contiguous() for n, t in tensors.items()}, call, {"samplings": json.dumps([sampling])})
    interop = ROOT / ".venv/interop/bin/python"
    python = os.environ.get("LTXTUI_COMFYUI_PYTHON", str(interop) if interop.exists() else sys.executable)
    done = subprocess.run(
        [python, "-m", "tests.interop.comfyui_sampling", str(Path(comfyui).absolute()), str(checkpoint), str(call)],
        cwd=ROOT,
        env={**os.environ, "LTXTUI_RUNS_DIR": str(runs / "comfyui")},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    (path,) = json.loads(done.stdout.splitlines()[-1])["runs"]["comfyui"]
    return Path(path)
