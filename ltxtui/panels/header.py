"""The header: which run this is, where it stands, and how fast it goes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final

from ltxtui.panels.cost import Health, Link, cost, link_of
from ltxtui.panels.view import View
from ltxtui.plot.line_plot import Style
from ltxtui.plot.rows import TextRow
from ltxtui.plot.text import clean, duration, one_of, significant
from ltxtui.viewmodel.deck import Deck
from recorder.format.nonfinite import broken_words
from replay.model.prompts import prompt_text
from replay.sources.open import Liveness

_MUCH: Final = 100_000
"""Bytes that have arrived and wait: the viewer is slower than the run."""


def speed_label(speed: float) -> str:
    """A replay speed as people write it."""
    if math.isinf(speed):
        return "max"
    return f"1/{round(1 / speed)}×" if speed < 1 else f"{speed:g}×"


_AWAY: Final = {Health.RECONNECTING: "! RECONNECTING", Health.LOST: "! LOST", Health.STALLED: "! STALLED"}
"""How a live run stands of which nothing can be seen."""


def status(deck: Deck, health: Health = Health.LIVE) -> tuple[str, str]:
    """What goes on, in a word or two, and its role."""
    if deck.live:
        return (_AWAY[health], "alert") if health in _AWAY else ("● LIVE", "live")
    if deck.loading and not deck.total:
        return "… READING", "replay"
    if deck.playing:
        state = f"► REPLAY {speed_label(deck.speed)}"
    elif deck.opened_live and deck.playhead >= deck.total:
        state = "■ ENDED"
    else:
        state = "‖ REPLAY " + speed_label(deck.speed)
    return state, "replay"


def outcome(deck: Deck) -> tuple[str, str]:
    """How the run ended, if it is over, and what of it is NaN."""
    if deck.liveness is Liveness.LIVE:
        return clean(broken_words(deck.run.broken.found), 80), "alert"
    if deck.loading and not deck.total:
        return "", ""
    end = deck.run.end
    if deck.liveness is Liveness.UNFINISHED or end is None:
        broken = broken_words(deck.run.broken.found)
        return clean(f"unfinished, {broken}" if broken else "unfinished", 120), "alert"
    word = clean(deck.run.standing, 120)
    if end.get("error"):
        return f"{word}: {clean(end['error'], 200)}", "alert"
    return word, "dim" if word == "complete" else "alert"


def selection(deck: Deck) -> str:
    """Stage, stream and batch item, where there is a choice."""
    stage, stream = deck.stage, deck.stream
    parts = []
    if stage is not None:
        parts.append(f"stage {one_of(stage.index, len(deck.run.stages))}")
        if stage.tile is not None:
            parts.append(f"tile {clean(stage.tile, 9)}")
    if stream is not None:
        parts.append(clean(" + ".join(deck.lane_streams), 40))
        if deck.items > 1:
            parts.append(f"item {one_of(deck.item, deck.items)}")
    return " · ".join(parts)


def stalled(deck: Deck) -> list[str]:
    """Since when nothing goes on, and what is missing; empty while a live run goes on."""
    if not deck.live or deck.stall is None:
        return []
    since = time.strftime("%H:%M:%S", time.localtime(time.time() - deck.stall.seconds))
    return [f"stalled for {duration(deck.stall.seconds)}, since {since}: {deck.stall.text}"]


def progress(deck: Deck) -> list[str]:
    """Step, speed and time, the most important first."""
    if deck.stage is None:
        if deck.live:
            return [*stalled(deck), deck.waiting or "waiting for the first stage"]
        return ["reading …" if deck.loading else "no steps recorded"]
    parts = [f"step {deck.visible}/{deck.steps}" if deck.stage.sigmas else f"step {deck.visible}"]
    if deck.live and not deck.follow:
        stage, step = deck.newest
        at = f"stage {stage} " if len(deck.run.stages) > 1 else ""
        parts.append(f"run at {at}step {step}")
    if math.isfinite(deck.seconds_per_step):
        parts.append(f"{duration(deck.seconds_per_step)}/step")
        if stopped := stalled(deck):
            parts += stopped
        elif deck.live and deck.visible < deck.steps:
            parts.append(f"{duration(deck.seconds_left)} left")
    if deck.visible:
        parts.append(f"cursor {deck.cursor}" + ("" if not deck.live else " following" if deck.follow else " held"))
    return parts


def watching(deck: Deck, link: Link) -> list[tuple[str, str]]:
    """What watching costs and whether it works, with roles, the most important first: connection, lag, recorder."""
    parts = []
    if link.health is Health.RECONNECTING:
        parts.append(("reconnecting, what is here stays", "alert"))
    elif link.health is Health.LOST:
        parts.append(("nobody answers; reconnecting", "alert"))
    elif deck.live and link.health in (Health.LIVE, Health.STALLED):
        parts.append(("connected", "dim"))
    if deck.live and link.unread:
        parts.append((f"{link.unread / 1000:,.1f} kB behind", "alert" if link.unread > _MUCH else "dim"))
    spent = cost(deck)
    if spent is not None:
        share = f" ({spent.share:.1%})" if math.isfinite(spent.share) else ""
        parts.append((f"recorder {significant(spent.seconds * 1000, 2)} ms/step{share}", "dim"))
    return parts


class HeaderView(View):
    """Two rows, three where there is room for a long prompt.

    Set `link` to what knows of the connection; without it the deck is asked. `pages` says which page of panels is seen.
    """

    def __init__(
        self,
        deck: Deck,
        style: Style,
        *,
        id: str | None = None,
        link: Callable[[], Link] | None = None,
        pages: Callable[[], str] = lambda: "",
    ) -> None:
        super().__init__(deck, style, id=id)
        self._link = link or (lambda: link_of(deck))
        self._pages = pages

    def rows(self, width: int, height: int) -> list[TextRow]:
        deck = self.deck
        model = clean(deck.known("model"), 80)
        prompt = clean(prompt_text(deck.known("prompt")), 1000)
        link = self._link()
        first = self.row(width).add(*status(deck, link.health)).add("  ")
        ended, role = outcome(deck)
        if ended:
            first.add(ended, role).add("  ")
        unnamed = "waiting" if deck.waiting else "connecting" if deck.live else "opening"
        first.add(clean(deck.run.name, 200) or unnamed, "title")
        tail = "  ".join(t for t in (model, selection(deck)) if t)
        if not first.fits(tail + "  "):
            tail = selection(deck)
        second = self.row(width)
        for n, part in enumerate(progress(deck)):
            if second.fits(part + "   "):
                role = "alert" if part.startswith("stalled") else "label" if n else "title"
                second.add(" · " if n else "", "dim").add(part, role)
        if (pages := self._pages()) and second.fits(f" · {pages}   "):
            second.add(" · ", "dim").add(pages, "label")
        for text, role in watching(deck, link):
            if second.fits(f" · {text}   "):
                second.add(" · ", "dim").add(text, role)
            elif first.fits(f"  {text}  {selection(deck)}  "):
                first.add("  ").add(text, role)
                tail = tail if first.fits(tail + "  ") else selection(deck)
        if first.fits(tail + "  "):
            first.push_right(tail, "label")
        rows = [first.filled(), second]
        if height > 2:
            rows.append(self.row(width).add(prompt, "dim").filled())
        elif prompt and second.room > 12:
            second.add("  ").add(f"“{prompt}”", "dim")
        second.filled()
        return rows
