"""One recorded step without a model, under the profiler: how many kernels, how long, and how much of it is gaps."""

from __future__ import annotations

import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.agreement import sent_of, taken
from benchmarks.gpu.bench import Answer, Bench


def profiled(bench: Bench) -> Answer:
    """The third step of video and of audio, with two guidance passes."""
    grids = {"video": (3, 8, 8) if bench.small else (16, 32, 48), "audio": (20,) if bench.small else (126,)}
    found: Answer = {}
    for stream, grid in grids.items():
        steps = taken(grid, bench.device)
        sent_of(steps)
        bench.settle()
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if bench.cuda else [])]
        with profile(activities=activities) as watched:
            sent_of(steps)
            bench.settle()
        events = watched.events()
        kernels = [e for e in events if e.device_type == torch.autograd.DeviceType.CUDA]
        found[stream] = {
            "operations": sum(e.name.startswith("aten::") for e in events) / len(steps),
            "launches": sum("LaunchKernel" in e.name for e in events) / len(steps),
            "kernels": len(kernels) / len(steps),
        }
        if kernels:
            busy = sum(e.time_range.elapsed_us() for e in kernels)
            span = max(e.time_range.end for e in kernels) - min(e.time_range.start for e in kernels)
            found[stream] |= {"kernels_us": busy / len(steps), "span_us": span / len(steps), "gaps": 1 - busy / span}
    return {**found, "goals": []}
