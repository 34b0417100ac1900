"""The cost of watching: the recorder's share of a step, the viewer's lag, the connection."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np

from ltxtui.panels.panel import Panel
from ltxtui.panels.view import View
from ltxtui.plot.line_plot import Style
from ltxtui.plot.rows import TextRow
from ltxtui.plot.text import duration, significant
from ltxtui.reports.export import Table
from ltxtui.viewmodel.deck import Deck
from ltxtui.viewmodel.declared import declaration
from ltxtui.viewmodel.selection import RECENT
from replay.model.pulse import RunState, state
from replay.sources.open import Liveness, Source

_ID: Final = "cost"
_TICK: Final = 1.0
_ROOMY: Final = 40


class Health(Enum):
    """The state of the connection between viewer and recorder."""

    LIVE = "live"
    WAITING = "waiting"
    STALLED = "stalled"
    RECONNECTING = "reconnecting"
    LOST = "lost"
    ENDED = "ended"
    GONE = "recorder lost"


@dataclass(frozen=True)
class Link:
    """The viewer's side: the connection, and the bytes that have arrived but are not shown yet."""

    health: Health
    unread: int | None = None


@dataclass(frozen=True)
class Cost:
    """The recorder's recent share of the sampling thread: its seconds per step over all streams, and the step's."""

    seconds: float
    step_seconds: float

    @property
    def share(self) -> float:
        """Part of the step, 0 to 1; NaN if the length of a step is not known."""
        return self.seconds / self.step_seconds if self.step_seconds > 0 else float("nan")


def link_of(deck: Deck) -> Link:
    """The connection as far as the deck knows it."""
    if deck.live:
        return Link(Health.WAITING if deck.waiting else Health.STALLED if deck.stall else Health.LIVE)
    return Link(Health.GONE if deck.liveness is Liveness.UNFINISHED else Health.ENDED)


def link_to(source: Source, deck: Deck) -> Link:
    """The connection as the run's source knows it."""
    if getattr(source, "reconnecting", False):
        away = getattr(source, "disconnected_seconds", None) or 0.0
        lost = state(deck.liveness, None, away) is RunState.LOST
        return Link(Health.LOST if lost else Health.RECONNECTING)
    known = link_of(deck)
    return Link(known.health, getattr(source, "unread", None)) if deck.live else known


def cost(deck: Deck) -> Cost | None:
    """The median of the last visible steps; None for a run that does not record it."""
    seconds = [found for name in deck.streams if (found := _recent(deck, "recorder_seconds", name)) is not None]
    if not seconds:
        return None
    # All streams step once per step of the loop, so their times add up; the loop's own time is that of any of them.
    step = _recent(deck, "step_seconds", None)
    return Cost(sum(seconds), float("nan") if step is None else step)


def _recent(deck: Deck, metric: str, stream: str | None) -> float | None:
    values = deck.recent(metric, stream)
    values = None if values is None else values[np.isfinite(values)]
    return None if values is None or not values.size else float(np.median(values))


def age(deck: Deck, now: float) -> float | None:
    """Seconds since the newest row was taken, by this machine's clock; None before the first row.

    Between two machines it is off by the difference of their clocks; a clock that is behind gives 0.
    """
    newest = [
        float(s.recent_times(1, s.rows)[0]) for stage in deck.run.stages[-2:] for s in stage.streams.values() if s.rows
    ]
    return max(0.0, now - max(newest)) if newest and np.isfinite(max(newest)) else None


class CostView(View):
    """One row for the status bar, or a small panel of the same.

    `link` gives the state of the connection; by default the deck does. While the run is live the age of the
    newest row is brought up to date every second.
    """

    def __init__(
        self,
        deck: Deck,
        style: Style,
        *,
        id: str = _ID,
        link: Callable[[], Link] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(deck, style, id=id)
        self.link = link or (lambda: link_of(deck))
        self._clock = clock

    def on_mount(self) -> None:
        self.set_interval(_TICK, self._tick)

    def _tick(self) -> None:
        if self.deck.live and self.display and self.screen.is_current:
            self.changed()

    def rows(self, width: int, height: int) -> list[TextRow]:
        parts = [("recorder", *self._recorder()), ("viewer", *self._viewer()), ("connection", *self._connection())]
        if height < 3:
            row = self.row(width)
            # The connection matters most in a small space.
            for name, text, role in reversed(parts):
                text = f"{'  ' if row.used else ''}{'recorder ' if name == 'recorder' and text else ''}{text}"
                if text.strip() and row.fits(text):
                    row.add(text, role)
            return [row.filled()]
        rows = [self.row(width - 1).add("Cost", "title").widened(width)]
        for name, text, role in parts:
            row = self.row(width)
            if width >= _ROOMY:
                row.add(f"{name:>10}  ", "tick")
            rows.append(row.add(text or "–", role).filled())
        return rows[:height]

    def _recorder(self) -> tuple[str, str]:
        found = cost(self.deck)
        if found is None:
            return ("cost not recorded" if self.deck.visible else ""), "dim"
        text = f"{significant(found.seconds * 1000)} ms/step"
        return f"{text}, {found.share:.2%}" if np.isfinite(found.share) else text, "label"

    def _viewer(self) -> tuple[str, str]:
        if not self.deck.live:
            return "", "dim"
        seconds, unread = age(self.deck, self._clock()), self.link().unread
        if seconds is None:
            return "no row yet", "dim"
        text = f"newest row {duration(seconds)} old"
        if unread:
            text += f", {unread / 1000:,.0f} kB behind" if unread >= 1000 else f", {unread} B behind"
        return text, "label" if self.deck.stall is None and self.link().health is Health.LIVE else "alert"

    def _connection(self) -> tuple[str, str]:
        health = self.link().health
        sign = {Health.LIVE: "●", Health.ENDED: "■"}.get(health, "!")
        return f"{sign} {health.value}", "label" if health in (Health.LIVE, Health.ENDED) else "alert"


def table(deck: Deck) -> Table:
    """One row per visible step: the recorder's seconds on each stream, and the step's."""
    metrics = ("recorder_seconds", "step_seconds")
    known = [(f"{m}_{s}", v) for s in deck.streams for m in metrics if (v := deck.series(m, s)) is not None]
    rows = [
        [step, *(float(values[step]) if step < len(values) else None for _, values in known)]
        for step in range(deck.visible)
    ]
    return Table(["step", *(name for name, _ in known)], rows)


def about(deck: Deck) -> str:
    """What each of the three lines shows."""
    recorder = declaration(deck, "recorder_seconds").description
    return (
        f"recorder: {recorder}; median of the last {RECENT} steps, all streams\n"
        "viewer: seconds since the newest row was taken, and what has arrived but is not shown yet\n"
        "connection: whether rows can still come"
    )


PANELS: Final = (
    Panel(
        _ID,
        "Cost",
        about,
        lambda deck, style: CostView(deck, style),
        table,
    ),
)
