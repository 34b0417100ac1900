"""Findings that an archive keeps, as read from files that are not trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from recorder.findings.finding import SEVERITIES, Finding, Severity, Verdict
from recorder.format.stored_findings import ATTRIBUTE, MAX_EVIDENCE, MAX_FINDINGS, MAX_SHORT, MAX_TEXT
from replay.model import validation
from replay.model.validation import NotARun

_ID_CHARACTERS: Final = 80
_MOST: Final = 1 << 40


@dataclass(frozen=True)
class StoredFindings:
    """What an archive keeps of the findings of its run; `version` is that of the rules."""

    version: int
    verdict: Verdict
    findings: tuple[Finding, ...]


def read(attributes: Mapping[str, Any]) -> StoredFindings | None:
    """The findings in an archive's root attributes; None if there are none, or they are not as the format says."""
    found = attributes.get(ATTRIBUTE)
    if not isinstance(found, Mapping):
        return None
    try:
        version = validation.read_int(found["version"], "the rules' version")
        findings = found["findings"]
        if not isinstance(findings, list) or len(findings) > MAX_FINDINGS:
            return None
        return StoredFindings(version, verdict(found["verdict"]), tuple(_finding(one) for one in findings))
    except (KeyError, NotARun, TypeError):
        return None


def stored_verdict(attributes: Mapping[str, Any], version: int) -> Verdict | None:
    """The verdict alone, if it is of that version of the rules or a later one; else None."""
    found = attributes.get(ATTRIBUTE)
    try:
        known = isinstance(found, Mapping) and validation.read_int(found["version"], "the rules' version") >= version
        return verdict(found["verdict"]) if known and isinstance(found, Mapping) else None
    except (KeyError, NotARun, TypeError):
        return None


def verdict(value: Any) -> Verdict:
    """Raises NotARun, KeyError or TypeError if it is not one."""
    severity = value["severity"]
    if severity not in ("ok", *SEVERITIES):
        raise NotARun("a verdict's severity is not one")
    return Verdict(severity, _text(value["text"], MAX_SHORT))


def _finding(value: Any) -> Finding:
    severity, frames = value["severity"], value["frames"]
    if severity not in SEVERITIES:
        raise NotARun("a finding's severity is not one")
    if frames is not None and (not isinstance(frames, list) or len(frames) != 2):
        raise NotARun("a finding's frames are not two")
    return Finding(
        id=_text(value["id"], _ID_CHARACTERS),
        severity=cast(Severity, severity),
        text=_text(value["text"], MAX_TEXT),
        stage=_index(value["stage"]),
        stream=None if value["stream"] is None else validation.read_name(value["stream"], "a finding's stream"),
        clip=_index(value["clip"]),
        step=_index(value["step"]),
        frames=None if frames is None else (_whole(frames[0]), _whole(frames[1])),
        evidence=_evidence(value["evidence"]),
        advice=_text(value["advice"], MAX_TEXT),
        short=_text(value["short"], MAX_SHORT),
    )


def _text(value: Any, most: int) -> str:
    return validation.read_text(value, "a text of a finding")[: most + 1]


def _whole(value: Any) -> int:
    return validation.read_int(value, "a place of a finding", most=_MOST)


def _index(value: Any) -> int | None:
    return None if value is None else _whole(value)


def _evidence(value: Any) -> dict[str, float | None]:
    if not isinstance(value, Mapping) or len(value) > MAX_EVIDENCE:
        raise NotARun("a finding's evidence is not an object of a few numbers")
    found: dict[str, float | None] = {}
    for name, number in value.items():
        known = None if number is None else validation.read_number(number, "a finding's evidence")
        found[_text(name, _ID_CHARACTERS)] = known if known is not None and math.isfinite(known) else None
    return found
