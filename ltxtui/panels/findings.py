"""The findings: what is wrong with the run, worst first; the selected one with its place, advice and rule."""

from __future__ import annotations

from textwrap import wrap
from typing import Final

from rich.cells import cell_len
from textual import events
from textual.message import Message

from ltxtui.panels.panel import Panel
from ltxtui.panels.view import View
from ltxtui.plot.line_plot import Style
from ltxtui.plot.rows import TextRow
from ltxtui.plot.text import clean, significant
from ltxtui.reports.export import Table
from ltxtui.reports.findings_text import place
from ltxtui.viewmodel.deck import Deck
from ltxtui.viewmodel.findings import counts_text
from recorder.findings.finding import Finding
from recorder.findings.rules import BY_ID
from recorder.format.declarations import DRIFT, DRIFT_REFERENCES
from recorder.format.numerals import counted

ID: Final = "findings"
ROLES: Final = {"error": "error", "warning": "warning", "note": "label"}
"""The role of each severity; the word is always there as well."""
_INDENT: Final = 2
_ROOMY: Final = 8
"""A list with at least this many lines leaves its last line to the drift of the clip."""
_LONGEST: Final = 400
_WITHHELD: Final = "drift withheld"

Line = tuple[int, list[tuple[str, str]]]
"""A line of the list: the place of its finding, and its pieces with their roles."""


