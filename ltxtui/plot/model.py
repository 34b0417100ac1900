"""What a plot consists of: lines with a value per step, flags on steps, and what the axes must show."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ltxtui.plot.axis import Ruler, step_ruler
from ltxtui.plot.raster import Style


class Mark(Enum):
    """How a line is drawn, so that lines differ without colours; the value is its rank in a panel."""

    FIRST = 0  # solid, ASCII *
    SECOND = 1  # dashed, ASCII o
    THIRD = 2  # dotted, ASCII +
    GHOST = 3  # sparse dots, faint: what is planned

    @property
    def role(self) -> str:
        return ("s1", "s2", "s3", "ghost")[self.value]

    def sample(self, style: Style) -> str:
        """One character that stands for the line in a legend."""
        return ("*o+." if style is Style.ASCII else "━╍┉·")[self.value]


@dataclass(frozen=True)
class Curve:
    """One line: a value per step, from step 0 on."""

    label: str
    values: NDArray[np.floating]
    mark: Mark = Mark.FIRST
    symbol: str = ""
    """One ASCII character to draw it with in ASCII, where there are more lines than marks."""
    letter: str = ""
    """One character set on the line at intervals in every style, so that many lines need no colours."""
    paint: str = ""
    """The role that replaces the mark's, where there are more lines than marks have colours."""

    @property
    def role(self) -> str:
        return self.paint or self.mark.role

    def sample(self, style: Style) -> str:
        """One character that stands for the line in a legend."""
        if self.letter:
            return self.letter
        return self.symbol if self.symbol and style is Style.ASCII else self.mark.sample(style)


@dataclass(frozen=True, eq=False)
class Shade:
    """A range per step, drawn faintly behind the lines: `low` and `high` [steps], NaN where there is none."""

    low: NDArray[np.floating]
    high: NDArray[np.floating]


def value_at(values: NDArray[np.floating], step: int | None) -> float:
    """A series' value at a step; NaN where it has none."""
    return float(values[step]) if step is not None and 0 <= step < len(values) else math.nan


@dataclass(frozen=True)
class Flag:
    """A letter on the axis at a step; with `line`, also a line through the whole plot."""

    step: int
    letter: str
    role: str = "tick"
    line: bool = True


@dataclass(frozen=True)
class Plot:
    """Lines over the steps of a stage, with values that the y axis must show and horizontal reference lines."""

    curves: Sequence[Curve]
    steps: int
    include: Sequence[float] = ()
    references: Sequence[float] = ()
    empty: str = ""
    """The text shown where there is nothing to draw."""
    cursor: int | None = None
    labels: Sequence[str] = ()
    """Labels of the steps on the axis, if not their numbers."""
    ruler: Ruler | None = None
    """Where the steps lie; by their numbers if None."""
    flags: Sequence[Flag] = ()
    bands: Sequence[Shade] = ()
    """What is usual; the y axis shows all of it."""
    log: bool = False
    """A logarithmic y axis: values of 0 and less are not drawn."""

    @cached_property
    def on(self) -> Ruler:
        """The ruler, or one of numbered steps."""
        return self.ruler or step_ruler(self.steps)
