"""The rules as docs/findings.md has them, generated from their declarations."""

from __future__ import annotations

import re
from typing import Final

from recorder.findings.rule import Rule
from recorder.findings.rules import RULES

PART: Final = re.compile(r"<!-- begin rules -->\n.*?<!-- end rules -->", re.DOTALL)
_BASES: Final = {
    "physics": "follows from the definition of the process",
    "bookkeeping": "what was asked against what was recorded",
    "measured": "measured on runs of the nano model",
}


def rules() -> str:
    """Every rule by family: sentence, formula, reason of the bound, and what to try."""
    families: dict[str, list[Rule]] = {}
    for rule in RULES:
        families.setdefault(rule.family, []).append(rule)
    return "\n\n".join(part for name, found in families.items() for part in (f"### {_title(name)}", *map(_rule, found)))


def _title(family: str) -> str:
    return family[:1].upper() + family[1:]


def _rule(rule: Rule) -> str:
    lines = [
        f"#### `{rule.id}`",
        f"*{rule.severity}*: “{_plain(rule.sentence)}”",
        f"- Formula: {_plain(rule.formula)}\n"
        f"- Bound: {rule.reason} ({_BASES[rule.basis]})\n"
        f"- Try: {_plain(rule.advice) if rule.advice != '{cure}' else 'the finding names it'}"
        + (f"\n- A note where one of these is found in the same stage: {_listed(rule.follows)}" if rule.follows else "")
        + (f"\n- Needs: {_listed(rule.needs)}" if rule.needs else ""),
    ]
    return "\n\n".join(lines)


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _plain(template: str) -> str:
    """A template with its fields by name: `{value:.2g}` becomes ⟨value⟩."""
    text = re.sub(r"(?<!\{)\{(\w+)(?::[^{}]*)?\}(?!\})", r"⟨\1⟩", template)
    return text.replace("{{", "{").replace("}}", "}")


def rewritten(page: str) -> str:
    """A page with the generated part made again. Raises ValueError if it has no such part."""
    made, count = PART.subn(lambda _: f"<!-- begin rules -->\n\n{rules()}\n\n<!-- end rules -->", page)
    if count != 1:
        raise ValueError("the page has no part between <!-- begin rules --> and <!-- end rules -->")
    return made
