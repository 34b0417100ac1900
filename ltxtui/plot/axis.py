"""The horizontal axis that all panels share: where each step lies, which part is shown, and the inverse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ltxtui.plot import scales
from ltxtui.plot.axis_values import INFO, MODES, Floats, Mode, placed, values_of
from ltxtui.plot.text import number, significant
from replay.model.run import StageData

__all__ = ["EMPTY", "INFO", "MODES", "Axis", "Mode", "Ruler", "step_ruler"]

_LEAST: Final = 3
"""Of the smallest distance between two steps: no window is narrower."""
_PAN: Final = 1 / 4
_MARGIN: Final = 1 / 4
"""Part of the window that is left free beyond a cursor that has run out of it."""


@dataclass(frozen=True, eq=False)
class Ruler:
    """Steps on an axis, and the window on it.

    Attributes:
        mode: what the axis counts.
        values: what each step has of it [steps]; may be infinite or NaN, and need not be monotone.
        places: the same rising to the right and finite, NaN where a step has no place [steps].
        low: place at the left end of the window.
        high: place at its right end.
    """

    mode: Mode
    values: Floats
    places: Floats
    low: float
    high: float
    _at: dict[int, Floats] = field(default_factory=dict, repr=False)
    """By width: panels of one width share their places, columns and labels."""
    _columns: dict[int, NDArray[np.intp]] = field(default_factory=dict, repr=False)
    _ticks: dict[int, list[tuple[int, str]]] = field(default_factory=dict, repr=False)
    _stretches: dict[tuple[int, int], NDArray[np.intp]] = field(default_factory=dict, repr=False)

    def at(self, width: int) -> Floats:
        """Column of every step, not rounded, outside 0…width−1 if outside the window; NaN without a place [steps]."""
        if width not in self._at:
            span = self.high - self.low
            self._at[width] = (self.places - self.low) * (max(1, width) - 1) / (span if span > 0 else 1.0)
        return self._at[width]

    @cached_property
    def inside(self) -> NDArray[np.bool_]:
        """Which steps are in the window [steps]."""
        slack = 1e-9 * max(self.high - self.low, 1e-300)
        found: NDArray[np.bool_] = (self.places >= self.low - slack) & (self.places <= self.high + slack)
        return found

    def columns(self, width: int) -> NDArray[np.intp]:
        """The text column of every step in a plot `width` columns wide; −1 outside the window [steps]."""
        if width not in self._columns:
            nearest = np.floor(np.where(self.inside, self.at(width), -1.0) + 0.5)
            self._columns[width] = nearest.astype(np.intp)
            self._columns[width].flags.writeable = False
        return self._columns[width]

    def stretches(self, width: int, across: int) -> NDArray[np.intp]:
        """Where each visit of a column of dots begins, `across` of which make one of text [visits].

        All steps on one side of the window are one visit, but for those that share a column with it.
        """
        if (width, across) not in self._stretches:
            with np.errstate(invalid="ignore"):
                dots = np.floor((self.at(width) + 0.5) * across)
            # A step without a place is a visit of its own with its like.
            visits = np.nan_to_num(np.clip(dots, -1, width * across), nan=-2.0) + 0.5 * self.inside
            self._stretches[width, across] = np.flatnonzero(np.diff(visits, prepend=np.nan) != 0)
        return self._stretches[width, across]

    def step_at(self, column: int, width: int, cursor: int = 0) -> int:
        """The step in the window that is nearest to a column.

        Where the axis passes a place more than once, as σ does around a restart, several stretches of steps are
        equally near: then the one nearest to the cursor is meant.
        """
        columns = self.columns(width)
        steps = np.flatnonzero(columns >= 0)
        if not steps.size:
            return cursor
        distance = np.abs(columns[steps] - column)
        near = steps[distance == distance.min()]
        stretches = np.split(near, np.flatnonzero(np.diff(near) > 1) + 1)
        meant = min(stretches, key=lambda s: int(np.abs(s - cursor).min()))
        off = np.abs(self.at(width)[meant] - column)
        best = meant[off <= off.min() + 1e-9]
        return int(best[np.abs(best - cursor).argmin()])

    def text(self, step: int) -> str:
        """The label of a step."""
        return self._text(float(self.values[step]))

    def ticks(self, width: int) -> list[tuple[int, str]]:
        """Labels with their columns, the most important first: both ends of what is in the window, then round ones."""
        if width not in self._ticks:
            self._ticks[width] = self._labels(width)
        return list(self._ticks[width])

    def _labels(self, width: int) -> list[tuple[int, str]]:
        columns = self.columns(width)
        steps = np.flatnonzero(columns >= 0)
        if not steps.size:
            return []
        ends = [int(steps[self.places[steps].argmin()]), int(steps[self.places[steps].argmax()])]
        found = [(int(columns[step]), self.text(step)) for step in dict.fromkeys(ends)]
        sign = -1.0 if INFO[self.mode].falls else 1.0
        span = self.high - self.low
        if not span > 0:
            return found
        distance = scales.round_up(span * 7 / max(1, width))
        if self.mode in ("step", "evaluations", "run"):
            distance = max(1.0, distance)
        low, high = sorted((sign * self.low, sign * self.high))
        for value in scales.multiples(low, high, distance):
            column = (sign * value - self.low) * (width - 1) / span
            found.append((int(np.floor(column + 0.5)), self._text(value)))
        return found

    def _text(self, value: float) -> str:
        if self.mode in ("step", "evaluations", "run") and np.isfinite(value):
            return str(round(value))
        return significant(value) if 1e-3 <= abs(value) < 1e5 else number(value)


def over_run(ruler: Ruler, total: int) -> Ruler:
    """The same window with the steps of all stages in it, of which the ruler has those of one."""
    places = np.arange(total, dtype=np.float64)
    return Ruler(ruler.mode, places, places, ruler.low, ruler.high)


EMPTY: Final = Ruler("step", np.empty(0), np.empty(0), 0.0, 1.0)


def step_ruler(steps: int) -> Ruler:
    """An axis of `steps` numbered steps, all in the window."""
    places = np.arange(steps, dtype=np.float64)
    return Ruler("step", places, places, 0.0, max(1.0, steps - 1.0))


class Axis:
    """Which axis, and which window on it: one for each stage and mode, so that every stage is found as it was left."""

    def __init__(self) -> None:
        self.mode: Mode = "step"
        self._windows: dict[tuple[int, Mode], tuple[float, float]] = {}
        self._key: object = None
        self._full = self._shown = EMPTY

    def window(self, stage: int) -> tuple[float, float] | None:
        """The places that the window of a stage goes from and to; None where it shows all."""
        return self._windows.get(self._window(stage, self.mode))

    @staticmethod
    def _window(stage: int, mode: Mode) -> tuple[int, Mode]:
        """The window that a stage is seen in: the axis over the whole run has one for all of them."""
        return (-1 if mode == "run" else stage), mode

    def ruler(self, stage: StageData, steps: int, version: int, pace: float, run: tuple[int, int] = (0, 0)) -> Ruler:
        """The steps of a stage on the present axis, with its window.

        Args:
            stage: whose steps.
            steps: how many, planned ones among them.
            version: of the run; what has been computed is kept until it changes.
            pace: seconds per step that are expected of steps to come.
            run: steps of all stages before this one, and of all stages together, for the axis over the whole run.
        """
        key = (id(stage), steps, version, self.mode, run)
        if key != self._key:
            values = values_of(self.mode, stage, steps, pace)
            if self.mode == "run":
                values = values + run[0]
            places = placed(values, falls=INFO[self.mode].falls)
            known = places[np.isfinite(places)]
            low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
            if self.mode == "seconds":
                low = min(0.0, low)
            if self.mode == "run":
                low, high = 0.0, run[1] - 1.0
            self._full = Ruler(self.mode, values, places, low, high if high > low else low + 1.0)
            self._key, self._shown = key, self._full
        low, high = self.window(stage.index) or (self._full.low, self._full.high)
        if (low, high) != (self._shown.low, self._shown.high):
            self._shown = replace(self._full, low=low, high=high, _at={}, _columns={}, _ticks={}, _stretches={})
        return self._shown

    def set_mode(self, mode: Mode, stage: int, make: Callable[[], Ruler]) -> None:
        """Another axis over the same steps: those that were in the window stay in it."""
        shown, zoomed = make().inside, self.window(stage) is not None
        self.mode = mode
        self._windows.pop(self._window(stage, mode), None)
        if zoomed:
            kept = make().places[shown]
            kept = kept[np.isfinite(kept)]
            if kept.size and kept.max() > kept.min():
                self._windows[self._window(stage, mode)] = float(kept.min()), float(kept.max())

    def zoom(self, by: float, stage: int, ruler: Ruler, cursor: int) -> None:
        """Halve the window `by` times, or double it if negative; the cursor keeps its column."""
        at = self._place(ruler, cursor)
        gaps = np.diff(np.unique(ruler.places[np.isfinite(ruler.places)]))
        least = min(_LEAST * float(gaps.min()) if gaps.size else 1.0, self._full.high - self._full.low)
        span = ruler.high - ruler.low
        wanted = max(least, span * 2.0**-by)
        self._set(stage, at - (at - ruler.low) * wanted / span, wanted)

    def pan(self, by: float, stage: int, ruler: Ruler) -> None:
        """Move the window by quarters of itself, within the axis."""
        if self.window(stage) is not None:
            span = ruler.high - ruler.low
            self._set(stage, ruler.low + by * _PAN * span, span)

    def reset(self, stage: int) -> None:
        """Show all."""
        self._windows.pop(self._window(stage, self.mode), None)

    def keep_in_view(self, stage: int, ruler: Ruler, step: int) -> None:
        """Move the window so that a step is in it, with room beyond it."""
        if self.window(stage) is None or not 0 <= step < len(ruler.places) or ruler.inside[step]:
            return
        at, span = self._place(ruler, step), ruler.high - ruler.low
        self._set(stage, at - span * (1 - _MARGIN if at > ruler.high else _MARGIN), span)

    def _set(self, stage: int, low: float, span: float) -> None:
        first, last = self._full.low, self._full.high
        if span >= (last - first) * (1 - 1e-9):
            self.reset(stage)
        else:
            low = min(max(low, first), last - span)
            self._windows[self._window(stage, self.mode)] = low, low + span

    @staticmethod
    def _place(ruler: Ruler, step: int) -> float:
        """Where a step is; the middle of the window if it has no place."""
        if 0 <= step < len(ruler.places) and np.isfinite(ruler.places[step]):
            return float(ruler.places[step])
        return (ruler.low + ruler.high) / 2
