"""What the recorder costs the run: on the sampling thread, in metric computation, and at the end."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.reporting import median, ms, quantile, table

STEPS = 20
REPEATS = 4


@contextlib.contextmanager
def timed(owner: Any, name: str, into: list[float]) -> Iterator[None]:
    """Note how long every call of a function or method takes."""
    original = getattr(owner, name)

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        began = time.perf_counter()
        try:
            return original(*args, **kwargs)
        finally:
            into.append(time.perf_counter() - began)

    setattr(owner, name, wrapper)
    try:
        yield
    finally:
        setattr(owner, name, original)


def run(folder: Path) -> None:
    """Measure and print."""
    import diffusers
    import torch

    from recorder import nano, record
    from recorder.sampling import measure_step, observer
    from recorder.sampling.guidance_presets import UNGUIDED

    print(f", torch {torch.__version__}, diffusers {diffusers.__version__}")
    torch.set_num_threads(1)
    pipe = nano.load()
    pipe.set_progress_bar_config(disable=True)

    def generate(guidance: dict[str, Any]) -> float:
        call = {**nano.HOME, **nano.CALL, **guidance, "output_type": "latent", "num_inference_steps": STEPS}
        began = time.perf_counter()
        pipe("a red ball moving left", generator=torch.Generator().manual_seed(0), **call)
        return (time.perf_counter() - began) / STEPS

    rows = []
    hooks: list[float] = []
    metrics: list[float] = []
    closing: list[float] = []
    for label, guidance in (("unguided", UNGUIDED), ("full 2.3 guidance", {})):
        generate(guidance)
        bare, recorded, measured = [], [], []
        for _ in range(REPEATS):
            bare.append(generate(guidance))
            spent: list[float] = []
            with timed(observer.CallObserver, "stepped", hooks), timed(measure_step, "measured_row", spent):
                with record(pipe, runs_dir=folder / "runs"):
                    recorded.append(generate(guidance))
                    began = time.perf_counter()
                closing.append(time.perf_counter() - began)
            metrics.extend(spent)
            measured.append(2 * statistics.median(spent))  # video and audio
        step, share = statistics.median(bare), statistics.median(m / b for m, b in zip(measured, bare, strict=True))
        ratio = statistics.median(r / b for r, b in zip(recorded, bare, strict=True))
        rows += [
            (f"{label}: bare step", ms(step)),
            (
                f"{label}: metrics per step, both streams",
                f"{ms(statistics.median(measured))} = {share:.1%} of the step",
            ),
            (f"{label}: step recorded / bare", f"{ratio:.3f}"),
        ]
    beyond = [h - m for h, m in zip(hooks, metrics, strict=True)]
    table(f"Recording the nano model ({STEPS} steps, {REPEATS} pairs of runs)", rows)
    table(
        "On the sampling thread, per step and stream",
        [
            ("beyond metric computation, median", ms(statistics.median(beyond))),
            ("beyond metric computation, p99", ms(quantile(beyond, 0.99))),
        ],
    )
    table("At the end", [(f"close to complete archive ({STEPS} steps)", median(closing))])
