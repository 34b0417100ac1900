"""Rules by the names that a user gives."""

from __future__ import annotations

from collections.abc import Iterable

from recorder.findings.rule import Rule
from recorder.findings.rules import BY_ID


def read_rules(names: str | Iterable[str]) -> tuple[Rule, ...]:
    """The rules of these ids, each once; a single text may name several, separated by commas.

    Raises:
        ValueError: if an id is unknown; the message lists the known ids.
    """
    given = names.split(",") if isinstance(names, str) else list(names)
    ids = dict.fromkeys(name.strip() for name in given)
    if unknown := [name for name in ids if name not in BY_ID]:
        raise ValueError(f"{unknown[0]!r} is not a rule; rules are {', '.join(sorted(BY_ID))}")
    return tuple(BY_ID[name] for name in ids)
