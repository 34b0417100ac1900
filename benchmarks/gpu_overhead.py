"""What recording costs on a GPU: the full-size LTX-2.3 transformer with random weights, with and without the recorder.

`python -m benchmarks.gpu_overhead` takes under 9 minutes on one 80 GB GPU; `--small`, the default where there is no
CUDA, runs the same code at toy size on the CPU in about a minute. The last line of output is the table as JSON.

The transformer has 19.0 B of the checkpoint's 22 B parameters. The others are connectors and text projections, which
run once, before the loop, and are cut down here.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.full_size import SEED, build

os.environ.setdefault("HF_HUB_OFFLINE", "1")

FULL = {"clips": ((512, 768, 121), (1024, 1536, 121)), "text": 1024, "stg_block": 28}
SMALL = {"clips": ((128, 160, 33), (256, 320, 33)), "text": 16, "stg_block": 2}
STEPS = (3, 12)
"""Fewest and most steps of one run; as many as the time allows. The first step of each is not counted."""
GOALS = {"overhead": 0.002, "syncs": 0, "host_ms": 0.5}


class Instruments:
    """Measures what the recorder does on the sampling thread: host time always, the rest when `deep` is set.

    `deep` looks for synchronisations, times the device and watches its allocator: all of these would disturb the
    runs that are compared with bare ones.
    """

    def __init__(self, cuda: bool) -> None:
        self.cuda = cuda
        self.deep = False
        self.host: dict[str, list[float]] = {}
        self.device: dict[str, list[tuple[Any, Any]]] = {}
        self.syncs: dict[str, list[str]] = {}
        self.extra_bytes = 0

    def clear(self) -> None:
        self.host, self.device, self.syncs, self.extra_bytes = {}, {}, {}, 0

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Everything that the hooks do passes through the observer's guard."""
        from recorder.observer import CallObserver

        original = CallObserver.guard

        def guard(observer: Any, what: str, function: Any, *arguments: Any, **more: Any) -> None:
            with self.deeply(what) if self.deep and self.cuda else contextlib.nullcontext():
                began = time.perf_counter()
                original(observer, what, function, *arguments, **more)
                self.host.setdefault(what, []).append(time.perf_counter() - began)

        CallObserver.guard = guard  # type: ignore[method-assign]
        try:
            yield
        finally:
            CallObserver.guard = original  # type: ignore[method-assign]

    @contextlib.contextmanager
    def deeply(self, what: str) -> Iterator[None]:
        import torch

        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            first.record()
            try:
                yield
            finally:
                last.record()
                torch.cuda.set_sync_debug_mode("default")
        found = [str(w.message) for w in caught if "called a synchronizing" in str(w.message)]
        self.syncs.setdefault(what, []).extend(found)
        self.device.setdefault(what, []).append((first, last))
        self.extra_bytes = max(self.extra_bytes, torch.cuda.max_memory_allocated() - before)


