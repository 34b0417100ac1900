"""What is new in a run: it has ended, failed, become NaN, stalled, or has a finding; each once per run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from recorder.findings.finding import SEVERITIES, Finding, Verdict, verdict_of
from recorder.format import locations
from replay.findings import RunFindings
from replay.model.pulse import Stall
from replay.model.run import Run

Event = Literal["done", "failed", "nan", "stalled", "finding"]
NAN_RULE: Final = "not-finite"
_STATES: Final = frozenset({"run-failed", "run-interrupted", "recorder-lost", "stalled"})
"""Rules about the run's state, of which `failed` and `stalled` are events of their own."""
_RINGING: Final = frozenset({"done", "failed", "nan", "stalled"})


@dataclass(frozen=True)
class Alert:
    """One event of a run.

    Attributes:
        archive: the path of the run's archive; empty if it is not known.
        status: how the run ended, `unfinished` if it did so without an end; empty before.
        finding: of the events `nan` and `finding`.
    """

    event: Event
    run: str
    archive: str
    verdict: Verdict
    finding: Finding | None = None
    status: str = ""

    @property
    def rings(self) -> bool:
        """Whether it is worth a bell."""
        return self.event in _RINGING

    @property
    def is_note(self) -> bool:
        """Whether it is a finding that may be meant; commands are not run for it."""
        return self.finding is not None and self.finding.severity == "note"

    @property
    def text(self) -> str:
        """What happened, in a few words without the run's name."""
        if self.finding is not None:
            return self.finding.short or self.finding.text
        if self.event == "done":
            return "done" if self.verdict.text == "ok" else f"done: {self.verdict.text}"
        return self.verdict.text if self.event == "stalled" else self.status

    def as_json(self) -> dict[str, Any]:
        """As the command of `--notify` gets it."""
        return {
            "event": self.event,
            "run": self.run,
            "archive": self.archive,
            "verdict": self.verdict.as_json(),
            "finding": None if self.finding is None else self.finding.as_json(),
        }


class AlertLog:
    """The events of one run that grows; asked for what is new whenever something has changed.

    A rule gives one event per run, and a second one if its finding becomes worse.
    """

    def __init__(self, run: Run, findings: RunFindings | None = None, archive: str = "") -> None:
        """`findings` of the same run are shared; `archive` is its path where its header does not say it."""
        self._findings = findings
        self._run = run
        self._archive = archive
        self._given: set[str] = set()
        self._ranks: dict[str, int] = {}

    @property
    def findings(self) -> RunFindings:
        """The findings of the run, examined here unless they are shared."""
        if self._findings is None:
            self._findings = RunFindings(self._run)
        return self._findings

    @property
    def archive(self) -> str:
        """The path of the run's archive; empty if it is not known."""
        return self._archive or str(locations.told_archive(self._run.header.get("archive")) or "")

    def update(
        self, found: Sequence[Finding] | None = None, *, stall: Stall | None = None, over: bool = False
    ) -> list[Alert]:
        """What is new; `over` once nothing more will come of the run.

        `found` are the findings where somebody else examines the run, such as the dashboard's deck.
        """
        found = self.findings.update() if found is None else found
        verdict = verdict_of(found)
        news = [self._of("nan" if f.id == NAN_RULE else "finding", verdict, f) for f in found if self._is_new(f)]
        end = self._run.end
        if end is not None or over:
            status = str(end.get("status", "")) if end is not None else "unfinished"
            if self._first("end"):
                news.append(self._of("done" if status == "complete" else "failed", verdict, status=status))
        elif stall is not None and self._first("stalled"):
            stalled = Verdict("warning", f"stalled {stall.seconds:.0f} s")
            news.append(self._of("stalled", verdict if verdict.severity == "error" else stalled))
        return news

    def _of(self, event: Event, verdict: Verdict, finding: Finding | None = None, status: str = "") -> Alert:
        return Alert(event, self._run.name, self.archive, verdict, finding, status)

    def _is_new(self, finding: Finding) -> bool:
        if finding.id in _STATES:
            return False
        rank = SEVERITIES.index(finding.severity)
        new = rank > self._ranks.get(finding.id, -1)
        self._ranks[finding.id] = max(rank, self._ranks.get(finding.id, -1))
        return new

    def _first(self, event: str) -> bool:
        new = event not in self._given
        self._given.add(event)
        return new
