"""What recording costs with the full-size transformer: recorded and bare steps of one run in turn, then one in depth.

The transformer has 19.0 B of the checkpoint's 22 B parameters. The others are connectors and text projections, which
run once, before the loop, and are cut down here.
"""

from __future__ import annotations

import itertools
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.full_size import SEED, build
from benchmarks.gpu.bench import Answer, Bench, Goal, NotHere
from benchmarks.gpu.instruments import Instruments, Switch, peak_of

CLIPS = {"small": ((128, 160, 33), (256, 320, 33)), "full": ((512, 768, 121), (1024, 1536, 121))}
MOST_BLOCKS = 8
"""Blocks of four steps in a run: bare, recorded, recorded, bare, so that a steady drift cancels."""
OVERHEAD = 0.002
HOST_MS = 5.0
"""Some 450 operations a step for both streams, at 5 to 10 µs each; a step of the real model takes seconds."""


class Model:
    """The pipeline with random prompt embeddings, called repeatedly."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.cuda, self.device = bench, bench.cuda, bench.device
        dtype = torch.bfloat16 if bench.cuda else torch.float32
        began = time.monotonic()
        with torch.inference_mode():
            self.pipe = build(bench.small, bench.device, dtype)
        bench.settle()
        self.build_seconds = time.monotonic() - began
        config = self.pipe.connectors.config
        shape = (1, 16 if bench.small else 1024, config.caption_channels * config.text_proj_in_factor)
        made = torch.Generator(bench.device).manual_seed(SEED)
        kinds = ("prompt_embeds", "negative_prompt_embeds")
        self.prompts = {k: torch.randn(shape, generator=made, device=bench.device, dtype=dtype) for k in kinds}
        mask = torch.ones(shape[:2], dtype=torch.int64, device=bench.device)
        self.prompts |= {"prompt_attention_mask": mask, "negative_prompt_attention_mask": mask}
        self.stg_block = 2 if bench.small else 28

    def _now(self) -> Any:
        if not self.cuda:
            return time.perf_counter()
        mark = torch.cuda.Event(enable_timing=True)
        mark.record(torch.cuda.current_stream(self.device))
        return mark

    def _between(self, first: Any, last: Any) -> float:
        return first.elapsed_time(last) / 1000 if self.cuda else last - first

    def run(
        self, clip: tuple[int, int, int], steps: int, begins: Callable[[int], None] = lambda step: None
    ) -> list[float]:
        """Seconds of each step, by the device's clock; `begins` is called before each. Recorded, if the pipe is."""
        from recorder.nano import GUIDED

        marks: list[Any] = []
        calls = 0

        def first_of_a_step(module: Any, args: Any) -> None:
            # A mark before every call of the model; those before the first of each step enclose all hooks.
            nonlocal calls
            if calls % passes == 0:
                begins(calls // passes)
                marks.append(self._now())
            calls += 1

        passes = 3  # with and without a prompt in one batch, perturbed, isolated
        hook = self.pipe.transformer.register_forward_pre_hook(first_of_a_step)
        height, width, frames = clip
        try:
            with torch.inference_mode():
                self.pipe(
                    height=height,
                    width=width,
                    num_frames=frames,
                    num_inference_steps=steps,
                    output_type="latent",
                    generator=torch.Generator(self.device).manual_seed(SEED),
                    spatio_temporal_guidance_blocks=[self.stg_block],
                    use_cross_timestep=True,
                    **self.prompts,
                    **GUIDED,
                )
            marks.append(self._now())
            self.bench.settle()
        finally:
            hook.remove()
        if calls != passes * steps:
            raise RuntimeError(f"the model was called {calls} times in {steps} steps, not {passes} times in each")
        return [self._between(a, b) for a, b in itertools.pairwise(marks)]


def is_recorded(step: int) -> bool:
    """Whether a step of an alternating run is; the first one is left out of both sides."""
    return step == 0 or (step - 1) % 4 in (1, 2)


def overhead(seconds: list[float]) -> tuple[float, float]:
    """Recorded minus bare in parts of bare, and its standard error (NaN of one block); see `is_recorded`."""
    blocks = [seconds[i : i + 4] for i in range(1, len(seconds) - 3, 4)]
    ratios = [(b + c) / (a + d) - 1 for a, b, c, d in blocks]
    error = statistics.stdev(ratios) / math.sqrt(len(ratios)) if len(ratios) > 1 else math.nan
    return statistics.mean(ratios), error


def full(which: int, share: float) -> Callable[[Bench], Answer]:
    """A question about one of the clips, in about this share of the time that is left."""

    def ask(bench: Bench) -> Answer:
        if "model" not in bench.made:
            bench.made.pop("nano", None)
        model: Model = bench.once("model", lambda: Model(bench))
        clip = CLIPS["small" if bench.small else "full"][which]
        return {"clip": "×".join(map(str, clip)), "build_s": model.build_seconds} | measured(bench, model, clip, share)

    return ask


def measured(bench: Bench, model: Model, clip: tuple[int, int, int], share: float) -> Answer:
    """Everything about one clip size, the cheapest first. Recorded and bare steps are compared if there is time."""
    from recorder import record

    until = bench.left() * (1 - share)
    bare, bare_peak = peak_of(bench, lambda: model.run(clip, 2))
    step = bare[-1]
    if bench.left() < 6 * step:
        raise NotHere(f"a step takes {step:.0f} s, and {bench.left():.0f} s are left")
    with record(model.pipe, runs_dir=bench.folder) as run:
        _, recorded_peak = peak_of(bench, lambda: model.run(clip, 2))
    found: Answer = {"step_ms": step * 1000, "nan_count": nan_count(run.path), "goals": []}
    if bench.cuda:
        with record(model.pipe, runs_dir=bench.folder):
            deep = deeply(bench, model, clip, step * 1000)
        found |= {**deep, "peak_extra_mib": (recorded_peak - bare_peak) / 2**20}
    blocks = min(MOST_BLOCKS, int(((bench.left() - until) / max(step, 1e-6) - 2) / 4))
    if bench.small:
        blocks = 1
    if blocks:
        compared = alternating(bench, model, clip, blocks)
        found["goals"] += compared.pop("goals")
        found |= compared
    return found


def alternating(bench: Bench, model: Model, clip: tuple[int, int, int], blocks: int) -> Answer:
    """Recorded and bare steps of one run in turn."""
    from recorder import record

    switch, instruments, steps = Switch(), Instruments(bench), 4 * blocks + 1
    with switch.installed(), instruments.installed(switch), record(model.pipe, runs_dir=bench.folder):
        seconds = model.run(clip, steps, lambda number: switch.turn(is_recorded(number)))
    host = instruments.host_ms(steps)
    ratio, error = overhead(seconds)
    goals = []
    if bench.cuda:
        goals.append(Goal.at_most("host_ms_per_step", sum(host.values()), HOST_MS))
        if blocks > 1:
            goals.append(Goal.at_most("overhead_beyond_two_errors", ratio - 2 * error, OVERHEAD))
    return {"blocks": blocks, "overhead": ratio, "standard_error": error, "host_ms": host, "goals": goals}


def deeply(bench: Bench, model: Model, clip: tuple[int, int, int], step_ms: float) -> Answer:
    """Three recorded steps with instruments that would disturb a comparison."""
    instruments, steps = Instruments(bench, deep=True), 3
    with instruments.installed():
        model.run(clip, steps)
    height, width, frames = clip
    tokens = ((frames - 1) // 8 + 1) * (height // 32) * (width // 32)
    latent = tokens * model.pipe.transformer.config.in_channels * 4
    kernels = instruments.kernels_ms(steps)
    # Sample, velocity and result, each read once.
    floor = 3 * latent / bandwidth(bench.device) * 1000
    over = sum(kernels.values()) / step_ms
    return {
        "kernels_ms": kernels,
        "video_kernels_over_read_once": kernels.get("stepped video", 0.0) / floor,
        "sync_messages": sorted(set(instruments.syncs)),
        "hook_extra_mib": instruments.extra_bytes / 2**20,
        "latent_mib": latent / 2**20,
        "goals": [
            Goal.at_most("kernels_over_step", over, OVERHEAD),
            Goal.is_("syncs_in_the_loop", len(instruments.syncs), 0),
        ],
    }


def nan_count(path: Path) -> float:
    """NaNs in a run's samples: random weights may overflow in bfloat16, and then rows are NaN."""
    from replay.sources.open import load

    return float(load(path).stages[0].streams["video"].values("nan_count").max())


def bandwidth(device: torch.device) -> float:
    """Bytes a second that the device's memory moves when it copies, counting what is read and what is written."""
    source = torch.empty(1 << 28, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    times = []
    for _ in range(10):
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        first.record()
        target.copy_(source)
        last.record()
        last.synchronize()
        times.append(first.elapsed_time(last) / 1000)
    return 2 * source.nbytes / statistics.median(times)
