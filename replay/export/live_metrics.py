"""The live runs of this user as metric families of OpenMetrics, for prometheus_client."""

from __future__ import annotations

import contextlib
import math
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from recorder.format import protocol
from recorder.format.declarations import QUANTITIES
from recorder.format.framing import CorruptMessage
from replay.export.metadata import valid
from replay.export.problems import library
from replay.export.steps import is_scalar, items
from replay.library.live_runs import LiveRun, LiveSockets
from replay.model.declarations import MetricInfo
from replay.model.run import Run
from replay.model.validation import NotARun
from replay.sources.open import Liveness, Source
from replay.sources.reconnect import open_live

EXTRA: Final = "metrics"
PREFIX: Final = "ltxtui"
_BASE_UNITS: Final = {
    "ms": ("seconds", 1e-3),
    "s": ("seconds", 1.0),
    "bytes": ("bytes", 1.0),
    "%": ("ratio", 1e-2),
    "W": ("watts", 1.0),
    "°C": ("celsius", 1.0),
    "MHz": ("hertz", 1e6),
    "dB": ("decibels", 1.0),
}
"""Units as Prometheus has them: names end in them, and values are in base units."""
_SHORT: Final = {"seconds": ("_ms", "_seconds"), "decibels": ("_db",)}


def exposed_name(name: str, unit: str) -> tuple[str, float]:
    """The name of a metric with its base unit, and the factor of its values: `ltxtui_gpu_seconds` and 0.001."""
    base, factor = _BASE_UNITS.get(unit, ("", 1.0))
    for ending in (*_SHORT.get(base, ()), f"_{base}"):
        name = name.removesuffix(ending)
    return "_".join(filter(None, (PREFIX, name, base))), factor


@dataclass
class _Followed:
    """A live run with what is counted of it."""

    live: LiveRun
    source: Source
    run: Run = field(default_factory=Run)
    events: Counter[str] = field(default_factory=Counter)
    over: bool = False

    def read(self) -> None:
        """Take in what has come; a run that ended, or cannot be read any more, is over."""
        try:
            while messages := self.source.poll():
                for message in messages:
                    self.run.feed(message)
                    if message["t"] == protocol.EVENT and isinstance(message.get("kind"), str):
                        self.events[message["kind"]] += 1
        except (NotARun, CorruptMessage, OSError):
            self.over = True
        self.over = self.over or self.run.end is not None or self.source.liveness is not Liveness.LIVE


class LiveMetrics:
    """A collector of prometheus_client. Each run is read by a viewer's connection, so that a scrape delays no run."""

    def __init__(self) -> None:
        """Raises MissingLibrary."""
        self._core: Any = library("prometheus_client.core", EXTRA)
        self._sockets = LiveSockets()
        self._followed: dict[str, _Followed] = {}
        self._over: set[tuple[str, float]] = set()
        self._lock = threading.Lock()

    def look(self) -> None:
        """Find runs that began and those that ended, and read what they sent.

        Raises:
            recorder.format.locations.UnsafeLocation: if the folder of sockets could be another user's.
        """
        with self._lock:
            live = {str(run.socket): run for run in self._sockets.look()}
            for socket, run in live.items():
                known = self._followed.get(socket)
                if known is not None and known.live.started != run.started:  # another run took the socket's name
                    self._drop(socket)
                if socket not in self._followed and run.answers and (run.name, run.started) not in self._over:
                    with contextlib.suppress(OSError):  # it ends just now
                        self._followed[socket] = _Followed(run, open_live(run.socket, run.archive))
            for socket, followed in list(self._followed.items()):
                followed.read()
                if followed.over or socket not in live:
                    self._drop(socket)

    def _drop(self, socket: str) -> None:
        followed = self._followed.pop(socket)
        followed.source.close()
        if followed.over:
            self._over.add((followed.live.name, followed.live.started))

    def close(self) -> None:
        with self._lock:
            for socket in list(self._followed):
                self._drop(socket)

    def describe(self) -> list[Any]:
        """Nothing: names depend on the runs."""
        return []

    def collect(self) -> list[Any]:
        """The families, of the runs that are live now."""
        self.look()
        with self._lock:
            families = _Families(self._core)
            for followed in self._followed.values():
                for name, label, unit, kind, labels, value in _samples(followed):
                    families.add(name, label, unit, kind, {"run": valid(followed.run.name), **labels}, value)
            return list(families.made.values())


