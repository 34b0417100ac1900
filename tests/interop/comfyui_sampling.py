"""Run in a process of its own: ComfyUI samples the nano model behind our nodes, from a noise that it is given.

`python -m tests.interop.comfyui_sampling COMFYUI CHECKPOINT CALL`: CALL is a safetensors file with the noise as `video`
[1, C, F, H, W] and `audio` [1, C, L, M], the levels `sigmas` with the closing 0, and the contexts `positive` and
`negative` [1, tokens, video + audio width]. Its metadata hold `samplings`, a JSON list: of each the `name` of its run,
`frame_rate`, `cfg`, and `shock`, the arguments of the node LTX Shock or null. Runs go to LTXTUI_RUNS_DIR. Prints one
JSON object: what `Loaded.about` says, and `runs`, their paths by name.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.interop.comfyui_process import Loaded


def main(root: str, checkpoint: str, call: str) -> None:
    loaded = Loaded(root, checkpoint)
    from safetensors import safe_open
    from safetensors.torch import load_file

    from recorder.runners.comfyui import nodes

    nodes.load(record_all=False)
    given = load_file(call)
    with safe_open(call, "pt") as file:
        wanted = json.loads(file.metadata()["samplings"])
    for sampling in wanted:
        sample(loaded.patcher, given, **sampling)
    assert nodes._adapter is not None
    nodes._adapter.runs.wait()
    folder = Path(os.environ["LTXTUI_RUNS_DIR"])
    runs = {sampling["name"]: [str(path) for path in folder.glob(f"*-{sampling['name']}.zarr")] for sampling in wanted}
    print(json.dumps({**loaded.about(), "runs": runs}))


def sample(
    model: Any, given: dict[str, Any], name: str, frame_rate: float, cfg: float, shock: dict[str, Any] | None
) -> None:
    """One sampling, as SamplerCustomAdvanced makes it."""
    import comfy.nested_tensor
    import comfy.samplers
    import torch

    from recorder.runners.comfyui import nodes

    (recorded,) = nodes.LTXTelemetry().attach(model, name)
    sampler = comfy.samplers.sampler_object("euler")
    if shock is not None:
        (sampler,) = nodes.LTXShock().shock(sampler, **shock)
    guider = comfy.samplers.CFGGuider(recorded)
    guider.set_conds(*([[given[which], {"frame_rate": frame_rate}]] for which in ("positive", "negative")))
    guider.set_cfg(cfg)
    noise = [given["video"], given["audio"]]
    empty = comfy.nested_tensor.NestedTensor([torch.zeros_like(part) for part in noise])
    with torch.inference_mode():
        guider.sample(
            comfy.nested_tensor.NestedTensor(noise), empty, sampler, given["sigmas"], callback=lambda *_: None,
            disable_pbar=True, seed=5,
        )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
