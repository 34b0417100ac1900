"""What is wrong with runs side by side: verdicts, findings that only one has, and which run is better. No Textual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from ltxtui.compare.member import Member
from ltxtui.plot.text import clean
from ltxtui.viewmodel.findings import DeckFindings, key_of
from recorder.findings.finding import Finding, Verdict
from recorder.shocks.parse import parse_shock
from recorder.shocks.spec import Shock
from replay.model.run import Run

_RANK: Final = {"ok": 0, "note": 0, "warning": 1, "error": 2}
SEEDS: Final = 16
"""How many seeds the proposed sweep has."""


class MemberFindings:
    """The findings of every member that has been read; a live run is examined at most twice a second."""

    def __init__(self) -> None:
        self._kept: dict[int, tuple[Run, DeckFindings]] = {}

    def update(self, members: Sequence[Member]) -> None:
        """Examine what has come since."""
        for member in members:
            if member.run is None:
                continue
            kept = self._kept.get(member.index)
            if kept is None or kept[0] is not member.run:
                kept = self._kept[member.index] = member.run, DeckFindings(member.run)
            if not member.live or kept[1].due == 0:
                kept[1].update()

    def of(self, member: Member) -> list[Finding]:
        """Worst first; empty for a run that is still being read."""
        kept = self._kept.get(member.index)
        return kept[1].found if kept else []

    def verdict(self, member: Member) -> Verdict | None:
        """None for a run that has no row yet."""
        kept = self._kept.get(member.index)
        return kept[1].verdict if kept and kept[0].steps else None


def only_in(found: Sequence[Finding], others: Sequence[Finding]) -> list[Finding]:
    """The findings that the other run does not have, by rule, stage, stream and clip."""
    known = {key_of(f) for f in others}
    return [f for f in found if key_of(f) not in known]


def better(verdicts: Sequence[tuple[str, Verdict]]) -> str:
    """Which run is better, by their letters: one without the faults of the others, else none can be told.

    Two results that differ and have no fault differ by chance as well: one seed says nothing about the settings.
    """
    ranks = [_RANK[verdict.severity] for _, verdict in verdicts]
    if len(verdicts) < 2 or min(ranks) == max(ranks):
        return "cannot be told from one seed"
    best = " or ".join(letter for (letter, _), rank in zip(verdicts, ranks, strict=True) if rank == min(ranks))
    worse = "; ".join(
        f"{letter} has a{'n' if verdict.severity == 'error' else ''} {verdict.severity}: {clean(verdict.text, 80)}"
        for (letter, verdict), rank in zip(verdicts, ranks, strict=True)
        if rank > min(ranks)
    )
    return f"{best}; {worse}"


def way_to_find_out(runs: Sequence[Run]) -> list[str]:
    """The words of the command that tells: a sweep where the runs differ by shocks, else the first again, reseeded."""
    first = runs[0].stages[0] if runs and runs[0].stages else None
    if first is None:
        return []
    model = str(first.metadata.get("model") or "MODEL")
    steps = str(len(first.sigmas) or first.steps)
    arms = list(dict.fromkeys(text for run in runs if (text := _shock_text(run))))
    if arms:
        words = ["ltxtui", "sweep", "--model", model, "--steps", steps, "--seeds", str(SEEDS)]
        return [*words, *(word for arm in arms for word in ("--shock", arm))]
    seeds = [run.stages[0].metadata.get("seed") for run in runs if run.stages]
    another = next(seed for seed in range(1, len(seeds) + 2) if seed not in seeds)
    return ["ltxtui", "record", "--like", runs[0].name, "--seed", str(another)]


def _shock_text(run: Run) -> str:
    """The planned shocks of a run as `--shock` takes them; empty without any, or where they cannot be written so."""
    recorded = run.stages[0].metadata.get("shocks") if run.stages else None
    shocks = recorded.get("shocks") if isinstance(recorded, dict) else recorded
    if not isinstance(shocks, list) or not shocks:
        return ""
    texts = []
    for given in shocks:
        try:
            shock = Shock.from_dict(given)
            strength = "" if shock.strength_db is None else f",db={shock.strength_db:g}"
            text = f"{shock.kind}:at={shock.at}{strength}"
            if replace(shock, seed=0) != parse_shock(text):
                return ""
        except ValueError:
            return ""
        texts.append(text)
    return ";".join(texts)
