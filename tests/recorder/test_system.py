"""The system lane: a thread that samples, stops, survives its driver and leaves nothing behind."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
import xarray

from recorder import record
from recorder.format.declarations import QUANTITIES
from recorder.writing import machine_load
from recorder.writing.machine_load import Gpu, SystemLane, gpu_of
from replay.sources.open import load
from tests.waiting import PATIENCE_SECONDS, until


class FakeNvml(SimpleNamespace):
    """Enough of pynvml, with one GPU; `lost` makes every reading fail, `unsupported` makes one do so."""

    class NVMLError(Exception):
        pass

    class NVMLError_NotSupported(NVMLError):
        pass

    NVML_TEMPERATURE_GPU = 0
    NVML_CLOCK_SM = 1
    NVML_CLOCK_MEM = 2

    def __init__(self) -> None:
        super().__init__(open=0, asked=[], lost=False, unsupported=False, power_readings=0)
        self.count, self.unknown = 1, set[str]()

    def nvmlInit(self) -> None:
        self.open += 1

    def nvmlShutdown(self) -> None:
        self.open -= 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:
        self.asked.append(index)
        if index > 0:
            raise self.NVMLError("Invalid Argument")
        return "gpu"

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:
        self.asked.append(uuid)
        if uuid in self.unknown:
            raise self.NVMLError("Not Found")
        return "gpu"

    def nvmlDeviceGetCount(self) -> int:
        return self.count

    def nvmlDeviceGetUtilizationRates(self, device: str) -> Any:
        if self.lost:
            raise self.NVMLError("GPU is lost")
        return SimpleNamespace(gpu=97, memory=40)

    def nvmlDeviceGetMemoryInfo(self, device: str) -> Any:
        return SimpleNamespace(used=50 << 30, total=80 << 30, free=30 << 30)

    def nvmlDeviceGetPowerUsage(self, device: str) -> int:
        self.power_readings += 1
        if self.unsupported:
            raise self.NVMLError_NotSupported("Not Supported")
        return 650_500

    def nvmlDeviceGetTemperature(self, device: str, sensor: int) -> int:
        return 61

    def nvmlDeviceGetClockInfo(self, device: str, clock: int) -> int:
        return {1: 1980, 2: 2619}[clock]


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> FakeNvml:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    return fake


def lanes() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "ltxtui-system"]


def sampled(count: int, gpu: Gpu | None = None, during: Any = None) -> list[dict[str, Any]]:
    """Messages of a fast lane, once there are `count`; `during` is called after the first."""
    found: list[dict[str, Any]] = []
    lane = SystemLane(found.append, gpu, period=0.01)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(found) < count and time.monotonic() < deadline:
        if found and during:
            during()
            during = None
        time.sleep(0.002)
    lane.close()
    assert not lanes()
    return found


def test_this_process_is_seen_as_it_is() -> None:
    block = bytearray(200 << 20)

    def busy() -> None:
        stop = time.process_time() + 0.3
        while time.process_time() < stop:
            sum(range(1000))

    messages = sampled(10, during=busy)
    first, *rest = (m["values"] for m in messages)
    assert "process_cpu" not in first and all("process_cpu" in v for v in rest)
    spans = [after["time"] - before["time"] for before, after in itertools.pairwise(messages)]
    used = sum(span * v["process_cpu"] / 100 for span, v in zip(spans, rest, strict=True))
    assert used > 0.15, "half of what was used at least: clocks of processes tick coarsely"
    assert rest[-1]["process_memory"] > len(block)
    assert 0 < rest[-1]["host_memory_used"] <= psutil.virtual_memory().total
    assert all(m["t"] == "system" and set(m["values"]) <= set(QUANTITIES) for m in messages)
    assert all(type(v) is float for m in messages for v in m["values"].values())


def test_the_first_sample_comes_at_once_and_the_end_does_not_wait() -> None:
    arrived = threading.Event()
    lane = SystemLane(lambda m: arrived.set(), period=3600)
    assert arrived.wait(PATIENCE_SECONDS), "it waits for its period of an hour"
    lane.close()
    assert not lanes()


def test_a_gpu_is_read_in_the_declared_units(nvml: FakeNvml) -> None:
    values = sampled(2, Gpu(0))[-1]["values"]
    assert {k: v for k, v in values.items() if k.startswith("gpu_")} == {
        "gpu_utilisation": 97.0,
        "gpu_memory_used": float(50 << 30),
        "gpu_memory_total": float(80 << 30),
        "gpu_power": 650.5,
        "gpu_temperature": 61.0,
        "gpu_sm_clock": 1980.0,
        "gpu_memory_clock": 2619.0,
    }
    assert set(values) == set(QUANTITIES) and nvml.open == 0


def test_the_uuid_decides_which_gpu_it_is(nvml: FakeNvml) -> None:
    sampled(1, Gpu(3, "GPU-abc"))
    assert nvml.asked == ["GPU-abc"]


@pytest.mark.parametrize(
    ("unknown", "visible", "count", "asked"),
    [
        ({"GPU-abc"}, "MIG-abc", 1, ["GPU-abc", "MIG-abc"]),
        ({"GPU-abc", "MIG-abc"}, None, 4, ["GPU-abc", "MIG-abc", 0]),
        ({"GPU-abc", "MIG-abc"}, "0", 1, ["GPU-abc", "MIG-abc", 0]),
        ({"GPU-abc", "MIG-abc"}, "3", 4, ["GPU-abc", "MIG-abc"]),
    ],
)
def test_a_uuid_that_nvml_does_not_know_is_that_of_a_part_or_else_the_index_decides_unless_it_misleads(
    nvml: FakeNvml,
    monkeypatch: pytest.MonkeyPatch,
    unknown: set[str],
    visible: str | None,
    count: int,
    asked: list[object],
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    nvml.unknown, nvml.count = unknown, count
    messages = sampled(2, Gpu(0, "GPU-abc"))
    assert nvml.asked == asked
    warned = [m["text"] for m in messages if m["t"] == "event"]
    assert warned == (["the load of the GPU is not recorded: Not Found"] if visible == "3" else [])


def test_without_nvml_the_memory_of_a_gpu_is_told_by_torch(nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library() -> None:
        raise nvml.NVMLError("NVML Shared Library Not Found")

    monkeypatch.setattr(nvml, "nvmlInit", no_library)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (30 << 30, (80 + index) << 30))
    messages = sampled(4, Gpu(1))
    assert [m["text"] for m in messages if m["t"] == "event"] == [
        "only the memory of the GPU is recorded: NVML Shared Library Not Found"
    ]
    gpu = {k: v for k, v in messages[-1]["values"].items() if k.startswith("gpu_")}
    assert gpu == {"gpu_memory_used": float(51 << 30), "gpu_memory_total": float(81 << 30)}


def test_what_a_gpu_does_not_support_is_left_out_and_not_asked_again(nvml: FakeNvml) -> None:
    nvml.unsupported = True
    messages = sampled(5, Gpu(0))
    assert all(m["t"] == "system" for m in messages) and nvml.power_readings == 1
    assert "gpu_power" not in messages[-1]["values"] and messages[-1]["values"]["gpu_temperature"] == 61


@pytest.mark.parametrize("failure", ["lost", "unknown index", "no driver", "not installed"])
def test_a_failing_driver_is_one_warning_and_then_there_is_only_the_host(
    failure: str, nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_driver() -> None:
        raise nvml.NVMLError("Driver Not Loaded")

    def lose() -> None:
        nvml.lost = True

    if failure == "no driver":
        monkeypatch.setattr(nvml, "nvmlInit", no_driver)
    elif failure == "not installed":
        monkeypatch.setitem(sys.modules, "pynvml", None)
    messages = sampled(12, Gpu(1 if failure == "unknown index" else 0), lose if failure == "lost" else None)
    warnings = [m for m in messages if m["t"] == "event"]
    assert len(warnings) == 1 and warnings[0]["kind"] == "warning" and "GPU is not recorded" in warnings[0]["text"]
    after = messages[messages.index(warnings[0]) + 1 :]
    assert after and all(not any(k.startswith("gpu_") for k in m["values"]) for m in after)
    assert all("process_memory" in m["values"] for m in after) and nvml.open == 0


def test_a_slow_driver_holds_up_neither_the_end_nor_anything_after_it(
    nvml: FakeNvml, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = threading.Event()
    reading = threading.Event()
    monkeypatch.setattr(nvml, "nvmlDeviceGetUtilizationRates", lambda device: reading.set() or answer.wait())
    monkeypatch.setattr(machine_load, "CLOSING_SECONDS", 0.01)
    found: list[dict[str, Any]] = []
    lane = SystemLane(found.append, Gpu(0), period=0.01)
    assert reading.wait(PATIENCE_SECONDS)
    lane.close()
    assert found == [] and lanes(), "the end has not waited for an answer"
    answer.set()
    until(lambda: not lanes())
    assert found == []


def test_a_pipeline_on_the_cpu_has_no_gpu_and_cuda_is_left_alone() -> None:
    assert gpu_of(SimpleNamespace(device=torch.device("cpu"))) is None
    if not torch.cuda.is_initialized():
        assert gpu_of() is None and not torch.cuda.is_initialized()


def test_a_pipeline_is_asked_where_it_computes_not_where_it_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    properties = SimpleNamespace(uuid="1234")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda i: properties if i == 2 else None)
    pipe = SimpleNamespace(device=torch.device("cpu"), _execution_device=torch.device("cuda", 2))
    assert gpu_of(pipe) == Gpu(2, "GPU-1234")
    del properties.uuid
    assert gpu_of(pipe) == Gpu(2, None)


def test_a_run_keeps_its_loads_with_units_and_leaves_no_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_load.SystemLane.__init__, "__defaults__", (None, 0.02))
    before = psutil.Process().num_fds()
    with record(runs_dir=tmp_path) as run:
        assert len(lanes()) == 1
        for i in range(6):
            run.step(
                sigma=1 - i / 6,
                sigma_next=1 - (i + 1) / 6,
                sample=torch.randn(1, 4, 2, 4, 4),
                velocity=torch.randn(1, 4, 2, 4, 4),
            )
        until(lambda: len(load(run.path).system) >= 3)
    assert not lanes()
    # Before the archive is opened: zarr-python keeps files of its event loop.
    until(lambda: psutil.Process().num_fds() <= before)
    table = xarray.open_zarr(run.path, group="system")
    assert table.sizes["sample"] >= 3 and (table["process_memory"] > 1e6).all()
    for name in table.data_vars:
        if name != "time":
            assert table[name].attrs == {"units": QUANTITIES[name].unit, "long_name": QUANTITIES[name].label}
    assert len(load(run.path).system) == table.sizes["sample"]


def test_the_declarations_are_light() -> None:
    heavy = ("torch", "zarr", "psutil", "pynvml")
    code = f"import sys; import recorder.writing.machine_load; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
