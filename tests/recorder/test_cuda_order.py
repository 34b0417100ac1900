"""Steps on several CUDA streams, and CUDA graphs that are captured; CUDA's own part is played by stand-ins."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from recorder import record
from recorder.metrics.latent_layout import LatentLayout
from recorder.metrics.stage_summary import PathTracker
from recorder.metrics.step import Step
from recorder.sampling import cuda_streams
from recorder.sampling.cuda_streams import CudaOrder, _tensors, capturing
from replay.sources.open import load
from tests.conftest import UNGUIDED
from tests.pipelines import GUIDED, build, generate

DEVICE = torch.device("cuda", 0)


class Stream:
    def __init__(self, name: str, log: list[Any]) -> None:
        self.name, self._log = name, log

    def wait_event(self, event: Any) -> None:
        self._log.append((self.name, "waits for", event.recorded))


class Event:
    recorded = ""

    def record(self, stream: Stream) -> None:
        self.recorded = stream.name


class OnDevice:
    """A tensor as far as order is concerned."""

    def __init__(self, name: str, log: list[Any]) -> None:
        self._name, self._log = name, log

    def record_stream(self, stream: Stream) -> None:
        self._log.append((self._name, "is read on", stream.name))


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """`now` is the current stream; `log` what was asked of CUDA."""

    log: list[Any] = []
    found = SimpleNamespace(log=log, now=Stream("first", log))
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: found.now)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: ("in", stream.name))
    monkeypatch.setattr(cuda_streams, "_tensors", lambda thing: [thing] if thing is not None else [])
    yield found


def test_steps_of_one_stream_ask_nothing_of_cuda(cuda: Any) -> None:
    order, held = CudaOrder(DEVICE), OnDevice("memory", cuda.log)
    for _ in range(3):
        order.begin(held)
        order.end()
    assert cuda.log == []


def test_a_step_on_another_stream_waits_for_the_last_one_and_keeps_its_memory(cuda: Any) -> None:
    order, held = CudaOrder(DEVICE), OnDevice("memory", cuda.log)
    order.begin(None)
    order.end()
    cuda.now = Stream("second", cuda.log)
    order.begin(held)
    assert cuda.log == [("second", "waits for", "first"), ("memory", "is read on", "second")]
    order.end()
    order.begin(held)
    order.end()
    assert len(cuda.log) == 2
    cuda.now = Stream("third", cuda.log)
    order.begin(held)
    assert cuda.log[2] == ("third", "waits for", "second")


def test_the_end_of_a_stage_is_worked_out_where_its_last_step_was(cuda: Any) -> None:
    order = CudaOrder(DEVICE)
    with order.last():
        pass  # nothing was taken yet
    order.begin()
    order.end()
    cuda.now = Stream("second", cuda.log)
    assert order.last() == ("in", "first")


def test_all_tensors_that_a_step_leaves_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    layout = LatentLayout("video", 1, (3, 4, 5))
    x, v = torch.randn(1, 3, 4, 5, 2), torch.randn(1, 3, 4, 5, 2)
    step, tracker = Step(layout, 0.5, x, v, x + v), PathTracker()
    tracker.add(step, 0.4)
    step.forget()
    found = {id(t) for t in _tensors(step)} | {id(t) for t in _tensors(tracker)}
    assert {id(step._memory), *(id(t) for t in step.mean_square.values())} <= found
    assert {id(t) for t in vars(tracker).values() if isinstance(t, torch.Tensor)} <= found
    assert [t for t in _tensors(None)] == []


def test_without_cuda_nothing_is_captured(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_driver() -> bool:
        raise RuntimeError("Found no NVIDIA driver on your system")

    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", no_driver)
    assert not capturing()
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert capturing()


@pytest.mark.parametrize("guidance", [UNGUIDED, GUIDED], ids=["unguided", "guided"])
def test_steps_of_a_pipeline_that_are_captured_are_left_alone(
    nano_pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guidance: dict[str, Any]
) -> None:
    captured: list[bool] = []
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: bool(captured))

    def after(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        captured[:] = [True] if step == 0 else []  # while the second step is taken
        return kwargs

    call = {"num_inference_steps": 3, "callback_on_step_end": after, **guidance}
    plain = generate(build(nano_pipe, "LTX2Pipeline"), **call)
    pipe = build(nano_pipe, "LTX2Pipeline")
    with record(pipe, runs_dir=tmp_path) as run:
        found = generate(pipe, **call)
    assert torch.equal(plain[0], found[0])
    read = load(run.path)
    (told,) = [e["text"] for e in read.events if e["kind"] in ("error", "warning")]
    assert "a CUDA graph is being captured" in told
    assert [s.rows for s in read.stages[0].streams.values()] == [3, 3]
    sigmas = pipe.scheduler.sigmas.tolist()
    np.testing.assert_allclose(
        read.stages[0].streams["video"].series("sigma"), [sigmas[0], np.nan, sigmas[2]], rtol=1e-6
    )
