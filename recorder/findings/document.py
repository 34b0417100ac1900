"""The findings of a run as its archive keeps them. `recorder.format.stored_findings` describes the document."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final

from recorder.findings.finding import Finding, Verdict, verdict_of
from recorder.findings.follow import Follower
from recorder.findings.rules import VERSION
from recorder.format.events import cut, named
from recorder.format.stored_findings import MAX_EVIDENCE, MAX_FINDINGS, MAX_SHORT, MAX_TEXT

logger = logging.getLogger(__name__)
_RARER: Final = 8
"""With many stages, findings are made again once an eighth more of them have ended: the cost stays that of the rows."""


def document(findings: Iterable[Finding], verdict: Verdict) -> dict[str, Any]:
    """What an archive keeps."""
    return {
        "version": VERSION,
        "verdict": {"severity": verdict.severity, "text": cut(verdict.text, MAX_SHORT)},
        "findings": [_kept(finding) for finding in islice(findings, MAX_FINDINGS)],
    }


def _kept(finding: Finding) -> dict[str, Any]:
    return {
        **finding.as_json(),
        "text": cut(finding.text, MAX_TEXT),
        "advice": cut(finding.advice, MAX_TEXT),
        "short": cut(finding.short, MAX_SHORT),
        "evidence": dict(islice(finding.evidence.items(), MAX_EVIDENCE)),
    }


class FindingsWriter:
    """Follows the messages of a run for its archive; never raises.

    `document` is what was found last; None where nothing could be examined.
    """

    def __init__(self) -> None:
        self._follower: Follower | None = Follower()
        self.document: dict[str, Any] | None = None
        self._ended = self._next = 0

    def feed(self, message: Mapping[str, Any]) -> None:
        """Take in one message."""
        try:
            if self._follower is not None:
                self._follower.feed(message)
        except Exception as error:  # noqa: BLE001 - an archive is worth more than what is said of it
            self._fail(error)

    def stage_ends(self) -> bool:
        """Make the findings again at the end of a stage, unless very many stages end; whether they were made."""
        self._ended += 1
        if self._ended < self._next:
            return False
        self._next = self._ended + self._ended // _RARER + 1
        self.update()
        return True

    def update(self) -> None:
        """Make the findings again."""
        try:
            if self._follower is not None:
                found = self._follower.findings()
                self.document = document(found, verdict_of(found))
        except Exception as error:  # noqa: BLE001
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        logger.warning("the run is not examined for findings: %s", named(error))
        self._follower, self.document = None, None
