"""Samplings with and without recording in a real ComfyUI, in one process: `python -m … ROOT`; prints JSON.

Each case is sampled without recording, behind the node, and with the setting that records everything. diffusers and
textual are blocked from import: the recorder needs neither here.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

BLOCKED = ("diffusers", "textual", "plotext", "zarr")


class Blocked:
    """Raises ImportError for what must not be needed."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] in BLOCKED:
            raise ImportError(f"{name} is blocked")
        return None


def main(root: str) -> None:
    os.chdir(root)
    sys.meta_path.insert(0, Blocked())  # type: ignore[arg-type]
    from tests.recorder.runners.comfyui.real import starting, toy

    starting.start(root)
    import comfy.samplers
    import torch

    import recorder.runners.comfyui.nodes as nodes

    model = toy.model()
    cases = [each for each in CASES if each[1] in comfy.samplers.SAMPLER_NAMES]
    found = [case(model, *each) for each in cases]
    nodes.load(False)
    behind = nodes.LTXTelemetry().attach(model, "node")[0]
    by_node = [case(behind, *each) for each in cases]
    assert nodes._adapter is not None
    nodes._adapter.record_everything()
    by_setting = [case(model, *each) for each in cases]
    both = case(behind, *cases[0])
    nodes._adapter.runs.wait()
    runs = sorted(Path(os.environ["LTXTUI_RUNS_DIR"]).glob("*.zarr"), key=lambda p: json.loads(
        (p / "zarr.json").read_text())["attributes"]["time"])  # fmt: skip
    of_node = [path for path in runs if "-node" in path.stem]
    of_setting = [path for path in runs if "-node" not in path.stem]
    reports = {}
    for i, each in enumerate(cases):
        plain = found[i]
        reports[" ".join(each)] = {
            "finite": bool(torch.isfinite(plain).all()),
            "node": torch.equal(plain, by_node[i]),
            "setting": torch.equal(plain, by_setting[i]),
            "runs": [str(of_node[i]), str(of_setting[i])],
        }
    loaded = [name for name in BLOCKED if name in sys.modules]
    print(json.dumps({
        "version": starting.version(Path(root)),
        "model": type(model.model).__name__,
        "cases": reports,
        "both": torch.equal(found[0], both),
        "count": len(runs),
        "loaded": loaded,
    }))  # fmt: skip


def case(model: Any, kind: str, sampler: str, *more: str) -> Any:
    """The latents of one sampling."""
    import comfy.nested_tensor
    import comfy.sample
    import comfy.samplers
    import torch

    from recorder.runners.comfyui import nodes
    from tests.recorder.runners.comfyui.real import toy

    batch = 2 if "batch" in more else 1
    empty = toy.latents(batch, audio="video" not in more)
    noise = comfy.sample.prepare_noise(empty, 3)
    mask = None
    if "i2v" in more:
        mask = torch.ones(1, 1, toy.VIDEO[1], 1, 1)
        mask[:, :, 0] = 0
        if empty.is_nested:
            mask = comfy.nested_tensor.NestedTensor([mask, torch.ones(1, 1, toy.AUDIO[1], 1)])
            empty.tensors[0] = empty.tensors[0] + 0.3
        else:
            empty = empty + 0.3
    cfg = 1.0 if "cfg1" in more else 3.0
    positive, negative = toy.conditioning(1), toy.conditioning(2)
    report = lambda *_: None  # noqa: E731
    with torch.inference_mode():
        if kind == "ksampler":
            scheduler = "beta" if "beta" in more else "simple"
            out = comfy.sample.sample(
                model, noise, 4, cfg, sampler, scheduler, positive, negative, empty, noise_mask=mask, seed=3,
                disable_pbar=True, callback=report,
            )  # fmt: skip
        else:
            levels = torch.tensor([1.0, 0.95, 0.8, 0.5, 0.0])
            chosen = comfy.samplers.sampler_object(sampler)
            if kind == "shock":
                (chosen,) = nodes.LTXShock().shock(chosen, "restart", 0.8, 6.0, 7)
            guider = comfy.samplers.CFGGuider(model)
            guider.set_conds(positive, negative)
            guider.set_cfg(cfg)
            if kind == "split":
                half = guider.sample(noise, empty, chosen, levels[:3], callback=report, disable_pbar=True, seed=3)
                still = half * 0
                out = guider.sample(still, half, chosen, levels[2:], callback=report, disable_pbar=True, seed=3)
            else:
                out = guider.sample(
                    noise, empty, chosen, levels, denoise_mask=mask, callback=report, disable_pbar=True, seed=3
                )
    parts = out.unbind() if out.is_nested else [out]
    return torch.cat([part.flatten() for part in parts])


SAMPLERS = (
    "euler", "euler_cfg_pp", "euler_ancestral", "euler_ancestral_cfg_pp", "heun", "heunpp2", "exp_heun_2_x0",
    "exp_heun_2_x0_sde", "dpm_2", "dpm_2_ancestral", "lms", "dpm_fast", "dpm_adaptive", "dpmpp_2s_ancestral",
    "dpmpp_2s_ancestral_cfg_pp", "dpmpp_sde", "dpmpp_2m", "dpmpp_2m_cfg_pp", "dpmpp_2m_sde", "dpmpp_2m_sde_heun",
    "dpmpp_3m_sde", "ddpm", "lcm", "ipndm", "ipndm_v", "deis", "res_multistep", "res_multistep_cfg_pp",
    "res_multistep_ancestral", "res_multistep_ancestral_cfg_pp", "gradient_estimation", "gradient_estimation_cfg_pp",
    "er_sde", "seeds_2", "seeds_3", "sa_solver", "sa_solver_pece", "ddim", "uni_pc", "uni_pc_bh2",
)  # fmt: skip
"""Every sampler of the core of 0.20.1; `_gpu` variants draw on the GPU. Older ones lack some."""
SHOCKED = ("euler", "euler_ancestral", "euler_cfg_pp", "euler_ancestral_cfg_pp", "heun", "dpmpp_2m")
CASES: list[tuple[str, ...]] = [
    ("ksampler", "euler"),
    *(("ksampler", name) for name in SAMPLERS[1:]),
    ("ksampler", "euler", "cfg1"),
    ("ksampler", "euler_cfg_pp", "cfg1"),
    ("ksampler", "euler", "video"),
    ("ksampler", "dpmpp_2m", "video"),
    ("ksampler", "euler", "beta"),
    ("ksampler", "euler", "batch"),
    ("ksampler", "res_multistep", "batch"),
    ("ksampler", "euler", "i2v"),
    ("ksampler", "heun", "i2v"),
    ("guider", "euler"),
    ("guider", "euler_ancestral", "i2v"),
    *(("shock", name) for name in SHOCKED),
    ("split", "euler"),
]

if __name__ == "__main__":
    main(sys.argv[1])
