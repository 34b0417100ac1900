"""The list of runs side by side: names, states, whether they are fair pairs, and where each first differs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from textual import events
from textual.message import Message

from ltxtui.compare.member import Member
from ltxtui.compare.statements import position
from ltxtui.panels.compare.view import CompareView
from ltxtui.plot.rows import TextRow
from ltxtui.plot.text import clean, fit, number
from replay.comparison.run_differences import Divergence

_NAME = 26
_STATE = 12
_STEPS = 12
_PARTING = 18
_VALUE = 8
_LISTED = 90
"""In a narrower list a row has no room for everything about a run."""
_SHORTEST = 8


def differs(member: Member, reference: Member, found: Divergence | None) -> str:
    """Where it first differs, or that it does not; empty for the reference and for runs that are still being read."""
    if member is reference or member.run is None or reference.run is None:
        return ""
    if found is None:
        return "same so far" if member.live or reference.live else "no difference"
    return position(found)


class CompareRuns(CompareView):
    """One row per run where there is room; else all letters in one row, and the chosen run in another."""

    class RunPicked(Message):
        """A click selects a run."""

        def __init__(self, index: int) -> None:
            super().__init__()
            self.index = index

    def rows(self, width: int, height: int) -> list[TextRow]:
        members = self.compare.members
        if width < _LISTED:
            rows = [self._legend(width), self._chosen(width)]
        elif height >= len(members) + 1:
            rows = [self._head(width), *(self._line(m, width) for m in members)]
        else:
            rows = [self._legend(width), self._chosen(width)]
        return [*rows, *(self.row(width).filled() for _ in range(height - len(rows)))][:height]

    def _head(self, width: int) -> TextRow:
        row = self.row(width).add(f"    {'run':<{self._name_width(width)}}", "dim")
        row.add(f"{'state':<{_STATE}}{'steps':<{_STEPS}}", "dim")
        row.add(f"{'first difference':<{_PARTING}}", "dim")
        for _, label in self._values(width):
            row.add(f"{fit(label, _VALUE):>{_VALUE}} ", "dim")
        return row.add("fair pair", "dim").filled()

    def _name_width(self, width: int) -> int:
        return _NAME if width < 150 else _NAME + 14

    def _values(self, width: int) -> list[tuple[str, str]]:
        """Metrics that are read out, as many as leave room for the notes on fairness."""
        together = self.compare.together
        room = width - 4 - self._name_width(width) - _STATE - _STEPS - _PARTING - 30
        shown = [s for name in self.compare.shown if together and (s := together.series(name))]
        return [(s.name, clean(s.label, 20).split()[-1]) for s in shown[: max(0, room // (_VALUE + 1))]]

    def _line(self, member: Member, width: int) -> TextRow:
        deck = self.compare
        row = self.row(width)
        self._mark(row, member)
        name = self._name_width(width)
        row.add(f"{fit(member.name, name - 1):<{name}}", "" if member.shown else "dim")
        alert = bool(member.problem) or member.status in ("failed", "interrupted", "stalled")
        row.add(f"{fit(member.status, _STATE - 1):<{_STATE}}", "alert" if alert else "label")
        steps = f"{member.run.steps}/{member.planned}" if member.run else ""
        row.add(f"{fit(steps, _STEPS - 1):<{_STEPS}}", "label")
        divergence = deck.divergence(member)
        row.add(f"{fit(differs(member, deck.reference, divergence), _PARTING - 1):<{_PARTING}}", "label")
        for metric, _ in self._values(width):
            values = deck.values(metric).get(member.index)
            value = float(values[deck.cursor]) if values is not None and deck.cursor < len(values) else math.nan
            row.add(f"{number(value) if values is not None else '':>{_VALUE}} ", member.role)
        text, role = self._note(member)
        return row.add(text, role).filled()

    def _mark(self, row: TextRow, member: Member) -> None:
        """Whether it is chosen, its letter, and whether it is the reference or hidden."""
        deck = self.compare
        chosen = member.index == deck.selected
        row.add(">" if chosen else " ", "key")
        row.add(member.letter, "here" if chosen else member.role)
        row.add("* " if member is deck.reference else "  " if member.shown else "h ", "key")

    def _note(self, member: Member) -> tuple[str, str]:
        """Whether it is a fair pair, or what keeps it from being compared."""
        deck = self.compare
        if member.problem:
            return clean(member.problem, 300), "alert"
        if member.run is None:
            return "being read", "dim"
        together = deck.together
        if together is not None and member not in together.members:
            yet = " yet" if member.live else ""
            return f"no {deck.stream} in stage {deck.stage_index}{yet}", "alert"
        damaged = "damaged, see: ltxtui runs check; " if member.run.damage else ""
        if member is deck.reference:
            return f"{damaged}reference", "alert" if damaged else "dim"
        notes = [reason.setting for reason in deck.pair(member).reasons]
        hidden = "" if member.shown else "hidden; "
        return damaged + hidden + (
            "no: " + "; ".join(notes) if notes else "yes"
        ), "alert" if notes or damaged else "dim"

    def _legend(self, width: int) -> TextRow:
        """All runs in one row, names as long as there is room."""
        deck, row = self.compare, self.row(width)
        room = width // len(deck.members) - 5
        for member in deck.members:
            self._mark(row, member)
            name = fit(member.name, room) if room >= _SHORTEST else ""
            row.add(f"{name} " if name else "", "" if member.shown else "dim")
        return row.filled()

    def _chosen(self, width: int) -> TextRow:
        deck = self.compare
        member, reference = deck.members[deck.selected], deck.reference
        row = self.row(width).add(f"{member.letter} ", member.role)
        if width // len(deck.members) - 5 < _SHORTEST:
            row.add(f"{fit(member.name, width // 3)} ")
        row.add(member.status, "label")
        if member.run is not None:
            row.add(f" {member.run.steps}/{member.planned}", "label")
        divergence = deck.divergence(member)
        if text := differs(member, reference, divergence):
            row.add(f" · differs: {text}" if divergence else f" · {text}", "label")
        text, role = self._note(member)
        fair = member.run is not None and not member.problem and member is not reference
        row.add(" · fair pair " if fair and member in self._compared() else " · ", "dim")
        return row.add(text, role).filled()

    def _compared(self) -> Sequence[Member]:
        together = self.compare.together
        return together.members if together else ()

    def on_click(self, event: events.Click) -> None:
        members = self.compare.members
        listed = self.size.height > len(members) and self.size.width >= _LISTED
        index = event.y - 1 if listed else event.x * len(members) // max(1, self.size.width)
        if 0 <= index < len(members):
            self.post_message(self.RunPicked(index))
