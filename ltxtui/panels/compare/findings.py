"""The first page of runs side by side: verdicts, what only one run has, settings that differ, and which is better."""

from __future__ import annotations

from collections.abc import Iterator
from textwrap import wrap

from ltxtui.compare.findings import better, only_in, way_to_find_out
from ltxtui.compare.member import Member
from ltxtui.compare.statements import first_difference
from ltxtui.panels.compare.view import CompareView
from ltxtui.panels.findings import ROLES
from ltxtui.plot.rows import TextRow
from ltxtui.plot.text import clean
from ltxtui.reports.export import shell_line
from ltxtui.reports.findings_text import place
from recorder.findings.finding import Finding
from recorder.format.numerals import counted

Piece = tuple[str, str]
_INDENT = 4


class CompareFindings(CompareView):
    """Text that PgUp and PgDn scroll."""

    def rows(self, width: int, height: int) -> list[TextRow]:
        deck, room = self.compare, max(1, height - 1)
        lines = list(self._lines(width - 1))
        pages = max(1, -(-len(lines) // room))
        deck.scrolled = min(deck.scrolled, pages - 1)
        first = deck.scrolled * room
        head = self.heading(width - 1, "Findings", f"page {deck.scrolled + 1} of {pages}" if pages > 1 else "")
        rows = [head.widened(width)]
        for pieces in lines[first : first + room]:
            row = self.row(width - 1)
            for text, role in pieces:
                row.add(text, role)
            rows.append(row.filled().widened(width))
        return [*rows, *(self.row(width).filled() for _ in range(height - len(rows)))][: max(1, height)]

    def _lines(self, width: int) -> Iterator[list[Piece]]:
        deck = self.compare
        for member in deck.members:
            yield [(f"{member.letter} ", member.role), *self._verdict(member)]
        yield from self._better(width)
        reference = deck.reference
        for member in deck.members:
            if member is reference or member.run is None or reference.run is None:
                continue
            yield []
            yield from self._pair(member, reference, width)

    def _verdict(self, member: Member) -> list[Piece]:
        """The severity in a word, the worst finding in a few, and how many there are."""
        verdict, found = self.compare.findings.verdict(member), self.compare.findings.of(member)
        if verdict is None:
            return [(clean(member.problem, 200) or "nothing to look at yet", "alert" if member.problem else "dim")]
        more: list[Piece] = [(f"  {counted(len(found), 'finding')}", "dim")] if found else []
        if verdict.severity in ("warning", "error"):
            return [(f"{verdict.severity}: {clean(verdict.text, 80)}", verdict.severity), *more]
        ended = "" if member.status in ("complete", "live") else f"  {member.status}"
        return [("ok", "good"), (ended, "alert"), *more]

    def _better(self, width: int) -> Iterator[list[Piece]]:
        known = [m for m in self.compare.members if m.run is not None]
        verdicts = [(m.letter, v) for m in known if (v := self.compare.findings.verdict(m)) is not None]
        if len(verdicts) < 2:
            return
        said = better(verdicts)
        yield from self._wrapped(f"better: {said}", "title", width, 0)
        words = way_to_find_out([m.run for m in known if m.run is not None]) if said.startswith("cannot") else []
        if words:
            yield from self._wrapped(f"to find out: {shell_line(words)}", "label", width, 0)

    def _pair(self, member: Member, reference: Member, width: int) -> Iterator[list[Piece]]:
        """What only one of two runs has, and what was asked differently."""
        deck = self.compare
        own, its = deck.findings.of(member), deck.findings.of(reference)
        for one, found in ((member, only_in(own, its)), (reference, only_in(its, own))):
            if found:
                yield [("only ", "title"), (one.letter, one.role), (":", "title")]
                for finding in found:
                    yield from self._finding(finding, one, width)
        if not only_in(own, its) and not only_in(its, own):
            same = f"{member.letter} and {reference.letter} have the same findings" if own else "no findings in either"
            yield [(same, "label")]
        pair = deck.pair(member)
        settings = [*(reason.setting for reason in pair.reasons), *pair.others]
        yield [(f"settings of {member.letter} that differ from {reference.letter}:", "title")]
        for setting in settings or ["none"]:
            yield from self._wrapped(setting, "label" if settings else "dim", width, 2)
        if divergence := deck.divergence(member):
            said = first_difference(member.letter, reference.letter, divergence)
            yield from self._wrapped(said, "label", width, 0)

    def _finding(self, finding: Finding, member: Member, width: int) -> Iterator[list[Piece]]:
        where = place(finding, member.run) if member.run is not None else ""
        said = f"{clean(finding.text, 300)}{f' ({where})' if where else ''}"
        lines = wrap(f"{'x' * len(finding.severity)} {said}", max(20, width - _INDENT))
        word: Piece = (finding.severity, ROLES[finding.severity])
        yield [("  ", ""), word, (lines[0][len(finding.severity) :], "")]
        for line in lines[1:]:
            yield [(" " * _INDENT, ""), (line, "")]

    @staticmethod
    def _wrapped(text: str, role: str, width: int, indent: int) -> Iterator[list[Piece]]:
        for n, line in enumerate(wrap(text, max(20, width - indent - 2))):
            yield [(" " * (indent + 2 * bool(n)), ""), (line, role)]
