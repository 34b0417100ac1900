"""The paired table of runs side by side: summaries of each stage, their differences, and whether the pair is fair."""

from __future__ import annotations

from textwrap import wrap
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ltxtui.compare.aligned import AlignedRuns
from ltxtui.compare.deck import CompareDeck
from ltxtui.compare.statements import difference_text, first_difference, table_rows, value_text
from ltxtui.panels.compare.view import CompareView
from ltxtui.plot.rows import TextRow
from ltxtui.plot.text import clean, fit
from recorder.format.declarations import DRIFT, drift_hint
from recorder.format.numerals import counted

_LABEL: Final = 22
_CELL: Final = 10


def notes(deck: CompareDeck) -> list[tuple[int, str, bool]]:
    """Notes on pairs and shocks: index of the run, text, and whether it is a warning."""
    found = []
    reference = deck.reference
    for member in deck.members:
        run, letter = member.run, member.letter
        if member.problem:
            found.append((member.index, f"{letter} {clean(member.problem, 300)}", True))
        elif member.note:
            found.append((member.index, f"{letter}: {clean(member.note, 300)}", True))
        if run is None:
            continue
        if member is not reference and reference.run is not None:
            pair = deck.pair(member)
            found.append((member.index, f"{pair.title}:" if pair.reasons else pair.title, bool(pair.reasons)))
            found += [(member.index, f"  {reason.setting} ({reason.cure})", True) for reason in pair.reasons]
            if divergence := deck.divergence(member):
                found.append((member.index, first_difference(letter, reference.letter, divergence), False))
            if pair.others:
                found.append((member.index, f"{letter} other settings: {'; '.join(pair.others)}", False))
        shocks = (clean(e.get("text", ""), 200) for e in run.events if e.get("kind") == "shock")
        found += [(member.index, f"{letter} shock: {text}", False) for text in shocks]
    return found


class CompareTable(CompareView):
    """Values of all runs and differences to the reference: side by side where that fits, else one below the other."""

    def rows(self, width: int, height: int) -> list[TextRow]:
        full, width = width, width - 1
        head, body = self.heading(width, "Summary", f"stage {self.compare.stage_index}"), self._body(width)
        room = max(1, height - 1)
        turned = max(1, room - 1)  # the line that says how many rows follow takes one of every page but the last
        self.compare.scrolled = min(self.compare.scrolled, max(0, -(-(len(body) - room) // turned)))
        first = self.compare.scrolled * turned
        shown = body[first : first + room]
        if first + room < len(body):
            more = len(body) - first - room + 1
            way = "PgDn" if self.compare.face == "table" else "Tab, then PgDn"
            shown[-1] = self.row(width).add(f"… {counted(more, 'more row')}: {way}", "dim")
        blank = [self.row(width) for _ in range(height - 1 - len(shown))]
        return [row.widened(full) for row in (head, *shown, *blank)][: max(1, height)]

    def needed(self, width: int) -> int:
        """Rows that the table takes with its heading, without the notes."""
        together = self.compare.together
        return 2 + len(self._tables(together, width - 1)) if together else 2

    def _body(self, width: int) -> list[TextRow]:
        together = self.compare.together
        if together is None:
            rows = [self.row(width).add(clean(self.compare.why, 200), "dim")]
        else:
            rows = self._tables(together, width)
            if not together.comparison.summaries:
                rows.append(self.row(width).add("summaries follow when the stage has ended in a run", "dim"))
        for index, text, alert in notes(self.compare):
            for n, line in enumerate(wrap(text, max(20, width - 2))):
                role = self.compare.members[index].role
                row = self.row(width).add("  " if n else "", "")
                start, rest = ("", line) if n else (line[:1], line[1:])
                rows.append(row.add(start, role).add(rest, "alert" if alert else "label"))
        return rows

    def _tables(self, together: AlignedRuns, width: int) -> list[TextRow]:
        side = max(_CELL, min(_LABEL, width - 3 * _CELL))
        room = max(1, (width - side - _CELL) // (2 * _CELL))
        rows = []
        for start in range(1, len(together.members), room):
            block = range(start, min(start + room, len(together.members)))
            rows.append(self._names(together, block, side, width))
            rows += [
                self._line(label, values, together, block, side, width)
                for label, values in table_rows(together.comparison)
            ]
        if any(row.name == DRIFT for row in together.comparison.summaries):
            hint = wrap(f"drift: {drift_hint()}", max(20, width - 2), subsequent_indent="  ")
            rows += [self.row(width).add(line, "dim") for line in hint]
        return rows

    def _names(self, together: AlignedRuns, block: range, side: int, width: int) -> TextRow:
        reference = together.reference
        row = self.row(width).add(" " * side).add(f"{reference.letter:>{_CELL}}", reference.role)
        for i in block:
            member = together.members[i]
            row.add(f"{member.letter:>{_CELL}}", member.role)
            row.add(f"{member.letter + '−' + reference.letter:>{_CELL}}", member.role)
        return row

    def _line(
        self, label: str, values: NDArray[np.float64], together: AlignedRuns, block: range, side: int, width: int
    ) -> TextRow:
        row = self.row(width).add(f"{fit(label, side - 1):<{side}}", "label")
        row.add(f"{value_text(float(values[0])):>{_CELL}}", together.reference.role)
        for i in block:
            row.add(f"{value_text(float(values[i])):>{_CELL}}", together.members[i].role)
            row.add(f"{difference_text(float(values[i] - values[0])):>{_CELL}}", "label")
        return row
