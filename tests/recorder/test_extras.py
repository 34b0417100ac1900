"""What goes along with a row never costs it, and after the device's memory ran out the recorder lets go of its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from recorder.metrics import device_copy
from recorder.metrics.latent_layout import LatentLayout
from recorder.metrics.stage_summary import PathTracker
from recorder.metrics.step import Step
from recorder.sampling import measure_step, row_attachments
from recorder.sampling.row_attachments import Rest, out_of_memory
from recorder.sampling.sampler_step import SamplerStep
from recorder.sampling.stages import Stages
from recorder.writing.items import RowItem
from recorder.writing.joined_rows import values_of

LAYOUT = LatentLayout("video", 1, (3, 22, 40))
"""Larger than a picture, so that it is averaged."""


def take(loop: Stages, count: int, layout: LatentLayout = LAYOUT) -> None:
    made = torch.Generator().manual_seed(0)
    tokens = (1, math.prod(layout.shape), 2)
    for step in range(count):
        x, v, after = (torch.randn(tokens, generator=made) for _ in range(3))
        loop.step(SamplerStep(layout, 1 - step / 50, 1 - (step + 1) / 50, 0.0, x, v, after))


def rows_of(sent: list[Any]) -> list[RowItem]:
    return [item for item in sent if isinstance(item, RowItem)]


def errors_of(sent: list[Any]) -> list[str]:
    return [m["text"] for m in sent if isinstance(m, dict) and m.get("kind") == "error"]


def fails(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **more: Any) -> Any:
        raise error

    return fail


def values(rows: list[RowItem]) -> list[Any]:
    return [values_of([row], lambda error: None)[0, 8:] for row in rows]


@pytest.mark.parametrize("what", ["picture", "latents", "path", "memory", "copy"])
def test_what_fails_beside_a_row_costs_no_row(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain: list[Any] = []
    loop = Stages(plain.append, save_latents=True)
    loop.begin(0, [], {})
    take(loop, 3)
    error = RuntimeError("Adaptive pool MPS: input sizes must be divisible by output sizes.")
    if what == "picture":
        monkeypatch.setattr(row_attachments, "shrunk", fails(error))
    elif what == "latents":
        monkeypatch.setattr(torch.Tensor, "half", fails(error))
    elif what == "path":
        monkeypatch.setattr(PathTracker, "add", fails(error))
    elif what == "memory":
        monkeypatch.setattr(Step, "forget", fails(error))
    else:
        whole = row_attachments.to_host
        monkeypatch.setattr(
            row_attachments, "to_host", lambda sent, told: fails(error)() if len(sent) > 1 else whole(sent, told)
        )
    sent: list[Any] = []
    loop = Stages(sent.append, save_latents=True)
    loop.begin(0, [], {})
    take(loop, 3)
    loop.end()
    monkeypatch.undo()
    found, expected = rows_of(sent), rows_of(plain)
    assert [r.step for r in found] == [0, 1, 2]
    for i, (got, wanted) in enumerate(zip(values(found), values(expected), strict=True)):
        if what != "memory" or i == 0:  # without it there is nothing to compare the next step with
            torch.testing.assert_close(got[1:], wanted[1:], rtol=0, atol=0, equal_nan=True)
        else:
            assert 0 < (got != got).sum() - (wanted != wanted).sum() < len(got)
    assert all((r.picture is None) == (what in ("picture", "latents", "copy")) for r in found)
    assert all((r.snapshot is None) == (what in ("latents", "copy")) for r in found)
    told = errors_of(sent)
    assert len(told) == (2 if what == "latents" else 1), "each is reported once"
    assert all(t.endswith(": " + str(error)) and "video" in t for t in told)


def test_a_clock_that_fails_costs_its_own_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(device_copy.GpuClock):
        def lap(self, stream: str, row: int) -> Callable[[], float]:
            if row == 0:
                return fails(RuntimeError("events of two devices"))
            raise RuntimeError("no more events")

        def peak(self, row: int) -> float:
            raise RuntimeError("does not yet support getDeviceStats")

    sent: list[Any] = []
    loop = Stages(sent.append)
    loop.begin(0, [], {})
    declare = loop._declare

    def with_a_clock(*arguments: Any) -> Any:
        stream = declare(*arguments)
        stream.gpu = Failing(torch.device("cuda"))
        return stream

    monkeypatch.setattr(loop, "_declare", with_a_clock)
    take(loop, 2)
    told: list[Exception] = []
    found = [values_of([row], told.append)[0] for row in rows_of(sent)]
    assert len(found) == 2 and [str(e) for e in told] == ["events of two devices"]
    for row in found:
        assert math.isnan(row[7]) and math.isnan(row[8]) and math.isfinite(row[0]) and math.isfinite(row[10])
    assert errors_of(sent) == [
        "the peak of the GPU's memory could not be recorded: does not yet support getDeviceStats",
        "the time of a step on the GPU could not be recorded: no more events",
    ]


def test_pinned_memory_that_is_refused_is_told_once_and_the_row_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    real = device_copy.to_host

    def refused(sent: Any, told: Any) -> Any:
        told(RuntimeError("CUDA error: OS call failed"))
        return real(sent)

    monkeypatch.setattr(row_attachments, "to_host", refused)
    sent: list[Any] = []
    loop = Stages(sent.append)
    loop.begin(0, [], {})
    take(loop, 3)
    assert len(rows_of(sent)) == 3
    assert errors_of(sent) == ["rows could not be copied without waiting: CUDA error: OS call failed"]


def test_rests_grow_and_are_over_once_a_step_was_measured() -> None:
    rest, pattern = Rest(), ""
    for step in range(40):
        if rest.skips():
            pattern += "."
        elif step < 30:
            rest.begin()
            pattern += "x"
        else:
            rest.over()
            pattern += "o"
    assert pattern == "x..x....x........x........x........ooooo" and rest.length == 0
    rest.begin()
    assert [rest.skips() for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 MiB"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 5 GB)"), True),
        (RuntimeError("shape mismatch"), False),
        (MemoryError(), False),
    ],
)
def test_which_errors_say_that_the_device_is_full(error: Exception, expected: bool) -> None:
    assert out_of_memory(error) == expected


def test_after_out_of_memory_nothing_is_kept_and_steps_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    loop = Stages(sent.append)
    loop.begin(0, [], {})
    tried: list[int] = []
    measured = measure_step.measured_row

    def short(step: Any) -> torch.Tensor:
        tried.append(1)
        if 3 <= len(tried) <= 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return measured(step)

    monkeypatch.setattr(measure_step, "measured_row", short)
    held: list[tuple[bool, bool, set[str]]] = []
    step = loop.step

    def watched(*arguments: Any) -> None:
        step(*arguments)
        assert loop.current is not None
        stream = loop.current.streams["video"]
        tensors = [v for v in vars(stream.tracker).values() if isinstance(v, torch.Tensor)]
        held.append((stream.previous is not None, bool(tensors), loop.resting()))

    monkeypatch.setattr(loop, "step", watched)
    take(loop, 22)
    loop.end()
    # Steps 0 and 1 are measured; 2, 5 and 10 fail, with rests of 2, 4 and 8 after them; 19 to 21 are measured.
    assert [r.step for r in rows_of(sent)] == [0, 1, 19, 20, 21]
    assert [i for i, (kept, path, _) in enumerate(held) if kept or path] == [0, 1, 19, 20, 21]
    assert [i for i, (_, _, resting) in enumerate(held) if resting] == [i for i in range(2, 18) if i not in (4, 9)]
    assert errors_of(sent) == ["a step of video could not be recorded: CUDA out of memory"]
    assert "17 of them not recorded" in next(i.event["text"] for i in sent if not isinstance(i, (dict, RowItem)))


def test_memory_that_runs_out_beside_the_row_lets_go_too(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []
    loop = Stages(sent.append)
    loop.begin(0, [], {})
    monkeypatch.setattr(Step, "forget", fails(torch.OutOfMemoryError("CUDA out of memory")))
    take(loop, 2)
    monkeypatch.undo()
    assert loop.current is not None
    stream = loop.current.streams["video"]
    assert [r.step for r in rows_of(sent)] == [0] and stream.previous is None and loop.resting() == {"video"}
    take(loop, 3)
    assert [r.step for r in rows_of(sent)] == [0, 3, 4]
