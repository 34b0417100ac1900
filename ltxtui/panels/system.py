"""The system lanes: load of the machine and time per step, one lane each under the common step axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeGuard

import numpy as np

from ltxtui.panels.panel import Panel
from ltxtui.panels.steps import Floats, StepView
from ltxtui.plot import heatmap, scales
from ltxtui.plot.line_plot import GUTTER, Style
from ltxtui.plot.rows import TextRow
from ltxtui.plot.text import significant
from ltxtui.reports.export import Table
from ltxtui.viewmodel.deck import Deck
from ltxtui.viewmodel.declared import declaration
from recorder.format.declarations import QUANTITIES
from recorder.format.protocol import Message

_ID: Final = "system"
_BARS: Final = " ▁▂▃▄▅▆▇█"
_ASCII_BARS: Final = " .:-=+*#@"
_WITH_VALUES: Final = 36
"""Columns from which a value fits next to its lane; a narrower panel is a list of values."""
_HIGHEST: Final = 3


class LoadLane(NamedTuple):
    """One quantity: of the machine's samples, or a metric of the rows."""

    key: str
    label: str
    unit: str
    metric: bool = False
    whole: str = ""
    """The quantity that holds its total."""
    top: float = 0.0
    """The least upper end of the lane, where one is known."""

    def about(self, deck: Deck) -> str:
        """What is measured, with its unit; of a metric as the run declares it."""
        if not self.metric:
            return f"{self.label}: {QUANTITIES[self.key].label} [{self.unit}]"
        declared = declaration(deck, self.key)
        return f"{self.label}: {declared.description} [{declared.unit or '1'}]"


LANES: Final[tuple[LoadLane, ...]] = (
    LoadLane("gpu_utilisation", "GPU", "%", top=100),
    LoadLane("gpu_memory_used", "GPUmem", "bytes", whole="gpu_memory_total"),
    LoadLane("gpu_power", "power", "W"),
    LoadLane("gpu_temperature", "temp", "°C", top=100),
    LoadLane("gpu_sm_clock", "clock", "MHz"),
    LoadLane("gpu_memory_clock", "memclk", "MHz"),
    LoadLane("process_cpu", "CPU", "%", top=100),
    LoadLane("process_memory", "RSS", "bytes"),
    LoadLane("host_memory_used", "RAM", "bytes"),
    LoadLane("step_seconds", "step", "s", metric=True),
    LoadLane("gpu_ms", "GPU ms", "ms", metric=True),
    LoadLane("vram_peak", "VRAM", "bytes", metric=True),
    LoadLane("recorder_seconds", "rec", "s", metric=True),
)
_MACHINE: Final = tuple(lane for lane in LANES if not lane.metric)
_KEYS: Final = (*(lane.key for lane in _MACHINE), "gpu_memory_total")


class Samples:
    """The machine's samples as arrays; grows with the run."""

    def __init__(self) -> None:
        self._of: Sequence[Message] = ()
        self._taken = 0
        self._times = np.empty(0)
        self._values = np.empty((0, len(_KEYS)))

    def at(self, times: Floats, system: Sequence[Message]) -> Floats:
        """The last sample at or before each time [n, keys]; NaN before the first."""
        self._fill(system)
        places = np.searchsorted(self._times, times, side="right") - 1
        none = (places < 0) | np.isnan(times)
        if not len(self._times):
            return np.full((len(times), len(_KEYS)), np.nan)
        return np.where(none[:, None], np.nan, self._values[places])

    def _fill(self, system: Sequence[Message]) -> None:
        if len(system) < self._taken or system is not self._of:
            self.__init__()  # type: ignore[misc]  # another run, or one whose samples were thinned
            self._of = system
        new = [(float(time), m.get("values")) for m in system[self._taken :] if _is_number(time := m.get("time"))]
        self._taken = len(system)
        if not new:
            return
        rows = [
            [float(v[k]) if isinstance(v, dict) and _is_number(v.get(k)) else np.nan for k in _KEYS] for _, v in new
        ]
        self._times = np.concatenate([self._times, [time for time, _ in new]])
        self._values = np.concatenate([self._values, np.array(rows, np.float64)])
        if (np.diff(self._times) < 0).any():
            order = np.argsort(self._times, kind="stable")
            self._times, self._values = self._times[order], self._values[order]


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, float | int) and abs(value) < 1e300


def lanes(deck: Deck, samples: Samples, stream: str | None = None) -> list[tuple[LoadLane, Floats, float]]:
    """The lanes that have any value at a visible step, with their values [steps] and what they reach up to."""
    found = deck.stream_of(stream)
    if found is None:
        return []
    machine = samples.at(found.times[: deck.visible_of(stream)], deck.run.system)
    columns = {key: machine[:, n] for n, key in enumerate(_KEYS)}
    shown = []
    for lane in LANES:
        series = deck.series(lane.key, stream) if lane.metric else columns[lane.key]
        if lane.metric:
            lane = lane._replace(unit=declaration(deck, lane.key, stream).unit)
        if series is None or not np.isfinite(series).any():
            continue
        values = np.where(np.isfinite(series), series, np.nan).astype(np.float64)
        highest = max(float(np.nanmax(values)), lane.top)
        if lane.whole and np.isfinite(columns[lane.whole]).any():
            highest = max(highest, float(np.nanmax(columns[lane.whole])))
        elif highest > lane.top:
            highest = scales.round_up(highest)
        shown.append((lane, values, highest or 1.0))
    return shown


