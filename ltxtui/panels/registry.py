"""All panels of the run view, in the order of the list to choose from."""

from __future__ import annotations

from typing import Final

from ltxtui.panels import (
    chart_view,
    cost,
    events,
    filmstrip,
    findings,
    frames,
    other_metrics,
    readout,
    spectrum,
    system,
    waterfall,
)
from ltxtui.panels.panel import Panel
from ltxtui.viewmodel.deck import Deck

PANELS: Final[tuple[Panel, ...]] = (
    *chart_view.PANELS,
    *waterfall.PANELS,
    *spectrum.PANELS,
    *frames.PANELS,
    *filmstrip.PANELS,
    *findings.PANELS,
    *readout.PANELS,
    *events.PANELS,
    *system.PANELS,
    *cost.PANELS,
)
"""The panels that every run has."""
BY_ID: Final = {panel.id: panel for panel in PANELS}


def panels_of(deck: Deck) -> dict[str, Panel]:
    """By id, the panels that every run has, then those of the run's other metrics."""
    return BY_ID | {panel.id: panel for panel in other_metrics.panels(deck)}
