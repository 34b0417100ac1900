"""Where runs leave the reference: found once for each pair, and put into words."""

from __future__ import annotations

from ltxtui.compare.member import Member
from ltxtui.plot.text import clean
from replay.comparison import run_differences
from replay.comparison.run_differences import Divergence
from replay.model.prompts import prompt_text


class Partings:
    """First differences of pairs of runs.

    Rows are never changed once they are there, so a first difference that was found stays; only pairs without one are
    looked at again when a run has grown.
    """

    def __init__(self, tolerance: float = 0.0) -> None:
        """`tolerance` is the relative difference up to which rows count as the same; 0 is bit for bit."""
        self._tolerance = tolerance
        self._found: dict[tuple[int, int], Divergence] = {}
        self._none_at: dict[tuple[int, int], tuple[int, int]] = {}

    def between(self, reference: Member, member: Member) -> Divergence | None:
        """The first row in which a run is not the reference, in any scalar metric; None if no row differs so far."""
        pair = reference.index, member.index
        if pair in self._found or reference.run is None or member.run is None:
            return self._found.get(pair)
        versions = reference.run.version, member.run.version
        if self._none_at.get(pair) != versions:
            runs = [reference.run, member.run]
            found = run_differences.divergences(runs, None, self._tolerance)[0]
            if found is not None:
                self._found[pair] = found
            self._none_at[pair] = versions
        return self._found.get(pair)


def place(parting: Divergence) -> str:
    """Where it is, short."""
    return f"stage {parting.stage} step {parting.step}"


def told(parting: Divergence, member: Member, reference: Member) -> str:
    """A first difference in a sentence."""
    where = f"{member.letter} first differs from {reference.letter} in stage {parting.stage}, step {parting.step}"
    if parting.metric is None:
        return f"{where}: only one has it"
    stream = clean(parting.stream, 20)
    return f"{where}, {stream}: {clean(parting.metric, 60)} is {parting.value:.6g}, not {parting.reference:.6g}"


def setting(mismatch: run_differences.Mismatch) -> str:
    """A setting that differs from the reference's, with both values."""
    if mismatch.what == "seed" and mismatch.reference is None and mismatch.value is None:
        return "no seed recorded"
    if mismatch.what == "start noise":
        return f"same seed, other start noise ({clean(mismatch.value, 20)})"
    what, value, reference = clean(mismatch.what, 60), mismatch.value, mismatch.reference
    if isinstance(value, list) and isinstance(reference, list) and len(value) == len(reference):
        # Of a batch only the first clip that differs: its whole list would be cut before that.
        at = next((n for n, (one, other) in enumerate(zip(value, reference, strict=True)) if one != other), 0)
        what, value, reference = f"{what} [{at}]", value[at], reference[at]
    return f"{what} {_value(value)}, not {_value(reference)}"


def _value(value: object) -> str:
    return "none" if value is None else clean(prompt_text(value), 60) or "empty"