def with_unit(value: float, unit: str) -> str:
    """A value with its unit in seven characters at most."""
    if not np.isfinite(value):
        return "–"
    if unit == "bytes":
        for name, size in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20)):
            if value >= size:
                return f"{significant(value / size)}{name}"
        return f"{value / 1024:.0f}KiB"
    if unit == "MHz" and value >= 1000:
        return f"{value / 1000:.2f}GHz"
    if unit == "s" and value < 1:
        return f"{significant(value * 1000)} ms"
    return f"{significant(value)} {unit}"[: None if value < 1000 else 7]


class SystemView(StepView):
    """Every lane from 0 to what it can reach, with the value at the cursor."""

    def __init__(self, deck: Deck, style: Style, *, id: str = _ID) -> None:
        super().__init__(deck, style, id=id)
        self._samples = Samples()

    def rows(self, width: int, height: int) -> list[TextRow]:
        deck = self.deck
        if not deck.visible:
            return self.nothing(width, height, "System", self.absent(None, ""))
        shown = lanes(deck, self._samples)
        if not shown:
            return self.nothing(width, height, "System", "this run has neither samples of the machine nor step times")
        head = self.heading(width, "System")
        if not deck.run.system:
            said = "no samples of the machine"
        else:
            said = (
                "" if any(lane.key.startswith("gpu_") and not lane.metric for lane, *_ in shown) else "no GPU recorded"
            )
        if said and head.fits(f"{said} "):
            head.add(f"{said} ", "dim")
        bars = width >= _WITH_VALUES
        lines = max(1, height - 1 - bars)
        if len(shown) > lines and head.fits(f"{len(shown) - lines} more"):
            head.add(f"{len(shown) - lines} more", "dim")
        shown = shown[:lines]
        if not bars:
            return self._listed(head, shown, width, height)
        each = min(_HIGHEST, lines // len(shown))
        rows = [head.filled(), *self._bars(shown, width, each)]
        rows += [self._blank(width) for _ in range(height - 1 - len(rows))]
        return [*rows, self.axis_row(width)][: max(1, height)]

    def _listed(
        self, head: TextRow, shown: list[tuple[LoadLane, Floats, float]], width: int, height: int
    ) -> list[TextRow]:
        rows = [head.filled()]
        for lane, values, _ in shown:
            value = with_unit(float(values[self.deck.cursor]), lane.unit) if self.deck.cursor < len(values) else "–"
            rows.append(self.row(width).add(f"{lane.label:<{GUTTER}}", "tick").add(value, "s1").filled())
        return rows[: max(1, height)]

    def _bars(self, shown: list[tuple[LoadLane, Floats, float]], width: int, each: int) -> list[TextRow]:
        wide = self.plot_width(width)
        parts = np.stack([values / highest for _, values, highest in shown], axis=1)
        columns = heatmap.by_column(parts, self.deck.columns(wide), wide)
        cursor, bars = self.cursor_column(wide), _ASCII_BARS if self.ascii else _BARS
        steps = len(bars) - 1
        rows = []
        for n, (lane, values, _) in enumerate(shown):
            filled = np.clip(columns[:, n], 0, 1) * each * steps
            # A small value is still drawn.
            filled = np.where(np.isnan(filled), 0, np.maximum(np.round(filled), 1)).astype(np.int64)
            for line in range(each):
                last = line == each - 1
                row = self.row(width).add(f"{lane.label if last else '':>{GUTTER - 1}}"[: GUTTER - 1], "tick")
                row.add(("|" if self.ascii else "│"), "axis")
                text = "".join([bars[k] for k in np.clip(filled - (each - 1 - line) * steps, 0, steps).tolist()])
                self._put(row, text, cursor, f"s{n % 3 + 1}")
                if last and self.deck.cursor < len(values):
                    row.add(f" {with_unit(float(values[self.deck.cursor]), lane.unit)}", "label")
                rows.append(row.filled())
        return rows

    @staticmethod
    def _put(row: TextRow, text: str, cursor: int | None, role: str) -> None:
        if cursor is None:
            row.put(text, role)
            return
        row.put(text[:cursor], role)
        row.put(text[cursor], role if text[cursor] != " " else "cursor", cursor=True)
        row.put(text[cursor + 1 :], role)

    def _blank(self, width: int) -> TextRow:
        return self.row(width).add(" " * (GUTTER - 1)).add("|" if self.ascii else "│", "axis").filled()


def table(deck: Deck) -> Table:
    """One row per visible step: every lane in its unit."""
    shown = lanes(deck, Samples())
    names = [f"{lane.key}_{lane.unit}" for lane, *_ in shown]
    rows = [[step, *(float(values[step]) for _, values, _ in shown)] for step in range(deck.visible)]
    return Table(["step", *names], rows)


def about(deck: Deck) -> str:
    """What every lane shows."""
    first = "The machine's last sample at or before each step, and times per step; lanes begin at 0."
    return "\n".join([first, *(lane.about(deck) for lane in LANES)])


PANELS: Final = (
    Panel(
        _ID,
        "System",
        about,
        lambda deck, style: SystemView(deck, style),
        table,
    ),
)