class _Families:
    """Families by name. Values are kept by their labels, so that no series is given twice."""

    def __init__(self, core: Any) -> None:
        self._core = core
        self.made: dict[str, Any] = {}
        self._labels: dict[str, tuple[str, ...]] = {}
        self._seen: set[tuple[str, tuple[str, ...]]] = set()

    def add(self, name: str, text: str, unit: str, kind: str, labels: dict[str, str], value: float) -> None:
        exposed, factor = exposed_name(name, unit)
        if exposed not in self.made:
            made = self._core.CounterMetricFamily if kind == "counter" else self._core.GaugeMetricFamily
            self.made[exposed] = made(exposed, valid(text), labels=list(labels))
            self._labels[exposed] = tuple(labels)
        key = exposed, tuple(labels.values())
        if self._labels[exposed] == tuple(labels) and key not in self._seen:
            self._seen.add(key)
            self.made[exposed].add_metric(list(labels.values()), value * factor)


_Sample = tuple[str, str, str, str, dict[str, str], float]


def _samples(followed: _Followed) -> Iterator[_Sample]:
    """Name, help, unit, kind, labels and value of all series of a run."""
    run = followed.run
    if not run.header:
        return
    known = {"model": str(run.metadata.get("model", "")), "host": str(run.metadata.get("host", ""))}
    yield "run_info", "settings of the run", "", "gauge", {k: valid(v) for k, v in known.items()}, 1.0
    yield "run_start_time", "Unix time of the run's begin", "s", "gauge", {}, float(run.header["time"])
    yield "stage", "denoising loop that is running, counted from 0", "", "gauge", {}, max(0, len(run.stages) - 1)
    planned = float(len(run.stages[-1].sigmas)) if run.stages else 0.0
    yield "stage_planned_steps", "steps that the running stage has in all", "", "gauge", {}, planned
    for kind, count in sorted(followed.events.items()):
        yield "events", "events of the run", "", "counter", {"kind": valid(kind)}, float(count)
    steps: Counter[str] = Counter()
    for stage in run.stages:
        for name, stream in stage.streams.items():
            steps[name] += stream.rows
    for name, count in steps.items():
        yield "steps", "steps that are recorded, of all stages", "", "counter", {"stream": name}, float(count)
    for stage in run.stages[-1:]:
        for name, stream in stage.streams.items():
            if stream.rows:
                time = float(stream.recent_times(1, stream.rows)[0])
                yield "last_step_time", "Unix time of the last step", "s", "gauge", {"stream": name}, time
                for info in stream.metrics.values():
                    if is_scalar(info):
                        values = stream.at(info.name, stream.rows - 1)
                        yield from _of_metric(name, info, items(info, values))
    for quantity, value in run.system[-1]["values"].items() if run.system else ():
        if quantity in QUANTITIES:
            declared = QUANTITIES[quantity]
            yield quantity, declared.label, declared.unit, "gauge", {}, float(value)


def _of_metric(stream: str, info: MetricInfo, found: list[tuple[int | None, Any]]) -> Iterator[_Sample]:
    """The series of a metric; a value that is NaN, which is unknown or does not exist, has none."""
    for item, part in found:
        if len(part) and not math.isnan(part[0]):
            labels = {"stream": stream} if item is None else {"stream": stream, "item": str(item)}
            yield info.name, info.description or info.label, info.unit, "gauge", labels, float(part[0])
