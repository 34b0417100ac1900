"""The GPU benchmark: every question at toy size on the CPU, and what becomes of its answers."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu_overhead
from benchmarks.gpu.bench import Answer, Bench, Goal, NotHere
from benchmarks.gpu.full import is_recorded, overhead
from benchmarks.gpu.instruments import Instruments, peak_of
from benchmarks.gpu_overhead import QUESTIONS, Question, Report, ask_all, main
from recorder.metrics.device_copy import GpuClock

NEEDS_CUDA = {"the suite's GPU tests", *(q.name for q in QUESTIONS[-5:])}


def strict(line: str) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    found: dict[str, Any] = json.loads(line, parse_constant=refuse)
    return found


@pytest.mark.slow
def test_every_question_has_an_answer_at_toy_size(pipe: Any, tmp_path: Path, capsys: Any) -> None:
    bench = Bench(torch.device("cpu"), True, tmp_path, time.monotonic() + 600, {"nano": pipe})
    with (tmp_path / "answers").open("w") as file:
        report = Report(file)
        ask_all(bench, report)
        assert report.end(0.0) == 0, (report.missed, report.failed)
    answers = {
        a["question"]: a for a in map(strict, (tmp_path / "answers").read_text().splitlines()) if "question" in a
    }
    assert list(answers) == [q.name for q in QUESTIONS]
    assert {name for name, a in answers.items() if "skipped" in a} == NEEDS_CUDA == set(report.skipped)
    assert capsys.readouterr().out.splitlines() == (tmp_path / "answers").read_text().splitlines()
    assert answers["a cold process, and the thread that waits"]["held_ms"][0] > 0
    assert answers["operations of a step"]["video"]["operations"] > 100
    assert answers["out of memory"]["rows"] == [*range(4), *range(12, 24)]
    step = answers["a step of 512×768×121"]
    assert step["nan_count"] == 0 and step["blocks"] == 1 and math.isfinite(step["overhead"])
    assert (
        set(step["host_ms"]) == {"model_ends", "stepped video", "stepped audio"} and min(step["host_ms"].values()) > 0
    )


def question(name: str, found: Callable[[], Answer], seconds: float = 0.0) -> Question:
    return Question(name, seconds, lambda bench: found())


def test_answers_are_told_as_they_come_and_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    output = tmp_path / "out.jsonl"
    seen: list[int] = []

    def looks() -> Answer:
        seen.append(len(output.read_text().splitlines()))
        return {"value": [math.nan, math.inf], "goals": [Goal.at_most("speed", 3, 2), Goal.at_most("size", 1, 2)]}

    def fails() -> Answer:
        raise RuntimeError("CUDA error: an illegal memory access")

    def not_here() -> Answer:
        raise NotHere("needs two GPUs")

    asked = (question("a", looks), question("b", fails), question("c", not_here), question("d", looks))
    monkeypatch.setattr(ask_all, "__defaults__", (asked,))
    assert main(["--small", "--output", str(output)]) == 1
    lines = [strict(line) for line in output.read_text().splitlines()]
    assert seen == [1, 4], "each answer is in the file before the next question is asked"
    assert [x.get("question") for x in lines] == [None, "a", "b", "c", "d", None]
    assert lines[1]["value"] == [None, "inf"] and lines[2]["failed"].startswith("RuntimeError: CUDA error")
    assert lines[-1]["missed"] == ["a: speed", "d: speed"]
    assert (lines[-1]["failed"], lines[-1]["skipped"]) == (["b"], ["c"])
    monkeypatch.setattr(ask_all, "__defaults__", (asked[2:3],))
    monkeypatch.setenv("OUT", str(tmp_path))
    assert main(["--small"]) == 0, "what cannot be queried here is not a miss"
    assert "needs two GPUs" in (tmp_path / "gpu_overhead.jsonl").read_text()


def test_what_finds_no_time_is_not_asked(tmp_path: Path, capsys: Any) -> None:
    bench = Bench(torch.device("cuda"), False, tmp_path, time.monotonic() + 50)
    report = Report(None)
    ask_all(bench, report, (question("long", dict, 60), question("short", lambda: {"goals": []}, 1)))
    assert report.skipped == ["long"] and not report.failed and report.end(0) == 0


def test_nan_meets_no_goal() -> None:
    assert not Goal.at_most("error", math.nan, 1).met and Goal.at_most("error", 1, 1).met
    assert not Goal.is_("same", False).met and Goal.is_("rows", 3, 3).met


def test_a_steady_drift_is_no_overhead() -> None:
    seconds = [9.0] + [(1 + 0.01 * i) * (1.1 if is_recorded(i) else 1) for i in range(1, 17)]
    assert [is_recorded(i) for i in range(9)] == [True, False, True, True, False, False, True, True, False]
    ratio, error = overhead(seconds)
    assert ratio == pytest.approx(0.1, abs=1e-9) and error == pytest.approx(0, abs=1e-9)


class Allocator:
    """As CUDA's: what is allocated now, and at the peak."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = self.peak = 0
        patch.setattr(torch.cuda, "memory_allocated", lambda device=None: self.now)
        patch.setattr(torch.cuda, "max_memory_allocated", lambda device=None: self.peak)
        patch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device=None: setattr(self, "peak", self.now))
        patch.setattr(
            torch.cuda,
            "memory_stats_as_nested_dict",
            lambda device=None: {"allocated_bytes": {"all": {"peak": self.peak}}},
        )
        for name in ("empty_cache", "synchronize", "set_sync_debug_mode"):
            patch.setattr(torch.cuda, name, lambda *_: None)

    def use(self, size: int) -> None:
        """Take some memory and give it back."""
        self.peak = max(self.peak, self.now + size)


def test_memory_figures_hold_what_a_recorded_step_adds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """38,000 MiB of weights, 9,000 of activations, and 135 that the recorder takes while the activations are free."""
    mib = 1 << 20
    allocator = Allocator(monkeypatch)
    monkeypatch.setattr(
        torch.cuda, "Event", lambda **_: type("Event", (), {"record": lambda self, stream=None: None})()
    )
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: None)
    allocator.now = 38_000 * mib
    bench = Bench(torch.device("cuda"), False, tmp_path, math.inf)
    clock, instruments = GpuClock(bench.device), Instruments(bench, deep=True)

    def run(recorded: bool) -> list[float]:
        peaks = []
        for step in range(3):
            allocator.use(9_000 * mib)
            if recorded:
                allocator.use(135 * mib)
                clock.lap("video", step)
                peaks.append(clock.peak(step))
        return peaks

    _, bare = peak_of(bench, lambda: run(False))
    column, recorded = peak_of(bench, lambda: run(True))
    assert recorded == bare == 47_000 * mib, "the recorder's memory is taken while that of the activations is free"
    assert column == [47_000 * mib] * 3
    instruments._watch("stepped video", lambda: allocator.use(135 * mib), None)
    assert instruments.extra_bytes == 135 * mib


def test_the_small_benchmark_says_what_it_is(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(ask_all, "__defaults__", ((),))
    monkeypatch.delenv("OUT", raising=False)
    assert main(["--small"]) == 0
    first, last = map(strict, capsys.readouterr().out.splitlines())
    assert "shows nothing about a GPU" in first["what"] and last["missed"] == []
    assert gpu_overhead.MINUTES < 8
