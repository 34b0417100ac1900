"""Instruments of the full-size questions: hooks switched on and off step by step, timed, and looked at in depth."""

from __future__ import annotations

import contextlib
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import torch

from benchmarks.gpu.bench import Bench, patched

T = TypeVar("T")


class Switch:
    """Turns measuring on and off in the middle of a run: steps that are off are not measured, and keep no passes."""

    def __init__(self) -> None:
        self.on = True

    def turn(self, on: bool) -> None:
        self.on = on

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        from recorder.sampling.guidance_passes import Passes
        from recorder.sampling.stages import Stages

        step, add = Stages.step, Passes.add

        def stepping(stages: Any, *arguments: Any, **more: Any) -> None:
            if self.on:
                step(stages, *arguments, **more)

        def adding(passes: Any, *arguments: Any) -> None:
            if self.on:
                add(passes, *arguments)

        with patched(Stages, "step", stepping), patched(Passes, "add", adding):
            yield


class Instruments:
    """Times what the hooks hold the sampling thread for.

    `deep` looks for synchronisations, times the device and watches its allocator as well. All of these would disturb
    steps that are compared with bare ones.
    """

    def __init__(self, bench: Bench, deep: bool = False) -> None:
        self._bench, self._deep = bench, deep
        self.host: dict[str, list[tuple[bool, float]]] = {}
        self.device: dict[str, list[tuple[Any, Any]]] = {}
        self.syncs: list[str] = []
        self.extra_bytes = 0

    def host_ms(self, steps: int) -> dict[str, float]:
        """Milliseconds of the host per step and hook: the median of the steps that were measured, without the first."""
        found = {}
        for what, calls in self.host.items():
            each = len(calls) // steps
            taken = [sum(s for _, s in calls[i : i + each]) for i in range(each, len(calls), each) if calls[i][0]]
            found[what] = statistics.median(taken) * 1000
        return found

    def kernels_ms(self, steps: int) -> dict[str, float]:
        """Milliseconds of the device per step and hook: those of the last step."""
        return {k: sum(a.elapsed_time(b) for a, b in v[-(len(v) // steps) :]) for k, v in self.device.items()}

    @contextlib.contextmanager
    def installed(self, switch: Switch | None = None) -> Iterator[None]:
        from recorder.sampling.observer import CallObserver

        stepped, model_ends = CallObserver.stepped, CallObserver.model_ends

        def steps(observer: Any, step: Any) -> None:
            self._watch(f"stepped {step.stream}", lambda: stepped(observer, step), switch)

        def ends(observer: Any, arguments: Any, result: Any) -> None:
            self._watch("model_ends", lambda: model_ends(observer, arguments, result), switch)

        with patched(CallObserver, "stepped", steps), patched(CallObserver, "model_ends", ends):
            yield

    def _watch(self, what: str, hook: Callable[[], None], switch: Switch | None) -> None:
        with self._deeply(what) if self._deep else contextlib.nullcontext():
            began = time.perf_counter()
            hook()
            self.host.setdefault(what, []).append((switch is None or switch.on, time.perf_counter() - began))

    @contextlib.contextmanager
    def _deeply(self, what: str) -> Iterator[None]:
        torch.cuda.reset_peak_memory_stats(self._bench.device)
        before = torch.cuda.memory_allocated(self._bench.device)
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
        self.syncs += [str(w.message) for w in caught if "called a synchronizing" in str(w.message)]
        self.device.setdefault(what, []).append((first, last))
        self.extra_bytes = max(self.extra_bytes, torch.cuda.max_memory_allocated(self._bench.device) - before)


def peak_of(bench: Bench, work: Callable[[], T]) -> tuple[T, int]:
    """What some work gives, and the most device memory that was allocated meanwhile. The recorder resets no counter."""
    if not bench.cuda:
        return work(), 0
    torch.cuda.empty_cache()
    torch.cuda.synchronize(bench.device)
    torch.cuda.reset_peak_memory_stats(bench.device)
    found = work()
    return found, torch.cuda.max_memory_allocated(bench.device)
