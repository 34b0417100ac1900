"""The header: which run this is, its status, and its speed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Final, NamedTuple

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
"""Number of unread bytes at which the viewer counts as slower than the run."""


def speed_label(speed: float) -> str:
    """A replay speed as text: `1/4×`, `2×`, `max`."""
    if math.isinf(speed):
        return "max"
    return f"1/{round(1 / speed)}×" if speed < 1 else f"{speed:g}×"


_AWAY: Final = {Health.RECONNECTING: "! RECONNECTING", Health.LOST: "! LOST", Health.STALLED: "! STALLED"}
"""The status of a live run from which nothing comes."""


def status(deck: Deck, health: Health = Health.LIVE) -> tuple[str, str]:
    """Live, replay or ended, in one or two words, and its role."""
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
    """How the run ended, if it is over, whether it is damaged, and what of its metrics is NaN."""
    if deck.liveness is Liveness.LIVE:
        return clean(broken_words(deck.run.broken.found), 80), "alert"
    if deck.loading and not deck.total:
        return "", ""
    end = deck.run.end
    if deck.liveness is Liveness.UNFINISHED or end is None:
        words = ["unfinished", broken_words(deck.run.broken.found), "damaged" if deck.run.damage else ""]
        return clean(", ".join(word for word in words if word), 120), "alert"
    word = clean(deck.run.standing, 120)
    if end.get("error"):
        return f"{word}: {clean(end['error'], 200)}", "alert"
    return word, "dim" if word == "complete" else "alert"


def _short_outcomes(deck: Deck, ended: str) -> tuple[str, ...]:
    """Shorter forms of an outcome next to a verdict, which says what is NaN: `complete, damaged`, `complete`, none.

    Of an error its kind is left, then nothing: the verdict says that the run failed, and the findings say why.
    """
    end = deck.run.end
    if not ended:
        return ()
    if error := (end or {}).get("error"):
        return (clean(error, 200), clean(error, 200).partition(":")[0], "")
    status = clean("unfinished" if end is None else end.get("status", ""), 20)
    if deck.run.damage:
        return (f"{status}, damaged",)
    return (status, "") if status == "complete" else (status,)


def verdict(deck: Deck) -> tuple[str, str]:
    """What is wrong with the run, as a word for its severity and a few for the worst finding, and its role.

    Empty before rows were examined, and instead of `ok` for a run that is stalled or did not end as it should.
    """
    found = deck.findings
    if found.problem:
        return "a rule failed", "alert"
    if not found.known or not deck.total:
        return "", ""
    if found.verdict.severity in ("warning", "error"):
        return f"{found.verdict.severity}: {clean(found.verdict.text, 80)}", found.verdict.severity
    said, role = outcome(deck)
    if (said and role == "alert") or stalled(deck):
        return "", ""
    notes = len(found.found)
    return (f"ok, {notes} note{'s' if notes > 1 else ''}" if notes else "ok"), "good"


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


class HeaderPart(NamedTuple):
    """A piece of the header: the same in several lengths, the longest first, and its role."""

    texts: tuple[str, ...]
    role: str = "label"


def stalled(deck: Deck) -> list[HeaderPart]:
    """For how long and since when a live run is stalled, and what is missing; empty if it is not."""
    if not deck.live or deck.stall is None:
        return []
    since = time.strftime("%H:%M:%S", time.localtime(time.time() - deck.stall.seconds))
    text = f"stalled for {duration(deck.stall.seconds)}, since {since}"
    return [HeaderPart((f"{text}: {deck.stall.text}", text, f"stalled since {since}"), "alert")]


def progress(deck: Deck) -> list[HeaderPart]:
    """Step, speed and time, the most important first; of a stalled run, that it is stalled comes before its speed."""
    if deck.stage is None:
        if deck.live:
            return [*stalled(deck), HeaderPart((deck.waiting or "waiting for the first stage",), "title")]
        return [HeaderPart(("reading …" if deck.loading else "no steps recorded",), "title")]
    stopped = stalled(deck)
    step = f"step {deck.visible}/{deck.steps}" if deck.stage.sigmas else f"step {deck.visible}"
    parts = [HeaderPart((step,), "title"), *stopped]
    if deck.live and not deck.follow:
        stage, newest = deck.newest
        at = f"stage {stage} " if len(deck.run.stages) > 1 else ""
        parts.append(HeaderPart((f"run at {at}step {newest}",)))
    if math.isfinite(deck.seconds_per_step):
        parts.append(HeaderPart((f"{duration(deck.seconds_per_step)}/step",)))
        if deck.live and not stopped and deck.visible < deck.steps:
            parts.append(HeaderPart((f"{duration(deck.seconds_left)} left",)))
    if deck.visible:
        held = "" if not deck.live else " following" if deck.follow else " held"
        parts.append(HeaderPart((f"cursor {deck.cursor}{held}",)))
    return parts


def watching(deck: Deck, link: Link) -> list[tuple[str, str]]:
    """Connection, lag and the recorder's cost, with roles, the most important first."""
    parts = []
    if link.health is Health.RECONNECTING:
        parts.append(("reconnecting; rows so far are kept", "alert"))
    elif link.health is Health.LOST:
        parts.append(("no answer; reconnecting", "alert"))
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

    `link` gives the state of the connection; by default the deck does. `pages` says which page of panels is shown.
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
        link = self._link()
        first, second = self._standing(width, link.health), self._progress(width)
        self._watching(first, second, link)
        model, selected = clean(self.deck.known("model"), 80), selection(self.deck)
        tails = ("  ".join(text for text in (model, selected) if text), selected)
        if (tail := next((t for t in tails if first.fits(t + "  ")), None)) is not None:
            first.push_right(tail, "label")
        prompt = clean(prompt_text(self.deck.known("prompt")), 1000)
        if height > 2:
            return [first.filled(), second.filled(), self.row(width).add(prompt, "dim").filled()]
        if prompt and second.room > 12:
            second.add("  ").add(f"“{prompt}”", "dim")
        return [first.filled(), second.filled()]

    def _standing(self, width: int, health: Health) -> TextRow:
        """Live, replay or ended, what is wrong, how it ended, and the run's name."""
        deck = self.deck
        row = self.row(width).add(*status(deck, health)).add("  ")
        unnamed = "waiting" if deck.waiting else "connecting" if deck.live else "opening"
        name = clean(deck.run.name, 200) or unnamed
        (found, severity), (ended, role) = verdict(deck), outcome(deck)
        if found and severity != "good":
            row.add(found, severity).add("  ")
            forms = (ended, *_short_outcomes(deck, ended))
            if deck.findings.verdict.text in ended and len(forms) > 1:
                forms = forms[1:]
            ended = next((form for form in forms if row.fits(f"{form}  {name}")), forms[-1])
        elif found and health not in _AWAY:
            row.add(found, severity).add("  ")
        if ended:
            row.add(ended, role).add("  ")
        return row.add(name, "title")

    def _progress(self, width: int) -> TextRow:
        """As much of step, speed and time as there is room for, and the page of panels."""
        row = self.row(width)
        for texts, role in progress(self.deck):
            if (text := next((t for t in texts if row.fits(t + "   ")), None)) is not None:
                row.add(" · " if row.used else "", "dim").add(text, role)
        if (pages := self._pages()) and row.fits(f" · {pages}   "):
            row.add(" · ", "dim").add(pages, "label")
        return row

    def _watching(self, first: TextRow, second: TextRow, link: Link) -> None:
        """Connection, lag and cost, in the second row, else in the first where that leaves room for the selection."""
        selected = selection(self.deck)
        for text, role in watching(self.deck, link):
            if second.fits(f" · {text}   "):
                second.add(" · ", "dim").add(text, role)
            elif first.fits(f"  {text}  {selected}  "):
                first.add("  ").add(text, role)
