"""Does recording leave a generation unchanged where its model is offloaded or compiled? On separate nano pipelines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from benchmarks.gpu.bench import Answer, Bench, Goal, bare_and_recorded, generate, load_nano


def offloaded(how: str) -> Callable[[Bench], Answer]:
    """A question about `model`, `sequential` or `group` offload."""

    def ask(bench: Bench) -> Answer:
        bench.need_cuda()
        pipe = load_nano(torch.device("cpu"))
        if how == "model":
            pipe.enable_model_cpu_offload(device=bench.device)
        elif how == "sequential":
            pipe.enable_sequential_cpu_offload(device=bench.device)
        else:
            pipe.enable_group_offload(
                onload_device=bench.device, offload_type="block_level", num_blocks_per_group=1, use_stream=True
            )
        return bare_and_recorded(bench, pipe, guided=True)

    return ask


def compiled(**how: Any) -> Callable[[Bench], Answer]:
    """A question about a compiled transformer; what recording makes it compile again is counted."""

    def ask(bench: Bench) -> Answer:
        bench.need_cuda()
        from torch._dynamo.utils import counters

        pipe = load_nano(bench.device)
        pipe.transformer.compile(**how)
        generate(pipe, bench.device)
        before = sum(counters["frames"].values())
        found = bare_and_recorded(bench, pipe)
        again = sum(counters["frames"].values()) - before
        return {**found, "goals": [*found["goals"], Goal.is_("recompiled_frames", again, 0)]}

    return ask
