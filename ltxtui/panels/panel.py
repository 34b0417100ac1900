"""What a panel of the run view is: its name, what it tells, how it is made, and its data as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ltxtui.panels.view import View
from ltxtui.plot.line_plot import Style
from ltxtui.viewmodel.deck import Deck


@dataclass(frozen=True)
class Table:
    """Data of a panel for CSV: names of the columns, and one row per step or whatever the panel shows."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Panel:
    """One panel that the run view can show.

    `about` is what the tooltip and the help say: formula and meaning. `make` builds the widget, whose id is the
    panel's. `table` gives the data of what is visible on the deck.
    """

    id: str
    title: str
    about: str
    make: Callable[[Deck, Style], View]
    table: Callable[[Deck], Table]
