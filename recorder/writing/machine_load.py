"""Load of process, host and GPU, sampled in a thread of its own, by default twice a second. No torch at import."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from recorder.format import protocol
from recorder.format.protocol import Message

logger = logging.getLogger(__name__)

PERIOD = 0.5
"""Seconds between samples."""
CLOSING_SECONDS = 2.0
"""How long `SystemLane.close` waits for a driver that does not answer."""


@dataclass(frozen=True)
class Gpu:
    """Which GPU to ask about. NVML numbers all of a machine's GPUs, CUDA only the visible ones, in its own order, so
    the UUID decides; the index is for versions of torch that do not expose it."""

    index: int
    uuid: str | None = None


def gpu_of(pipe: Any = None) -> Gpu | None:
    """The NVIDIA GPU that a pipeline computes on, or that torch uses already; None if there is none.

    A pipeline that offloads is on the CPU and computes elsewhere; `_execution_device` names that device. CUDA is not
    queried if the run does not use it, since the first query takes hundreds of MB of device memory.
    """
    import torch

    if pipe is not None:
        device = getattr(pipe, "_execution_device", None) or pipe.device
        if device.type != "cuda":
            return None
        index = device.index if device.index is not None else torch.cuda.current_device()
    elif torch.cuda.is_initialized():
        index = torch.cuda.current_device()
    else:
        return None
    uuid = getattr(torch.cuda.get_device_properties(index), "uuid", None)
    return Gpu(index, f"GPU-{uuid}" if uuid else None)


class GpuReader:
    """Reads one GPU through NVML. Values that the GPU does not support are queried once and then left out."""

    def __init__(self, gpu: Gpu) -> None:
        """Load NVML.

        Raises:
            ImportError: without nvidia-ml-py.
            NVMLError: without a driver.
        """
        import pynvml

        self._nvml = pynvml
        pynvml.nvmlInit()
        try:
            self._device = self._find(gpu)
        except Exception:
            pynvml.nvmlShutdown()
            raise
        self._readers: list[Callable[[], dict[str, float]]] = [
            self._utilisation,
            self._memory,
            self._power,
            self._temperature,
            self._sm_clock,
            self._memory_clock,
        ]

    def _find(self, gpu: Gpu) -> Any:
        nvml, uuid = self._nvml, gpu.uuid
        if uuid is None:
            return nvml.nvmlDeviceGetHandleByIndex(gpu.index)
        try:
            return nvml.nvmlDeviceGetHandleByUUID(uuid)
        except nvml.NVMLError:
            with contextlib.suppress(nvml.NVMLError):  # a part of a GPU (MIG), whose UUID CUDA gives without its prefix
                return nvml.nvmlDeviceGetHandleByUUID(uuid.replace("GPU-", "MIG-", 1))
            if "CUDA_VISIBLE_DEVICES" in os.environ and nvml.nvmlDeviceGetCount() != 1:
                raise  # CUDA's index counts visible GPUs only, and may name another GPU here
            return nvml.nvmlDeviceGetHandleByIndex(gpu.index)

    def read(self) -> dict[str, float]:
        """One sample.

        Raises:
            NVMLError: if the GPU is lost.
        """
        values: dict[str, float] = {}
        for reader in list(self._readers):
            try:
                values |= reader()
            except self._nvml.NVMLError_NotSupported:
                self._readers.remove(reader)
        return values

    def close(self) -> None:
        """Shut NVML down."""
        self._nvml.nvmlShutdown()

    def _utilisation(self) -> dict[str, float]:
        return {"gpu_utilisation": float(self._nvml.nvmlDeviceGetUtilizationRates(self._device).gpu)}

    def _memory(self) -> dict[str, float]:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(self._device)
        return {"gpu_memory_used": float(memory.used), "gpu_memory_total": float(memory.total)}

    def _power(self) -> dict[str, float]:
        return {"gpu_power": self._nvml.nvmlDeviceGetPowerUsage(self._device) / 1000}

    def _temperature(self) -> dict[str, float]:
        sensor = self._nvml.NVML_TEMPERATURE_GPU
        return {"gpu_temperature": float(self._nvml.nvmlDeviceGetTemperature(self._device, sensor))}

    def _sm_clock(self) -> dict[str, float]:
        return {"gpu_sm_clock": float(self._nvml.nvmlDeviceGetClockInfo(self._device, self._nvml.NVML_CLOCK_SM))}

    def _memory_clock(self) -> dict[str, float]:
        return {"gpu_memory_clock": float(self._nvml.nvmlDeviceGetClockInfo(self._device, self._nvml.NVML_CLOCK_MEM))}


class MemoryReader:
    """Reads the memory of a GPU through torch, where there is no NVML, as on AMD's GPUs."""

    def __init__(self, gpu: Gpu) -> None:
        """Read the memory once.

        Raises:
            RuntimeError, AssertionError: if torch has no such GPU.
        """
        import torch

        self._ask, self._index = torch.cuda.mem_get_info, gpu.index
        self.read()

    def read(self) -> dict[str, float]:
        """One sample."""
        free, total = self._ask(self._index)
        return {"gpu_memory_used": float(total - free), "gpu_memory_total": float(total)}


