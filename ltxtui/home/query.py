"""The filter's query, and which runs match it."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Final

from ltxtui.home.columns import HERE
from recorder.format.numerals import real
from replay.library.run_info import RunInfo

HELP: Final = "words · #tag · -not · status:live · verdict:nan · drift>0.2 · shocks>0 · steps<20 · time>60"

Test = Callable[[RunInfo, str], bool]

_NUMBERS: Final[dict[str, Callable[[RunInfo], float | None]]] = {
    "drift": lambda r: r.drift,
    "shocks": lambda r: r.shocks,
    "steps": lambda r: r.steps,
    "stages": lambda r: r.stages,
    "time": lambda r: r.seconds,
    "size": lambda r: r.bytes / 1e6,
}
_TEXTS: Final[dict[str, Callable[[RunInfo], str]]] = {
    "status": lambda r: r.standing,
    "verdict": lambda r: "" if r.verdict is None else f"{r.verdict.severity} {r.verdict.text}",
    "model": lambda r: r.model,
    "name": lambda r: r.name,
    "host": lambda r: r.host or HERE,
    "prompt": lambda r: r.prompt,
}
_COMPARED: Final = re.compile(r"^([a-z]+)(>=|<=|>|<|=)(-?[0-9.]+)$")
_NAMED: Final = re.compile(r"^([a-z]+):(.+)$")
_SIGNS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">": operator.gt, "<": operator.lt, ">=": operator.ge, "<=": operator.le, "=": operator.eq,
}  # fmt: skip


def searched(run: RunInfo) -> str:
    """The text of a run in which plain words are searched, besides its name and its prompt: many runs have the same."""
    verdict = "" if run.verdict is None else run.verdict.text
    return "\n".join((run.host, run.model, run.standing, verdict, *(f"#{t}" for t in run.tags))).casefold()


def parse(query: str) -> list[Test]:
    """Tests of a run and its searched text; a run is shown if all hold. An incomplete test is a plain word."""
    return [_not(_test(word[1:])) if word[0] == "-" and len(word) > 1 else _test(word)
            for word in query.casefold().split()]  # fmt: skip


def _is_number(text: str) -> bool:
    try:
        real(text)
    except ValueError:
        return False
    return True


def _not(test: Test) -> Test:
    return lambda run, text: not test(run, text)


def _test(word: str) -> Test:
    if word.startswith("#") and len(word) > 1:
        return lambda run, text: any(t.casefold().startswith(word[1:]) for t in run.tags)
    if (found := _COMPARED.match(word)) and found[1] in _NUMBERS and _is_number(found[3]):
        value, sign, limit = _NUMBERS[found[1]], _SIGNS[found[2]], real(found[3])
        return lambda run, text: (known := value(run)) is not None and sign(known, limit)
    if (found := _NAMED.match(word)) and found[1] in _TEXTS:
        named, part = _TEXTS[found[1]], found[2]
        return lambda run, text: part in named(run).casefold()
    return lambda run, text: word in text or word in run.name.casefold() or word in run.prompt.casefold()