class Bench:
    """One pipeline, run again and again on one clip size, bare or recorded."""

    def __init__(self, pipe: Any, size: dict[str, Any], device: Any, dtype: Any, folder: Path) -> None:
        import torch

        self.pipe, self.folder, self.device = pipe, folder, device
        self.cuda = device.type == "cuda"
        self.instruments = Instruments(self.cuda)
        config = pipe.connectors.config
        width = config.caption_channels * config.text_proj_in_factor
        made = torch.Generator(device).manual_seed(SEED)
        shape = (1, size["text"], width)
        self.prompts = {
            k: torch.randn(shape, generator=made, device=device, dtype=dtype)
            for k in ("prompt_embeds", "negative_prompt_embeds")
        }
        mask = torch.ones(shape[:2], dtype=torch.int64, device=device)
        self.prompts |= {"prompt_attention_mask": mask, "negative_prompt_attention_mask": mask}
        self.stg_block = size["stg_block"]

    def _now(self) -> Any:
        import torch

        if not self.cuda:
            return time.perf_counter()
        mark = torch.cuda.Event(enable_timing=True)
        mark.record()
        return mark

    def _between(self, first: Any, last: Any) -> float:
        return first.elapsed_time(last) / 1000 if self.cuda else last - first

    def run(self, clip: tuple[int, int, int], steps: int, recorded: bool) -> tuple[list[float], int]:
        """Seconds of each step on the device, and the device memory at the peak."""
        import torch

        from recorder import record
        from recorder.nano import GUIDED

        marks: list[Any] = []
        # The first of the model's calls of a step; marks before and after a step enclose the hooks of both streams.
        hook = self.pipe.transformer.register_forward_pre_hook(lambda module, args: marks.append(self._now()))
        if self.cuda:
            torch.cuda.empty_cache()
            torch.cuda.synchronize()
            torch.cuda.reset_peak_memory_stats()
        height, width, frames = clip
        try:
            with record(self.pipe, runs_dir=self.folder) if recorded else contextlib.nullcontext():
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
                if self.cuda:
                    torch.cuda.synchronize()
        finally:
            hook.remove()
        passes = (len(marks) - 1) // steps
        at = marks[::passes]
        # The first step of a run pays for what is allocated once; it is left out of both sides.
        seconds = [self._between(a, b) for a, b in itertools.pairwise(at[1:])]
        return seconds, torch.cuda.max_memory_allocated() if self.cuda else 0

    def measure(self, clip: tuple[int, int, int], pairs: int, budget: float) -> dict[str, Any]:
        """Everything about one clip size, in about `budget` seconds."""
        self.run(clip, 2, recorded=False)
        began = time.perf_counter()
        self.run(clip, 2, recorded=True)
        # Pairs of runs and the deep one. A step as it just was, set-up included: the estimate is on the safe side.
        in_all = budget / ((time.perf_counter() - began) / 2)
        pairs = pairs if in_all >= STEPS[0] * (2 * pairs + 1) else min(pairs, 2)
        afford = in_all / (2 * pairs + 1)
        steps = max(STEPS[0], min(STEPS[1], int(afford)))
        bare: list[list[float]] = []
        recorded: list[list[float]] = []
        memory: dict[bool, int] = {}
        self.instruments.clear()
        with self.instruments.installed():
            for _ in range(pairs):
                for recording, into in ((False, bare), (True, recorded)):
                    seconds, memory[recording] = self.run(clip, steps, recording)
                    into.append(seconds)
            host = {k: list(v) for k, v in self.instruments.host.items()}
            self.instruments.clear()
            self.instruments.deep = True
            self.run(clip, steps, recorded=True)
            self.instruments.deep = False
        step = statistics.median(s for run in bare for s in run)
        ratios = [statistics.median(r) / statistics.median(b) for b, r in zip(bare, recorded, strict=True)]
        found: dict[str, Any] = {
            "clip": "×".join(map(str, clip)),
            "steps": steps,
            "pairs": pairs,
            "step_ms": step * 1000,
            "recorded_over_bare": statistics.median(ratios),
            "ratios": ratios,
            # The same for bare runs among themselves: a difference smaller than this one is noise.
            "bare_spread": max(map(statistics.median, bare)) / min(map(statistics.median, bare)) - 1,
            "host_ms": {k: statistics.median(v) * 1000 for k, v in host.items() if _in_the_loop(k)},
            "host_ms_per_step": sum(sum(v) for k, v in host.items() if _in_the_loop(k)) / pairs / steps * 1000,
        }
        if self.cuda:
            found |= self._device_side(clip, step, memory[True] - memory[False])
        return found

    def _device_side(self, clip: tuple[int, int, int], step: float, extra: int) -> dict[str, Any]:
        height, width, frames = clip
        tokens = ((frames - 1) // 8 + 1) * (height // 32) * (width // 32)
        latent = tokens * self.pipe.transformer.config.in_channels * 4
        kernels = {k: statistics.median(a.elapsed_time(b) for a, b in v) for k, v in self.instruments.device.items()}
        inside = {k: v for k, v in kernels.items() if k.startswith("a step of")}
        # Sample, velocity and result, each read once.
        floor = 3 * latent / bandwidth(self.device) * 1000
        syncs = {k: v for k, v in self.instruments.syncs.items() if _in_the_loop(k)}
        return {
            "kernels_ms": kernels,
            "kernels_over_step": sum(inside.values()) / (step * 1000),
            "read_once_ms": floor,
            "video_kernels_over_read_once": kernels.get("a step of video", 0.0) / floor,
            "syncs_in_the_loop": sum(map(len, syncs.values())),
            "sync_messages": sorted({m for v in syncs.values() for m in v}),
            "peak_extra_mib": extra / 2**20,
            "hook_extra_mib": self.instruments.extra_bytes / 2**20,
            "latent_mib": latent / 2**20,
        }


def _in_the_loop(what: str) -> bool:
    """True of hooks that run between steps; a schedule is set, and a call begins and ends, outside the loop."""
    return "schedule" not in what and "of a call" not in what


def bandwidth(device: Any) -> float:
    """Bytes a second that the device's memory moves when it copies, counting what is read and what is written."""
    import torch

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


def report(found: dict[str, Any]) -> None:
    """One table, then the same as JSON."""
    from benchmarks.__main__ import table

    print(f"\n{found['what']}\n{found['machine']}")
    for r in found["results"]:
        rows = [
            ("bare step, full guidance", f"{r['step_ms']:.2f} ms   ({r['pairs']} pairs of runs, {r['steps']} steps)"),
            (
                "recorded / bare",
                f"{r['recorded_over_bare']:.4f}   (bare runs among themselves: {r['bare_spread']:.2%})",
            ),
            ("host time of all hooks per step", f"{r['host_ms_per_step']:.3f} ms"),
            *((f"host time of {k}", f"{v:.3f} ms") for k, v in r["host_ms"].items()),
        ]
        if "kernels_ms" in r:
            video = r["kernels_ms"].get("a step of video", 0.0)
            rows += [
                ("the recorder's kernels / step", f"{r['kernels_over_step']:.3%}   (goal {GOALS['overhead']:.1%})"),
                ("kernels of a step of video", f"{video:.3f} ms"),
                ("reading x, v and result once", f"{r['read_once_ms']:.3f} ms; the kernels take "
                 f"{r['video_kernels_over_read_once']:.1f} times that"),
                ("synchronisations in the loop", f"{r['syncs_in_the_loop']}   {'; '.join(r['sync_messages'])[:200]}"),
                ("device memory at the peak", f"{r['peak_extra_mib']:+.1f} MiB; inside a hook "
                 f"{r['hook_extra_mib']:+.1f} MiB; a latent has {r['latent_mib']:.1f} MiB"),
            ]  # fmt: skip
        table(r["clip"], rows)
    print(json.dumps(found))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_overhead", description=__doc__)
    parser.add_argument("--small", action="store_true", help="toy size on the CPU; the default without CUDA")
    parser.add_argument("--pairs", type=int, default=3, help="pairs of a bare and a recorded run (default 3)")
    parser.add_argument("--minutes", type=float, help="about how long to measure (default 6, small 0.5)")
    arguments = parser.parse_args()
    import diffusers
    import torch

    small = arguments.small or not torch.cuda.is_available()
    device = torch.device("cpu") if small else torch.device("cuda", torch.cuda.current_device())
    dtype = torch.float32 if small else torch.bfloat16
    diffusers.utils.logging.set_verbosity_error()  # it says of every part that nothing needs to stay in float32
    if small:
        torch.set_num_threads(1)
    size = SMALL if small else FULL
    folder = Path(tempfile.mkdtemp(prefix="ltx-bench-", dir=tempfile.gettempdir()))
    os.environ["LTXTUI_RUNTIME_DIR"] = str(folder / "sockets")
    began = time.perf_counter()
    try:
        with torch.inference_mode():
            pipe = build(small, device, dtype)
            parameters = sum(p.numel() for p in pipe.transformer.parameters())
            bench = Bench(pipe, size, device, dtype, folder / "runs")
            minutes = arguments.minutes or (0.5 if small else 6.0)
            # Time goes where steps are long: attention and all else together grow about as 1 : 6 from clip to clip.
            shares = (0.25, 0.75)
            results = [
                bench.measure(clip, arguments.pairs, 60 * minutes * share)
                for clip, share in zip(size["clips"], shares, strict=True)  # type: ignore[arg-type]
            ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    kind = "SMALL, ON THE CPU: says nothing about a GPU" if small else "FULL SIZE, ON A GPU"
    name = f"{platform.machine()}, {os.cpu_count()} CPUs" if small else torch.cuda.get_device_name(device)
    report(
        {
            "what": f"{kind}: {parameters / 1e9:.3g} B parameters with random weights in {dtype}, LTX2Pipeline",
            "small": small,
            "machine": f"{name}, torch {torch.__version__}, diffusers {diffusers.__version__}",
            "seconds": time.perf_counter() - began,
            "goals": GOALS,
            "results": results,
        }
    )


if __name__ == "__main__":
    sys.exit(main())
