"""Healthy runs of the nano model: no rule may warn of any of them. Prints the extremes that every rule saw.

A run is healthy when nothing in its set-up contradicts the model: seeds, guidance, step counts, schedules, sizes,
batches, pipelines, stages, shocks, samplers and precisions, as published set-ups use them.
"""

from __future__ import annotations

import inspect
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import options
from recorder.findings.page import extremes

PROMPTS = ("a red ball moving left", "a blue box moving up", "a green cross moving right", "a yellow ball moving down")
DISTILLED = [1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875]
SECOND = [0.909375, 0.725, 0.421875]
SIZES = ((320, 384, 65), (256, 256, 33), (256, 384, 17), (384, 320, 33), (448, 256, 25), (320, 384, 9), (512, 512, 33))
Job = Callable[[dict[str, Any]], list[Callable[[], Any]] | Callable[[], Any]]


class Bench:
    """Makes pipelines from the parts of one nano model."""

    def __init__(self, young: bool = False) -> None:
        from recorder import nano

        self.nano = nano
        self.parts = nano.load().components

    def pipe(self, name: str = "LTX2Pipeline", scheduler: Any = None, **more: Any) -> Any:
        from diffusers.pipelines import ltx2

        from recorder.nano import components

        cls = getattr(ltx2, name)
        wanted = set(inspect.signature(cls.__init__).parameters)
        parts = {**self.parts, "scheduler": scheduler or components.scheduler(), **more}
        pipe = cls(**{k: v for k, v in parts.items() if k in wanted and v is not None})
        pipe.register_to_config(_name_or_path="nano")
        pipe.set_progress_bar_config(disable=True)
        return pipe

    def call(self, seed: int, steps: int = 12, guided: bool = False, **more: Any) -> dict[str, Any]:
        import torch

        guidance = self.nano.GUIDED if guided else self.nano.UNGUIDED
        size = {"height": 320, "width": 384, "num_frames": 33}
        made = {**size, **self.nano.CALL, **guidance, "output_type": "latent", "prompt": PROMPTS[seed % len(PROMPTS)]}
        generator = torch.Generator().manual_seed(seed)
        return {**made, "num_inference_steps": steps, "generator": generator, **more}

    @staticmethod
    def flow(**changes: Any) -> Any:
        """The model's scheduler with another configuration."""
        from diffusers import FlowMatchEulerDiscreteScheduler

        from recorder.nano import components

        return FlowMatchEulerDiscreteScheduler.from_config({**components.scheduler().config, **changes})

    def exact(self) -> Any:
        """A scheduler that uses the given levels unchanged."""
        return self.flow(use_dynamic_shifting=False, shift_terminal=None)


