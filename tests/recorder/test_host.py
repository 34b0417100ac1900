"""Copies and clocks of a device: right on any device, without keeping a core busy or touching the user's counters."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode

from recorder.metrics import device_copy
from recorder.metrics.device_copy import GpuClock, to_host
from tests.cuda_fakes import Cuda, on

FIRST, SECOND = torch.device("cuda", 0), torch.device("cuda", 1)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Cuda:
    return Cuda().installed(monkeypatch)


def test_a_row_of_another_device_than_the_current_one_has_arrived_when_it_is_read(cuda: Cuda) -> None:
    row, picture, beside = torch.arange(3.0), torch.ones(2, 2).half(), torch.full((2,), 7.0)
    found, wait = to_host({"row": on(SECOND, row), "other": on(FIRST, beside), "picture": on(SECOND, picture)})
    assert list(found) == ["row", "other", "picture"]
    wait()
    assert torch.equal(found["row"], row) and torch.equal(found["picture"], picture)
    assert torch.equal(found["other"], beside)
    assert {e.device for e in cuda.events} == {FIRST, SECOND} and len(cuda.events) == 2


def test_a_thread_that_waits_for_the_device_sleeps(cuda: Cuda) -> None:
    to_host({"row": on(SECOND, torch.zeros(2))})
    GpuClock(SECOND).lap("video", 0)
    assert len(cuda.events) == 2 and all(e.blocking for e in cuda.events)


def test_the_streams_of_a_stage_share_one_mark_per_step_on_their_own_device(cuda: Cuda) -> None:
    clock = GpuClock(SECOND)
    laps: dict[str, list[Any]] = {"video": [], "audio": []}
    for step in range(3):
        for stream in laps:
            laps[stream].append(clock.lap(stream, step))
            cuda.clock += 10
        cuda.current = SECOND if step else FIRST  # the user may change it between steps
    assert len(cuda.events) == 3 and {e.device for e in cuda.events} == {SECOND}
    assert all(e.timing for e in cuda.events)
    for found in laps.values():
        assert math.isnan(found[0]()) and [f() for f in found[1:]] == [20, 20]


def test_streams_that_step_one_after_the_other_have_times_of_their_own(cuda: Cuda) -> None:
    clock = GpuClock(FIRST)
    found = []
    for stream, length in (("video", 5.0), ("audio", 2.0)):
        for step in range(3):
            found.append(clock.lap(stream, step))
            cuda.clock += length
    times = [f() for f in found]
    assert times[1:3] == [5, 5] and times[4:] == [2, 2] and math.isnan(times[0]) and math.isnan(times[3])


def test_the_peak_is_read_once_a_step_and_the_users_counter_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    peak, asked = [100], [0]

    def counters(device: torch.device) -> dict[str, Any]:
        asked[0] += 1
        assert device == SECOND
        return {"allocated_bytes": {"all": {"peak": peak[0]}}}

    def refuse(*_: Any) -> None:
        raise AssertionError("the peak that the user looks at was reset")

    monkeypatch.setattr(torch.cuda, "memory_stats_as_nested_dict", counters)
    for name in ("reset_peak_memory_stats", "reset_max_memory_allocated", "reset_accumulated_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, refuse)
    clock = GpuClock(SECOND)
    assert clock.peak(0) == clock.peak(0) == 100 and asked == [1]
    peak[0] = 300
    assert clock.peak(1) == 300 and clock.peak(1) == 300 and asked == [2]


@pytest.mark.parametrize("failing", ["pinned", "event"])
def test_without_pinned_memory_or_events_a_copy_is_made_at_once(
    cuda: Cuda, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def refuse(*_: Any, **more: Any) -> Any:
        raise RuntimeError("CUDA error: out of locked memory")

    monkeypatch.setattr(*((device_copy, "pinned") if failing == "pinned" else (torch.cuda, "Event")), refuse)
    told: list[Exception] = []
    sent = {"picture": torch.arange(5).half(), "row": torch.arange(3.0), "none": torch.zeros(0), "one": torch.tensor(4)}
    found, wait = to_host({name: on(SECOND, t) for name, t in sent.items()}, told.append)
    wait()
    assert [str(e) for e in told] == ["CUDA error: out of locked memory"] and list(found) == list(sent)
    for name, tensor in sent.items():
        assert found[name].dtype == tensor.dtype and torch.equal(found[name], tensor)


def test_a_device_without_events_gives_one_packed_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [0]
    whole = torch.cat

    def one(tensors: Any, *rest: Any) -> torch.Tensor:
        made[0] += 1
        return whole(tensors, *rest)

    monkeypatch.setattr(torch, "cat", one)
    device = torch.device("mps")
    assert not device_copy.has_events(device)
    told: list[Exception] = []
    sent = {"row": on(device, torch.arange(3.0)), "picture": on(device, torch.ones(2, 3).half())}
    found, wait = to_host(sent, told.append)
    wait()
    assert made == [1] and not told and found["row"].tolist() == [0, 1, 2] and found["picture"].shape == (2, 3)


def test_an_accelerator_with_events_is_not_waited_for(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("xpu", 0)
    made: list[Any] = []

    def event(where: torch.device, **more: Any) -> Any:
        made.append((where, more))
        return cuda.event(more["enable_timing"], more["blocking"])

    monkeypatch.setattr(torch, "Event", event)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device("xpu"))
    monkeypatch.setattr(torch.accelerator, "current_stream", torch.cuda.current_stream)
    found, wait = to_host({"row": on(device, torch.arange(3.0))})
    assert found["row"].as_subclass(torch.Tensor).tolist() == [99] * 3 and made[0][0] == device
    wait()
    assert found["row"].as_subclass(torch.Tensor).tolist() == [0, 1, 2]


class Unpinned(TorchFunctionMode):
    """Makes ordinary memory where pinned memory is asked for, after a default device has had its say."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if kwargs.pop("pin_memory", False):
            assert torch.device(kwargs["device"]).type == "cpu", "only memory of the host can be pinned"
        return func(*args, **kwargs)


def test_memory_of_the_host_is_on_the_host_whatever_the_default_device_is() -> None:
    with Unpinned(), torch.device("meta"):
        assert device_copy.pinned((2, 3), torch.float16).device.type == "cpu"
        assert device_copy.staging((2, 3), torch.float32, torch.device("cpu"))[0].device.type == "cpu"
        assert device_copy.staging((2, 3), torch.float32, FIRST)[0].device.type == "cpu"


def test_noise_is_staged_where_the_device_can_fetch_it(cuda: Cuda, monkeypatch: pytest.MonkeyPatch) -> None:
    memory, fetched = device_copy.staging((4,), torch.float32, SECOND)
    assert fetched and memory.tolist() == [99] * 4

    def refuse(*_: Any) -> Any:
        raise RuntimeError("no locked memory")

    monkeypatch.setattr(device_copy, "pinned", refuse)
    memory, fetched = device_copy.staging((4,), torch.float32, SECOND)
    assert not fetched and memory.shape == (4,)
