"""What a recorded prompt costs ComfyUI's queue: `python -m benchmarks.comfyui`, and a part of `make bench`.

A run is opened in the background when its prompt's first sampling begins, and completed in the background when the
prompt ends. Measured is how long the thread of the queue waits for both, with the stand-in for ComfyUI of the tests,
whose model takes no time: a real one hides the wait for the opening behind its first evaluation.
"""

from __future__ import annotations

import logging
import tempfile
import time
from pathlib import Path

from benchmarks import options
from benchmarks.reporting import median, ms, table

PROMPTS = 15
WANTED_SECONDS = 0.030


def run(folder: Path) -> None:
    """Measure and print."""
    import pytest

    from recorder.runners.comfyui import nodes, prompt_runs
    from tests.recorder.runners.comfyui.fakes import (
        KSAMPLER,
        SAMPLERS,
        CFGGuider,
        ComfyUI,
        ModelPatcher,
        levels,
        noises,
    )

    logging.getLogger("recorder").setLevel(logging.ERROR)
    waits: list[float] = []
    opening: list[float] = []
    ending: list[float] = []
    whole: list[float] = []
    with pytest.MonkeyPatch.context() as patch:
        comfyui = ComfyUI(folder)
        comfyui.install(patch)
        patch.setattr(nodes, "_adapter", None)
        nodes.load(record_all=False)
        adapter = nodes._adapter
        assert adapter is not None
        handle, of, ended = prompt_runs.PromptRun.handle, adapter.runs.of, adapter.runs.ended

        def timed_handle(self: prompt_runs.PromptRun) -> object:
            began = time.perf_counter()
            found = handle(self)
            waits[-1] += time.perf_counter() - began
            return found

        def timed_of(*given: object) -> object:
            began = time.perf_counter()
            found = of(*given)  # type: ignore[arg-type]
            opening[-1] += time.perf_counter() - began
            return found

        def timed_ended(key: str) -> None:
            began = time.perf_counter()
            ended(key)
            ending[-1] += time.perf_counter() - began

        patch.setattr(prompt_runs.PromptRun, "handle", timed_handle)
        patch.setattr(adapter.runs, "of", timed_of)
        patch.setattr(adapter.runs, "ended", timed_ended)
        for number in range(PROMPTS):
            for each in (waits, opening, ending):
                each.append(0.0)
            noise, empty = noises()
            with comfyui.prompt(f"p-{number}"):
                model = nodes.LTXTelemetry().attach(ModelPatcher())[0]
                sampler = KSAMPLER(SAMPLERS["euler"][0])
                CFGGuider(model).sample(noise, empty, sampler, levels(8), callback=lambda *_: None, seed=1)
            blocked = waits[-1] + opening[-1] + ending[-1]
            whole.append(blocked)
            adapter.runs.wait()
    rows = [
        ("begins to open", median(opening)),
        ("waits until it is open", median(waits)),
        ("ends", median(ending)),
        ("altogether", median(whole)),
        ("wanted at the median", f"at most {ms(WANTED_SECONDS)}"),
    ]
    table(f"ComfyUI: the queue waits for a run's opening and end ({PROMPTS} prompts)", rows)


def main() -> None:
    options.parser("benchmarks.comfyui", __doc__ or "", "").parse_args()
    with tempfile.TemporaryDirectory(prefix="ltx-bench-") as made:
        run(Path(made))


if __name__ == "__main__":
    main()
