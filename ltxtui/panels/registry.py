"""All panels of the run view, in the order of the list to choose from."""

from __future__ import annotations

from typing import Final

from ltxtui.panels import chart_specs, cost, events, filmstrip, readout, spectrum, system, waterfall
from ltxtui.panels.panel import Panel

PANELS: Final[tuple[Panel, ...]] = (
    *chart_specs.PANELS,
    *waterfall.PANELS,
    *spectrum.PANELS,
    *filmstrip.PANELS,
    *readout.PANELS,
    *events.PANELS,
    *system.PANELS,
    *cost.PANELS,
)
BY_ID: Final = {panel.id: panel for panel in PANELS}
