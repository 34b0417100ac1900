"""One of the runs that are compared: where it comes from, how far it is, and whether it is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ltxtui.plot.text import clean
from recorder.format.locations import run_name
from replay.comparison import MAX_RUNS
from replay.comparison.compare import letter
from replay.model.pulse import Stall
from replay.model.run import Run
from replay.sources.open import Liveness


@dataclass(eq=False)
class Member:
    """A run by its place: the first is A. `run` is None until it has been read."""

    index: int
    path: Path | None = None
    run: Run | None = None
    liveness: Liveness = Liveness.FINISHED
    stall: Stall | None = None
    """Why a live run makes no progress, and for how long."""
    note: str = ""
    """A note of its source, such as on a truncated end."""
    problem: str = ""
    """Why it could not be read, or why reading stopped."""
    shown: bool = True

    @property
    def letter(self) -> str:
        return letter(self.index)

    @property
    def role(self) -> str:
        """The role of its colour."""
        return f"run{self.index + 1}"

    @property
    def name(self) -> str:
        """Its recorded name, as harmless text; its file's name until that is known."""
        return (
            clean(self.run.name if self.run else "", 200)
            or clean(run_name(self.path) if self.path else "", 200)
            or "run"
        )

    @property
    def loading(self) -> bool:
        return self.run is None and not self.problem

    @property
    def live(self) -> bool:
        return self.run is not None and self.liveness is Liveness.LIVE

    @property
    def status(self) -> str:
        """One word: opening, unreadable, live, stalled, unfinished, or as it ended."""
        if self.run is None:
            return "unreadable" if self.problem else "opening"
        if self.live:
            return "stalled" if self.stall else "live"
        return clean(self.run.end.get("status", "ended"), 20) if self.run.end else "unfinished"

    @property
    def planned(self) -> int:
        """Steps over all stages so far announced."""
        return sum(max(len(s.sigmas), s.steps) for s in self.run.stages) if self.run else 0


def members(given: list[Path | Run]) -> list[Member]:
    """Members in the order given; a Run is taken as it is, a path is still to be read.

    Raises:
        ValueError: if there are fewer than two or more than `MAX_RUNS`.
    """
    if not 2 <= len(given) <= MAX_RUNS:
        raise ValueError(f"2 to {MAX_RUNS} runs can be compared on the screen, not {len(given)}")
    return [
        Member(i, run=g, liveness=Liveness.FINISHED if g.end else Liveness.UNFINISHED)
        if isinstance(g, Run)
        else Member(i, path=g)
        for i, g in enumerate(given)
    ]