class HostReader:
    """Reads this process and its host."""

    def __init__(self) -> None:
        import psutil

        self._psutil = psutil
        self._process = psutil.Process()
        self._process.cpu_percent()  # later calls measure from here on
        self._first = True

    def read(self) -> dict[str, float]:
        """One sample; the first has no CPU load, which is measured between two samples."""
        memory = self._psutil.virtual_memory()
        values = {
            "process_memory": float(self._process.memory_info().rss),
            "host_memory_used": float(memory.total - memory.available),
        }
        if not self._first:
            values["process_cpu"] = float(self._process.cpu_percent())
        self._first = False
        return values


Reader = HostReader | GpuReader | MemoryReader


class SystemLane:
    """Sends a `system` message now and every `period` seconds until it is closed; never raises into the run."""

    def __init__(self, put: Callable[[Message], None], gpu: Gpu | None = None, period: float = PERIOD) -> None:
        self._put = put
        self._gpu = gpu
        self._period = period
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="ltxtui-system", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop sampling without waiting; a sample that is being read is not sent."""
        self._stop.set()

    def close(self) -> None:
        """Stop sampling. Waits for the thread, for `CLOSING_SECONDS` at most."""
        self._stop.set()
        self._thread.join(CLOSING_SECONDS)

    def _sample(self) -> None:
        readers: dict[str, Reader] = {}
        makers: list[tuple[str, Callable[[], Reader]]] = [("process", HostReader)]
        if (gpu := self._gpu) is not None:
            makers.append(("GPU", lambda: self._gpu_reader(gpu)))
        for what, make in makers:
            try:
                readers[what] = make()
            except Exception as error:  # noqa: BLE001 - a driver may fail in any way; the run continues without it
                self._warn(f"the load of the {what} is not recorded", error)
        due = time.monotonic()
        while readers and not self._stop.is_set():
            self._send(readers)
            due = max(due + self._period, time.monotonic())  # no burst to catch up after the machine was suspended
            self._stop.wait(due - time.monotonic())
        for what in list(readers):
            self._let_go(readers, what)

    def _gpu_reader(self, gpu: Gpu) -> Reader:
        try:
            return GpuReader(gpu)
        except Exception as error:  # noqa: BLE001 - as above
            try:
                reader = MemoryReader(gpu)
            except Exception as again:
                logger.debug("torch does not report the memory of the GPU either: %s", again)
                raise error from again
            self._warn("only the memory of the GPU is recorded", error)
            return reader

    def _send(self, readers: dict[str, Reader]) -> None:
        now = time.time()
        values: dict[str, float] = {}
        for what, reader in list(readers.items()):
            try:
                values |= reader.read()
            except Exception as error:  # noqa: BLE001 - as above; once, since the reader is not used again
                self._warn(f"the load of the {what} is not recorded", error)
                self._let_go(readers, what)
        # The driver may have been slow, and the run may have ended since.
        if values and not self._stop.is_set():
            self._put({"t": protocol.SYSTEM, "time": now, "values": values})

    def _let_go(self, readers: dict[str, Reader], what: str) -> None:
        reader = readers.pop(what)
        if isinstance(reader, GpuReader):
            try:
                reader.close()
            except Exception as error:  # noqa: BLE001 - NVML refuses to shut down after it has lost the GPU
                logger.debug("NVML did not shut down: %s", error)

    def _warn(self, what: str, error: Exception) -> None:
        from recorder.format.events import event, reason_of  # deferred, since viewers need only the quantities above

        reason = reason_of(error)
        logger.warning("%s: %s", what, reason)
        if not self._stop.is_set():
            self._put(event("warning", f"{what}: {reason}"))
