"""Where runs leave the reference: found once for each pair."""

from __future__ import annotations

from ltxtui.compare.member import Member
from replay.comparison import run_differences
from replay.comparison.run_differences import Divergence


class Divergences:
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
