"""What a panel of the run view is: its name, its description, how it is made, and its data as a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ltxtui.panels.view import View
from ltxtui.plot.line_plot import Style
from ltxtui.reports.export import Table
from ltxtui.viewmodel.deck import Deck


@dataclass(frozen=True)
class Panel:
    """One panel that the run view can show.

    Attributes:
        id: of the panel and of its widget.
        title: its name in the list of panels.
        about: gives formula and meaning for the tooltip and the list of panels, in the words of the deck's run.
        make: builds the widget.
        table: gives the data of what is visible on the deck.
    """

    id: str
    title: str
    about: Callable[[Deck], str]
    make: Callable[[Deck, Style], View]
    table: Callable[[Deck], Table]
