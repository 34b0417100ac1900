"""Which metrics each chart shows: one declaration per chart, and the step from the deck to a plot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ltxtui.deck import Deck
from ltxtui.drawing import Curve, Mark, Plot


@dataclass(frozen=True)
class Line:
    """One metric of a chart under a short label."""

    metric: str
    label: str
    mark: Mark


@dataclass(frozen=True)
class Chart:
    """A chart: its lines, what its y axis always shows, and the planned schedule drawn before it happens."""

    id: str
    title: str
    unit: str
    lines: tuple[Line, ...]
    include: tuple[float, ...] = ()
    references: tuple[float, ...] = ()
    short: str = ""
    """A shorter title for a low and narrow panel."""
    planned: str = ""
    """`sigma` or `snr`: which form of the planned schedule is drawn as a ghost."""


CHARTS: tuple[Chart, ...] = (
    Chart("sigma", "σ", "noise level", (Line("sigma", "σ", Mark.FIRST),), include=(0.0, 1.0), planned="sigma"),
    Chart(
        "snr",
        "SNR",
        "dB",
        (Line("snr_measured_db", "measured", Mark.FIRST), Line("snr_schedule_db", "schedule", Mark.SECOND)),
        include=(0.0,),
        references=(0.0,),
        planned="snr",
    ),
    Chart(
        "velocity",
        "Velocity",
        "",
        (Line("velocity_rms", "RMS", Mark.FIRST), Line("velocity_cosine", "cosine", Mark.SECOND)),
    ),
    Chart(
        "energy",
        "Noise energy",
        "power",
        (
            Line("energy_low_noise", "low", Mark.FIRST),
            Line("energy_mid_noise", "mid", Mark.SECOND),
            Line("energy_high_noise", "high", Mark.THIRD),
        ),
        include=(0.0,),
        short="Energy",
    ),
)

WHITENESS = Chart(
    "energy",
    "Noise whiteness",
    "",
    (
        Line("noise_whiteness_low", "low", Mark.FIRST),
        Line("noise_whiteness_mid", "mid", Mark.SECOND),
        Line("noise_whiteness_high", "high", Mark.THIRD),
    ),
    include=(1.0,),
    references=(1.0,),
    short="White",
)
"""The other face of the frequency panel: the same bands as parts of what white noise has on this grid."""


def plan(deck: Deck, form: str) -> NDArray[np.float64] | None:
    """The planned schedule of the selected stage as noise levels or as the SNR in dB that they mean."""
    stage = deck.stage
    if stage is None or not form or not stage.sigmas:
        return None
    sigmas = np.asarray(stage.sigmas, np.float64)
    if form == "sigma":
        return sigmas
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(20 * np.log10((1 - sigmas) / sigmas))


def reached(deck: Deck) -> NDArray[np.float64] | None:
    """How far down the sample went before a shock took it up again: one point per shock, None without any."""
    down, after = deck.series("sigma_down"), deck.series("sigma_next")
    if down is None or after is None or not (shocked := down < after).any():
        return None
    return np.where(shocked, down, np.nan).astype(np.float64)


def plot(chart: Chart, deck: Deck) -> Plot:
    """The chart of what is selected and visible on the deck."""
    curves = [
        Curve(line.label, values, line.mark) for line in chart.lines if (values := deck.series(line.metric)) is not None
    ]
    missing = deck.stream is not None and not curves
    if chart.id == "sigma" and (down := reached(deck)) is not None:
        curves.append(Curve("down", down, Mark.SECOND))
    planned = plan(deck, chart.planned)
    if planned is not None:
        curves.append(Curve("planned", planned, Mark.GHOST))
    visible = deck.visible
    if missing:
        empty = f"not recorded for {deck.stream.name}" if deck.stream is not None else ""
    elif not visible:
        empty = "waiting for the first step" if deck.live else "no steps"
    else:
        empty = ""
    return Plot(curves, deck.steps, chart.include, chart.references, empty, cursor=deck.cursor if visible else None)
