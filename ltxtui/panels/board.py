"""The body of the run screen: which panels it shows, where they are, and which one is chosen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from textual import events
from textual.containers import Container
from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from ltxtui.panels import other_metrics
from ltxtui.panels.cost import CostView, Link
from ltxtui.panels.panel import Panel
from ltxtui.panels.registry import BY_ID, panels_of
from ltxtui.panels.view import View
from ltxtui.plot.line_plot import Style
from ltxtui.state import SavedState
from ltxtui.viewmodel import layout
from ltxtui.viewmodel.deck import Deck
from ltxtui.viewmodel.layout import OTHERS, PRESETS, Place, Preset


class LaneFrame(Container):
    """The frame of a panel's second view."""


def ids_of(preset: Preset) -> tuple[str, ...]:
    """The panels of a preset; those that every run has for a preset without a list."""
    return preset.panels or tuple(BY_ID)


class Board(Container):
    """Panels of the deck in the grid that `layout` makes; panels that are not on the page cost nothing.

    A panel whose view can show a single stream has one view per lane of the deck, one above the other.
    """

    def __init__(
        self, deck: Deck, style: Style, state: SavedState, preset: int, link: Callable[[], Link], *, id: str
    ) -> None:
        super().__init__(id=id)
        self._link = link
        self.deck = deck
        self.drawing = style
        self._state = state
        self.preset = PRESETS[max(0, min(preset, len(PRESETS)) - 1)]
        self._wanted: tuple[str, ...] = ids_of(self.preset)
        """The panels in their order; those of metrics that the run does not have (yet) among them."""
        self._arranged: tuple[str, ...] = ()
        """The panels when they were last laid out."""
        self.page = 0
        self.pages = 1
        self.maximised: str | None = None
        self._views: dict[str, list[View]] = {}
        self._frames: dict[View, Widget] = {}
        """The widget that is placed on the board for each view: itself or its frame."""
        self._room = Size(0, 0)
        self._size_class = ""

    # What is shown

    @property
    def panels(self) -> dict[str, Panel]:
        """All panels that can be shown, by id: those that every run has, then those of this run's other metrics."""
        return panels_of(self.deck)

    @property
    def others(self) -> tuple[str, ...]:
        """The panels of the metrics that no other panel shows."""
        return tuple(panel.id for panel in other_metrics.panels(self.deck))

    @property
    def shown(self) -> tuple[str, ...]:
        """The panels of all pages, in their order; those of the first preset where the run has none of them."""
        known, wanted = self.panels, self._wanted
        ids = [id for entry in wanted for id in (self.others if entry == OTHERS else (entry,)) if id in known]
        return tuple(dict.fromkeys(ids)) or ids_of(PRESETS[0])

    @property
    def chosen(self) -> str | None:
        """The panel that has the focus, else the first one on the page."""
        focused = self.screen.focused
        for id in self.on_page:
            if focused is not None and focused in self._views.get(id, ()):
                return id
        return next(iter(self.on_page), None)

    @property
    def on_page(self) -> list[str]:
        """The panels that can be seen, in their order."""
        return [id for id in self.shown if (views := self._views.get(id)) and views[0].display]

    @property
    def page_text(self) -> str:
        """Which page of how many this is; empty if there is one only."""
        if self.maximised is not None:
            return "maximised"
        return f"page {self.page + 1} of {self.pages}" if self.pages > 1 else ""

    def use_preset(self, number: int) -> None:
        """Show a preset's panels, as they were arranged last in a terminal of this size."""
        self.preset = PRESETS[number]
        self.page, self.maximised = 0, None
        self._recall()
        self.lay_out()

    def reset(self) -> None:
        """Discard the arrangement of this preset's panels."""
        self._state.set_arrangement(self._size_class, self.preset.key, None)
        self.use_preset(PRESETS.index(self.preset))

    def hide(self, id: str) -> None:
        """Remove a panel; the last one stays."""
        if len(self.shown) > 1 and id in self.shown:
            self.maximised = None
            self._keep(tuple(p for p in self.shown if p != id))

    def add(self, id: str) -> None:
        """Show a panel after the others, turn to its page, and select it."""
        if id in self.panels:
            self.maximised = None
            if id not in self.shown:
                self._keep((*self.shown, id))
            self._turn_to(id)

    def move(self, id: str, by: int) -> None:
        """Swap a panel with its neighbour; at the ends with the one at the other end."""
        order = list(self.shown)
        if id in order and len(order) > 1:
            at = order.index(id)
            there = (at + by) % len(order)
            order[at], order[there] = order[there], order[at]
            self._keep(tuple(order))
            self._turn_to(id)

    def maximise(self, id: str | None) -> None:
        """Give a panel the whole body; None shows all panels again."""
        self.maximised = id
        self.lay_out()
        self.focus_on(id)

    def turn(self, by: int) -> None:
        self.page += by
        self.lay_out()

    def focus_next(self, by: int) -> None:
        """Choose the next panel of the page; at its end on the next page."""
        here = self.on_page
        if not here:
            return
        if self.maximised is not None:
            order = self.shown
            self.maximise(order[(order.index(self.maximised) + by) % len(order)])
            return
        focused = self.screen.focused
        at = next((n for n, id in enumerate(here) if focused is not None and focused in self._views[id]), None)
        there = (0 if by > 0 else len(here) - 1) if at is None else at + by
        if not 0 <= there < len(here):
            self.turn(by if self.pages > 1 else 0)
            here = self.on_page
            there = 0 if by > 0 else len(here) - 1
        self.focus_on(here[there])

    def focus_on(self, id: str | None) -> None:
        if id in self._views:
            self._views[id][0].focus(scroll_visible=False)

    # Where it is

    def fit(self, room: Size) -> None:
        """Take a new size of the body; a terminal of another size may have another arrangement."""
        self._room = room
        kind = layout.size_class(self.app.size.width, self.app.size.height)
        if kind != self._size_class:
            self._size_class = kind
            self._recall()
        self.lay_out()

    def lay_out(self) -> None:
        """Put every panel of the page at its place and hide the others."""
        lanes = self.deck.lane_streams if self.deck.lanes == "both" else ()
        self._arranged = self.shown
        shown = (self.maximised,) if self.maximised else self._arranged
        tall = frozenset(id for id in shown if len(lanes) > 1 and self._has_lanes(id))
        made = layout.arrange(shown, self._room.width, self._room.height, page=self.page, tall=tall)
        self.page, self.pages = made.page, made.pages
        new: list[Widget] = []
        for id, place in made.places.items():
            views = self._made(id, max(1, len(lanes)) if id in tall else 1, new)
            for n, (view, part) in enumerate(zip(views, _split(place, len(views)), strict=True)):
                if hasattr(view, "stream_name"):
                    view.stream_name = lanes[n] if id in tall else None
                frame = self._frames[view]
                frame.styles.offset = part.x, part.y
                frame.styles.width, frame.styles.height = part.width, part.height
        if new:
            self.mount_all(new)
        for id, all_views in self._views.items():
            used = self._lane_count(id, tall, lanes)
            for n, view in enumerate(all_views):
                view.display = self._frames[view].display = id in made.places and n < used

    async def renew(self) -> None:
        """Make all panels again, which keep what they have drawn: the run's values are others than they were."""
        focused, chosen = self.screen.focused, self.chosen
        had_focus = chosen is not None and focused in self._views.get(chosen, ())
        await self.remove_children()
        self._views.clear()
        self._frames.clear()
        self.lay_out()
        if had_focus:
            self.focus_on(chosen)

    def outdated(self) -> bool:
        """Whether the run has other panels than when they were laid out, or the deck other lanes."""
        if self._arranged != self.shown:
            return True
        lanes = self.deck.lane_streams if self.deck.lanes == "both" else ()
        return any(
            sum(view.display for view in self._views[id]) != (len(lanes) if len(lanes) > 1 else 1)
            for id in self.on_page
            if self._has_lanes(id)
        )

    def _lane_count(self, id: str, tall: frozenset[str], lanes: Sequence[str]) -> int:
        return len(lanes) if id in tall else 1

    def _made(self, id: str, count: int, new: list[Widget]) -> list[View]:
        views = self._views.setdefault(id, [])
        while len(views) < count:
            view = self.panels[id].make(self.deck, self.drawing)
            view.drawing = self.drawing
            view.can_focus = True
            if isinstance(view, CostView):
                view.link = self._link
            view.add_class("panel")
            # Siblings may not have the same id, and a view's is its panel's: further lanes have their own frame.
            self._frames[view] = LaneFrame(view, id=f"{id}-lane-{len(views)}") if views else view
            new.append(self._frames[view])
            views.append(view)
        return views[:count]

    def _has_lanes(self, id: str) -> bool:
        views = self._views.get(id)
        probe = views[0] if views else None
        if probe is None:
            made: list[Widget] = []
            probe = self._made(id, 1, made)[0]
            self.mount_all(made)
        return hasattr(probe, "stream_name")

    def _recall(self) -> None:
        kept = self._state.arrangement(self._size_class, self.preset.key) if self._remembered else None
        # A metric's panel stays in the list while the run is read, and for the next run that has the metric.
        known = tuple(id for id in kept or () if id in BY_ID or id.startswith(other_metrics.PREFIX))
        self._wanted = known or ids_of(self.preset)

    @property
    def _remembered(self) -> bool:
        """Whether an arrangement is kept for the next start: not of panels that follow from the run."""
        return OTHERS not in self.preset.panels

    def _keep(self, shown: tuple[str, ...]) -> None:
        self._wanted = shown + tuple(id for id in self._wanted if id not in (*self.panels, OTHERS))
        if self._remembered:
            self._state.set_arrangement(self._size_class, self.preset.key, self._wanted)
        self.lay_out()

    def _turn_to(self, id: str) -> None:
        for page in range(self.pages):
            self.page = page
            self.lay_out()
            if id in self.on_page:
                break
        self.call_after_refresh(self.focus_on, id)

    def on_click(self, event: events.Click) -> None:
        """A click selects a panel; a double click on its title maximises or restores it."""
        view = event.widget
        if isinstance(view, View) and view.id in self.panels and event.screen_y == view.region.y and event.chain == 2:
            self.maximise(None if self.maximised else view.id)

    def on_mouse_move(self, event: events.MouseMove) -> None:
        """Show a panel's description as a tooltip while the mouse is on its title."""
        view = event.widget
        if isinstance(view, View) and view.has_class("panel"):
            panel = self.panels.get(view.id or "")
            about = Content(panel.about(self.deck)) if panel is not None and event.screen_y == view.region.y else None
            if view.tooltip != about:
                view.tooltip = about


def _split(place: Place, parts: int) -> list[Place]:
    """A place divided into lanes from top to bottom."""
    cuts = [place.height * n // parts for n in range(parts + 1)]
    return [replace(place, y=place.y + cuts[n], height=cuts[n + 1] - cuts[n]) for n in range(parts)]
