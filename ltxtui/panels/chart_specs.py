"""Which metrics each chart shows: one declaration per chart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from ltxtui.plot.model import Mark
from ltxtui.plot.text import clean
from ltxtui.viewmodel.deck import Deck
from ltxtui.viewmodel.declared import declaration
from ltxtui.viewmodel.drift import drift_forms
from recorder.format.declarations import drift_hint

Over = Literal["", "mean", "max", "min"]
FIRST_FRAME: Final = 2
"""Frames are compared with the one before or with frame 1, and latent frame 0 stands for a single picture, so values
of the frames before this one say nothing about drift; the drift index leaves them out as well."""


@dataclass(frozen=True)
class Line:
    """One metric of a chart under a short label.

    Of a metric with several values per step, `over` is what is drawn of them: their mean, highest or lowest along
    `axes`; of values per frame, those of the frames from `FIRST_FRAME` on.
    """

    metric: str
    label: str
    mark: Mark
    over: Over = ""
    axes: tuple[str, ...] = ("frame",)

    def about(self, deck: Deck) -> str:
        """The run's description of the metric, for a tooltip."""
        label, unit, description = declaration(deck, self.metric)
        over = ""
        if self.over:
            along = f"the latent frames {FIRST_FRAME}…" if self.axes == ("frame",) else clean(" × ".join(self.axes), 60)
            over = f"; {self.over} over {along}"
        return f"{self.label or label}: {description or 'not described by the run'}{over}{f' [{unit}]' if unit else ''}"


@dataclass(frozen=True)
class Chart:
    """A chart: its lines, what its y axis always shows, and the planned schedule drawn before it happens."""

    id: str
    title: str
    word: str
    """What is behind the title where the metrics have no unit, such as `cosine`."""
    lines: tuple[Line, ...]
    include: tuple[float, ...] = ()
    references: tuple[float, ...] = ()
    short: str = ""
    """A shorter title for a low and narrow panel."""
    planned: str = ""
    """`sigma` or `snr`: which form of the planned schedule is drawn as a ghost."""
    absent: str = ""
    """What it means if a line has no value at any step."""
    log: bool = False
    """Whether a logarithmic y axis makes sense: values that are positive, of the same kind."""
    note: str = ""
    """Text of its tooltip in addition to the metrics' descriptions."""
    aside: Callable[[Deck], tuple[str, ...]] | None = None
    """What is known of the whole stage: texts for the title, the longest first."""

    def about(self, deck: Deck) -> str:
        """Formula and meaning of every line, as the run gives them."""
        return "\n".join([*(line.about(deck) for line in self.lines), *([self.note] if self.note else [])])

    def unit(self, deck: Deck, stream: str | None = None) -> str:
        """The unit that the run declares for its lines, else the chart's word; empty if the lines differ in it."""
        units = {declaration(deck, line.metric, stream).unit for line in self.lines}
        return (units.pop() or self.word) if len(units) == 1 else ""


CHARTS: Final[tuple[Chart, ...]] = (
    Chart(
        "sigma",
        "σ",
        "noise level",
        (Line("sigma", "σ", Mark.FIRST),),
        include=(0.0, 1.0),
        planned="sigma",
        note="The planned levels are drawn faintly ahead; a shock shows how far down it went before it went up again.",
    ),
    Chart(
        "snr",
        "SNR",
        "",
        (Line("snr_measured_db", "measured", Mark.FIRST), Line("snr_schedule_db", "schedule", Mark.SECOND)),
        include=(0.0,),
        references=(0.0,),
        planned="snr",
        note="0 dB, where signal and noise are of equal power, is a line. −∞ at σ = 1 is a gap.",
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
        "",
        (
            Line("energy_low_noise", "low", Mark.FIRST),
            Line("energy_mid_noise", "mid", Mark.SECOND),
            Line("energy_high_noise", "high", Mark.THIRD),
        ),
        include=(0.0,),
        short="Energy",
        log=True,
    ),
    Chart(
        "whiteness",
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
        log=True,
        note="Natural data is not 1 even for a perfect model: compare runs at equal σ, never with 1.",
    ),
    Chart(
        "drift",
        "Drift",
        "cosine",
        (
            Line("frame_identity", "identity mean", Mark.FIRST, "mean"),
            Line("frame_coherence", "coherence mean", Mark.SECOND, "mean"),
            Line("frame_identity", "identity min", Mark.THIRD, "min"),
        ),
        include=(1.0,),
        absent="no frames to compare",
        note="Cosines show a swapped identity; a fade or a flicker shows only in the drift of the finished clip, "
        f"next to the title once the stage has ended: {drift_hint()}.",
        aside=drift_forms,
    ),
    Chart(
        "wander",
        "Wander",
        "",
        (Line("low_frequency_wander", "RMS", Mark.FIRST), Line("low_frequency_wander_share", "share", Mark.SECOND)),
        include=(0.0,),
        log=True,
    ),
    Chart(
        "x0_change",
        "x0 change",
        "",
        (Line("x0_change_rms", "RMS", Mark.FIRST), Line("x0_change_rate", "rate", Mark.SECOND)),
        include=(0.0,),
        log=True,
    ),
    Chart(
        "guidance",
        "Guidance gap",
        "velocity RMS",
        (
            Line("guidance_gap_cfg", "cfg", Mark.FIRST),
            Line("guidance_gap_stg", "stg", Mark.SECOND),
            Line("guidance_gap_modality", "modality", Mark.THIRD),
        ),
        include=(0.0,),
        short="Guidance",
        absent="not run",
        log=True,
    ),
    Chart(
        "injected",
        "Noise injected",
        "",
        (Line("noise_injected", "injected", Mark.FIRST),),
        include=(0.0,),
        short="Injected",
    ),
)