class FindingsView(View):
    """A list that scrolls with the selected finding. Of that one as much is shown as there is room for."""

    class Picked(Message):
        """A click asks for a finding; on the one that is selected, for the step at which it begins."""

        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number

    def __init__(self, deck: Deck, style: Style, *, id: str = ID) -> None:
        super().__init__(deck, style, id=id, classes="chart")
        self._shown: list[int] = []
        """The place of the finding in each row below the title."""

    def rows(self, width: int, height: int) -> list[TextRow]:
        found, room = self.deck.findings, max(1, height - 1)
        clip = drift_text(self.deck, width - 1 - _INDENT) if room >= _ROOMY else ""
        head = self.row(width - 1).add("Findings", "title").add(" ")
        self._shown = []
        if not found.found:
            return [head.filled().widened(width), *self._none(width, room)][: max(1, height)]
        head.add(counts_text(found.found), ROLES[found.found[0].severity])
        if found.problem:
            head.add(f"  {found.problem}", "alert")
        rows = [head.filled().widened(width)]
        room -= bool(clip)
        lines = self._lines(width - 1, room)
        top = next(n for n, (number, _) in enumerate(lines) if number == found.selected)
        # The selected finding from its first line on, and as many of those before it as there is room for.
        end = top + sum(number == found.selected for number, _ in lines)
        first = max(0, min(top, max(0, end - room), len(lines) - room))
        for number, pieces in lines[first : first + room]:
            row = self.row(width - 1)
            for text, role in pieces:
                row.add(text, role)
            self._shown.append(number)
            rows.append(row.filled().widened(width))
        if clip:
            rows.append(self.row(width).add(" " * _INDENT + clip, "dim").filled())
        return [*rows, *(self.row(width).filled() for _ in range(height - len(rows)))][: max(1, height)]

    def _none(self, width: int, room: int) -> list[TextRow]:
        """Why the list is empty: nothing found by how many rules, or nothing looked at yet."""
        deck, found = self.deck, self.deck.findings
        if found.problem:
            said, role = [found.problem], "alert"
        elif not found.known or not deck.total:
            said, role = [deck.nothing if not deck.total else "looking …"], "dim"
        else:
            said, role = ["no findings so far" if deck.live else "no findings"], "good"
            said.append(f"{counted(found.rules, 'rule')} looked at the run")
            said.append(drift_text(deck, width - 4))
            if found.undecided:
                said.append(f"{counted(len(found.undecided), 'rule')} could not: their metrics are not recorded")
        lines = [(line, role if n == 0 else "dim") for n, text in enumerate(said) for line in wrap(text, width - 4)]
        above = max(0, (room - len(lines)) // 3)
        blank = [self.row(width).filled() for _ in range(above)]
        return [*blank, *(self.row(width).add("  ").add(text, role).filled() for text, role in lines)]

    def _lines(self, width: int, room: int) -> list[Line]:
        """One line per finding, several of the selected one; sentences of the others come before its rule."""
        found = self.deck.findings
        chosen = found.selected
        blocks = [self._block(f, width) if n == chosen else [self._brief(f, width)] for n, f in enumerate(found.found)]
        used = sum(map(len, blocks))
        for n, finding in enumerate(found.found):
            whole = blocks[n] if n == chosen else self._block(finding, width, chosen=False)
            if used - len(blocks[n]) + len(whole) <= room:
                used += len(whole) - len(blocks[n])
                blocks[n] = whole
        for more in _about_rule(found.found[chosen]):
            lines = [[(" " * _INDENT, ""), (line, "dim")] for line in wrap(more, max(10, width - _INDENT))]
            if used + len(lines) > room:
                break
            blocks[chosen] += lines
            used += len(lines)
        return [(n, pieces) for n, block in enumerate(blocks) for pieces in block]

    def _brief(self, finding: Finding, width: int) -> list[tuple[str, str]]:
        """One line: severity, a few words, and the place where there is room for it."""
        said = f" {clean(finding.short or finding.text, 120)}"
        pieces = [("  ", ""), (finding.severity, ROLES[finding.severity]), (said, "label")]
        where = f"  {place(finding, self.deck.run)}"
        used = sum(cell_len(text) for text, _ in pieces)
        return [*pieces, (where, "tick")] if used + cell_len(where) <= width else pieces

    def _block(self, finding: Finding, width: int, *, chosen: bool = True) -> list[list[tuple[str, str]]]:
        """The sentence, where it holds, and of the selected one what to try."""
        mark = " " if not chosen else ">" if self.ascii else "►"
        wide = max(10, width - _INDENT)
        word = finding.severity
        # The word takes the first cells of the first line.
        sentence = wrap("x" * len(word) + " " + clean(finding.text, _LONGEST), wide)
        lines = [[(f"{mark} ", "here"), (word, ROLES[word]), (sentence[0][len(word) :], "")]]
        lines += [[(" " * _INDENT, ""), (line, "")] for line in sentence[1:]]
        where = place(finding, self.deck.run)
        more = [(f"{where}" if where else "the whole run", "tick")]
        if chosen and finding.advice:
            more.append((f"try: {clean(finding.advice, _LONGEST)}", "label"))
        for text, role in more:
            lines += [[(" " * _INDENT, ""), (line, role)] for line in wrap(text, wide)]
        return lines

    def on_click(self, event: events.Click) -> None:
        if 0 < event.y <= len(self._shown):
            self.post_message(self.Picked(self._shown[event.y - 1]))


def drift_text(deck: Deck, width: int) -> str:
    """Drift and motion of the selected stage's finished clip with reference values; empty before the stage's end."""
    numbers = {} if deck.stage is None else deck.stage.summary.get("video", {})

    def of_clip(name: str) -> float | None:
        values = numbers.get(name, ())
        return values[deck.item] if deck.item < len(values) else None

    if not numbers.get(DRIFT):
        return ""
    drift, frame, motion = (of_clip(name) for name in (DRIFT, "drift_first_frame", "motion_relative"))
    if drift is None:
        return next(
            (t for t in (f"{_WITHHELD}: noise, a still, or values not finite", _WITHHELD) if len(t) <= width), ""
        )
    said = f"drift {significant(drift, 2)}" + ("" if frame is None else f" from frame {frame:.0f}")
    known = ", ".join(f"{name} {DRIFT_REFERENCES[name]:g}" for name in ("clean", "hard cut"))
    moved = "" if motion is None else f" · motion {significant(motion, 2)}"
    forms = (f"{said} ({known}){moved}", f"{said} ({known})", said)
    return next((form for form in forms if len(form) <= width), "")


def _about_rule(finding: Finding) -> list[str]:
    """The rule, its formula, and its bound with the reason."""
    rule = BY_ID.get(finding.id)
    if rule is None:
        return [f"rule: {clean(finding.id, 60)}"]
    return [f"rule: {rule.id}", f"measured: {rule.formula}", f"bound: {rule.reason} ({rule.basis})"]


def explanation(finding: Finding, deck: Deck) -> list[tuple[str, str]]:
    """Everything about a finding, as headings and texts."""
    rule = BY_ID.get(finding.id)
    numbers = ", ".join(
        f"{clean(name, 40)} {'not finite' if value is None else f'{value:.4g}'}"
        for name, value in finding.evidence.items()
    )
    found = [
        (finding.severity, clean(finding.text, _LONGEST)),
        ("where", place(finding, deck.run) or "the whole run"),
        ("try", clean(finding.advice, _LONGEST)),
        ("numbers", numbers),
        ("rule", clean(finding.id, 60)),
    ]
    if rule is not None:
        found += [("measured", rule.formula), ("bound", f"{rule.reason} ({rule.basis})")]
    return [(heading, text) for heading, text in found if text]


def table(deck: Deck) -> Table:
    """One row per finding, worst first."""
    columns = ["severity", "rule", "stage", "stream", "clip", "step", "first_frame", "last_frame", "text", "advice"]
    rows = []
    for f in deck.findings.found:
        frames = f.frames or (None, None)
        rows.append([f.severity, f.id, f.stage, f.stream, f.clip, f.step, *frames, clean(f.text), clean(f.advice)])
    return Table(columns, rows)


ABOUT: Final = (
    "What rules find wrong or unusual in all rows recorded so far, worst first: error, warning, or note, which is "
    "unusual and may be meant. Stages, clips, steps and frames are counted from 0. In this panel up and down select a "
    "finding, Enter goes to the step where it begins and marks it, and ? explains it. Those with a step are markers on "
    "the axis: F, and f for notes."
)

PANELS: Final = (Panel(ID, "Findings", lambda deck: ABOUT, lambda deck, style: FindingsView(deck, style), table),)