def jobs(b: Bench) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Name of each run, and what makes it in the block of a `record` that is given its arguments."""
    for seed in range(48):
        yield f"seed-guided-{seed}", one(b, b.call(seed, 10, True))
    for seed in range(100, 132):
        yield f"seed-unguided-{seed}", one(b, b.call(seed, 16))
    for n in (4, 5, 6, 7, 8, 10, 15, 20, 30, 40, 50, 75, 100):
        yield f"steps-{n}", one(b, b.call(n, n))
        if n <= 20:
            yield f"steps-guided-{n}", one(b, b.call(n, n, True))
    for scale in (1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0):
        rescaled = {"guidance_rescale": 0.7, "audio_guidance_rescale": 0.7}
        for seed in (200, 201):
            cfg = {"guidance_scale": scale, "audio_guidance_scale": scale, **rescaled}
            yield f"cfg-{scale:g}-{seed}", one(b, b.call(seed, 12, **cfg))
            yield f"all-{scale:g}-{seed}", one(b, b.call(seed, 12, True, guidance_scale=scale))
    for scale in (0.5, 1.0, 2.0):
        yield f"stg-{scale:g}", one(b, b.call(210, 12, stg_scale=scale, audio_stg_scale=scale))
    for rescale in (0.3, 0.45, 0.5, 0.9, 1.0):
        yield f"rescale-{rescale:g}", one(b, b.call(211, 12, True, guidance_rescale=rescale))
    schedules: dict[str, dict[str, Any]] = {
        "karras": {"use_karras_sigmas": True},
        "exponential": {"use_exponential_sigmas": True},
        "shift-1": {"use_dynamic_shifting": False, "shift_terminal": None, "shift": 1.0},
        "shift-3": {"use_dynamic_shifting": False, "shift_terminal": None, "shift": 3.0},
        "shift-7": {"use_dynamic_shifting": False, "shift_terminal": None, "shift": 7.0},
        "linear-shift": {"time_shift_type": "linear"},
        "no-terminal": {"shift_terminal": None},
    }
    for name, config in schedules.items():
        for seed in (220, 221):
            yield f"schedule-{name}-{seed}", one(b, b.call(seed, 20), scheduler=b.flow(**config))
            yield f"schedule-{name}-guided-{seed}", one(b, b.call(seed, 10, True), scheduler=b.flow(**config))
    for seed in range(230, 236):
        yield f"distilled-{seed}", one(b, b.call(seed, 8, sigmas=DISTILLED), scheduler=b.exact())
    for height, width, frames in SIZES:
        size = {"height": height, "width": width, "num_frames": frames}
        yield f"size-{height}x{width}x{frames}", one(b, b.call(240, 12, **size))
        yield f"size-guided-{height}x{width}x{frames}", one(b, b.call(241, 8, True, **size))
    for seed in range(300, 308):  # nine latent frames, which rules over frames need
        home = {"num_frames": 65}
        yield f"home-{seed}", one(b, b.call(seed, 10, seed % 2 == 0, **home))
    for clips in (2, 3):
        yield f"batch-{clips}", one(b, b.call(250, 12, prompt=list(PROMPTS[:clips])))
        yield f"batch-guided-{clips}", one(b, b.call(251, 8, True, num_videos_per_prompt=clips))
    for rate in (25.0, 30.0, 50.0):
        yield f"rate-{rate:g}", one(b, b.call(255, 12, frame_rate=rate))
    for seed in range(260, 264):
        yield f"two-stages-{seed}", stages(b, seed, guided=seed % 2 == 0)
        yield f"split-{seed}", split(b, seed)
    for seed in range(270, 274):
        yield f"image-{seed}", image(b, seed, guided=seed % 2 == 0)
        yield f"ancestral-{seed}", ancestral(b, seed, eta=(1.0, 0.5, 0.3, 0.0)[seed % 4])
        yield f"stochastic-{seed}", one(b, b.call(seed, 16), scheduler=b.flow(stochastic_sampling=True))
    shocks = ("restart:sigma=0.8,db=3", "renoise:snr=0,db=3", "sigma_bump:sigma=0.7,db=2", "restart:at=critical,db=3")
    for number, shock in enumerate(shocks):
        for seed in (280, 281):
            yield f"shock-{number}-{seed}", one(b, b.call(seed, 16), shocks=[shock])
    for seed in (290, 291):
        yield f"bfloat16-{seed}", half(b, seed)


def one(b: Bench, call: dict[str, Any], scheduler: Any = None, shocks: list[str] | None = None) -> Callable[[Any], Any]:
    """A run of one call."""

    def go(record: Any) -> None:
        from recorder.shocks.parse import parse_shock

        pipe = b.pipe(scheduler=scheduler)
        planned = {"shocks": [parse_shock(s) for s in shocks]} if shocks else {}
        with record(pipe, **planned):
            pipe(**call)

    return go


def stages(b: Bench, seed: int, guided: bool) -> Callable[[Any], Any]:
    """A first stage, and a second one that noises its latents again."""

    def go(record: Any) -> None:
        pipe = b.pipe()
        with record(pipe):
            first = pipe(**b.call(seed, 12, guided))
            pipe.scheduler = b.exact()
            again = {"latents": first.frames, "audio_latents": first.audio, "noise_scale": SECOND[0], "sigmas": SECOND}
            pipe(**b.call(seed + 1000, 3, **again))

    return go


def split(b: Bench, seed: int) -> Callable[[Any], Any]:
    """One schedule in two calls: the first one leaves noise, from which the second continues."""

    def go(record: Any) -> None:
        levels = [1.0, 0.97, 0.93, 0.88, 0.8, 0.7, 0.55, 0.4, 0.2]
        pipe = b.pipe(scheduler=b.exact())
        with record(pipe):
            first = pipe(**b.call(seed, 12, True))
            noised = {"latents": first.frames, "audio_latents": first.audio, "noise_scale": levels[3]}
            pipe(**b.call(seed + 1000, 6, sigmas=levels[3:], **noised))

    return go


def image(b: Bench, seed: int, guided: bool) -> Callable[[Any], Any]:
    """Image to video, from a smooth picture."""

    def go(record: Any) -> None:
        import numpy as np
        import PIL.Image

        y, x = np.mgrid[:320, :384]
        tones = np.stack([x / 384 * 200 + seed % 50, y / 320 * 255, 128 + 0 * x], -1)
        picture = PIL.Image.fromarray(tones.astype(np.uint8))
        pipe = b.pipe("LTX2ImageToVideoPipeline")
        with record(pipe):
            pipe(**b.call(seed, 10, guided, image=picture))

    return go


def ancestral(b: Bench, seed: int, eta: float) -> Callable[[Any], Any]:
    """LTX's ancestral sampler."""

    def go(record: Any) -> None:
        from diffusers import LTXEulerAncestralRFScheduler

        pipe = b.pipe(scheduler=LTXEulerAncestralRFScheduler(eta=eta))
        with record(pipe):
            pipe(**b.call(seed, 9, sigmas=[*DISTILLED, 0.0]))

    return go


