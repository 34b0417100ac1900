"""The rules as docs/findings.md has them, from their declarations, and what they saw in healthy runs, from a file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from recorder.findings.rule import Rule
from recorder.findings.rules import RULES

_BASES: Final = {
    "physics": "follows from the definition of the process",
    "bookkeeping": "what was asked against what was recorded",
    "measured": "measured on runs of the nano model",
}


def rules() -> str:
    """Every rule by family: sentence, formula, reason of the bound, and what to try."""
    by_family: dict[str, list[Rule]] = {}
    for rule in RULES:
        by_family.setdefault(rule.family, []).append(rule)
    return "\n\n".join(
        part
        for name, found in by_family.items()
        for part in (f"### {_title(name)}", _picture(name), *map(_rule, found))
    )


def _picture(family: str) -> str:
    return f"![{_title(family)}: a right run and a faulty one]({picture_of(family)})"


def _title(family: str) -> str:
    return family[:1].upper() + family[1:]


def _rule(rule: Rule) -> str:
    lines = [
        f"#### `{rule.id}`",
        f"*{rule.severity}*: “{_plain(rule.sentence)}”",
        f"- Formula: {rule.formula}\n"
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


def picture_of(family: str) -> str:
    """The picture of a family's faulty run next to a right one, relative to the page; `make pictures` draws it."""
    return f"pictures/findings/{family.replace(' ', '-')}.svg"


def families() -> tuple[str, ...]:
    """The families in the page's order."""
    return tuple(dict.fromkeys(rule.family for rule in RULES))


def extremes(healthy: Mapping[str, Any]) -> str:
    """The lowest and highest number that every rule saw in healthy runs, as `benchmarks.healthy --write` keeps them."""
    lines = [
        f"{healthy['runs']} healthy runs, {healthy['alarms']} with a false alarm",
        "",
        "| rule | lowest | highest |",
        "| --- | ---: | ---: |",
    ]
    for found in healthy["extremes"]:
        key = f" ({found['key']})" if found["key"] else ""
        lines.append(f"| {found['rule']}{key} | {_figure(found['lowest'])} | {_figure(found['highest'])} |")
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "infinite" if value is None else f"{value:.4g}"


def rewritten(page: str, healthy: Mapping[str, Any]) -> str:
    """A page with both generated parts made again. Raises ValueError if it lacks one of them."""
    for name, text in (("rules", rules()), ("extremes", extremes(healthy))):
        part = re.compile(rf"<!-- begin {name} -->\n.*?<!-- end {name} -->", re.DOTALL)
        made = f"<!-- begin {name} -->\n\n{text}\n\n<!-- end {name} -->"
        page, count = part.subn(lambda _, made=made: made, page)  # type: ignore[misc]
        if count != 1:
            raise ValueError(f"the page has no part between <!-- begin {name} --> and <!-- end {name} -->")
    return page
