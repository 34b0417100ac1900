"""The device is full: does the loop continue, is the recorder's memory given back, and is it measured again?"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.bench import Answer, Bench, Goal, patched, troubles

STEPS = 24
FULL = range(4, 8)
"""Steps during which the device has no free memory."""


@contextlib.contextmanager
def full(bench: Bench) -> Iterator[None]:
    """No memory beyond what is allocated; on the CPU the metrics raise the error themselves."""
    if bench.cuda:
        torch.cuda.empty_cache()
        _, total = torch.cuda.mem_get_info(bench.device)
        torch.cuda.set_per_process_memory_fraction(torch.cuda.memory_reserved(bench.device) / total, bench.device)
        try:
            yield
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0, bench.device)
    else:
        from recorder.sampling import measure_step

        def no_memory(step: Any) -> torch.Tensor:
            raise torch.OutOfMemoryError("out of memory, for a test")

        with patched(measure_step, "measured_row", no_memory):
            yield


def out_of_memory(bench: Bench) -> Answer:
    """A custom loop whose steps 4 to 7 find no memory for the metrics."""
    from recorder import record
    from replay.sources.open import load

    shape = (1, 16, 3, 8, 8) if bench.small else (1, 128, 16, 32, 48)
    x = torch.randn(shape, device=bench.device)
    v = torch.randn(shape, device=bench.device)

    def allocated() -> int:
        gc.collect()
        bench.settle()
        return torch.cuda.memory_allocated(bench.device) if bench.cuda else 0

    before = allocated()
    while_full = 0
    with record(runs_dir=bench.folder) as run:
        run.stage([1 - step / STEPS for step in range(STEPS)])
        for step in range(STEPS):
            with full(bench) if step in FULL else contextlib.nullcontext():
                run.step(sigma=1 - step / STEPS, sigma_next=1 - (step + 1) / STEPS, sample=x, velocity=v)
            if step == FULL[-1]:
                while_full = allocated() - before
    after = allocated() - before
    stream = load(run.path).stages[0].streams["video"]
    steps = np.flatnonzero(np.isfinite(stream.values("sigma"))).tolist()
    goals = [
        Goal.is_("rows_before", set(range(FULL[0])) <= set(steps)),
        Goal.is_("measured_again", STEPS - 1 in steps),
        Goal.is_("told", any("out of memory" in text for text in troubles(run.path))),
        Goal.at_most("bytes_kept_while_full", while_full, x.nbytes // 4),
    ]
    return {"rows": steps, "bytes_after": after, "goals": goals}