def half(b: Bench, seed: int) -> Callable[[Any], Any]:
    """Transformer and connectors in bfloat16."""

    def go(record: Any) -> None:
        import copy

        import torch

        parts = {n: copy.deepcopy(b.parts[n]).to(torch.bfloat16) for n in ("transformer", "connectors", "text_encoder")}
        pipe = b.pipe(**parts)
        with record(pipe):
            pipe(**b.call(seed, 12))

    return go


def main() -> int:
    parser = options.parser(
        "benchmarks.healthy",
        __doc__ or "",
        "--only shock  runs whose name contains a text",
        "--runs-dir healthy-runs",
        "--write docs/healthy.json",
    )
    parser.add_argument("--only", default="", metavar="TEXT", help="runs whose name contains this")
    parser.add_argument("--write", type=Path, metavar="FILE", help="keep the extremes as JSON, for docs/findings.md")
    parser.add_argument("--runs-dir", type=Path, help="keep the archives there, and read existing ones [none]")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = examine(given.runs_dir or Path(folder), given.only)
    print(extremes(found))
    if given.write:
        given.write.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return int(found["alarms"] > 0)


def examine(folder: Path, only: str) -> dict[str, Any]:
    """Make the runs that are missing, and examine all; false alarms are printed.

    Returns how many `runs` there are, how many of them with `alarms`, and the `extremes` of every rule and key.
    """
    import torch

    from recorder import record
    from replay.findings import RunFindings
    from replay.sources.open import load

    torch.set_num_threads(1)
    bench, alarms, runs = Bench(), 0, 0
    ends: dict[tuple[str, str], tuple[float, float]] = {}
    for name, job in jobs(bench):
        if only not in name:
            continue
        found = sorted(folder.glob(f"*-{name}.zarr"))
        if not found:
            job(lambda *pipes, name=name, **options: record(*pipes, runs_dir=folder, name=name, **options))
            found = sorted(folder.glob(f"*-{name}.zarr"))
        examined = RunFindings(load(found[0]))
        bad = [f for f in examined.update() if f.severity != "note"]
        runs, alarms = runs + 1, alarms + bool(bad)
        for finding in bad:
            print(f"{name}: {finding.severity} {finding.id}, step {finding.step}: {finding.text}", flush=True)
        for key, (low, high) in examined.extremes().items():
            known = ends.get(key, (low, high))
            ends[key] = min(known[0], low), max(known[1], high)
    found = [
        {"rule": rule, "key": key, "lowest": _rounded(low), "highest": _rounded(high)}
        for (rule, key), (low, high) in sorted(ends.items())
    ]
    return {"runs": runs, "alarms": alarms, "extremes": found}


def _rounded(value: float) -> float | None:
    """To the digits that are shown; None for what is infinite."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


if __name__ == "__main__":
    sys.exit(main())
