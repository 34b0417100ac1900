"""What a power cut left of a run, and whether that is what was promised."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.disks import mounted
from recorder.format import paths
from recorder.journal.journal import is_being_written
from replay.integrity.check import check
from replay.integrity.repair import CannotRepair, repair
from replay.library import listing
from replay.model.run import NotARun
from replay.sources.open import load


@dataclass
class Cut:
    """One moment: the clone of the image, and what was known when it was made."""

    image: Path
    moment: float
    """Seconds since the first step."""
    phase: str
    had: dict[tuple[int, str], int]
    """Rows that the viewer had by then, by stage and stream."""
    settled: bool
    """Whether the journal was gone from the file system by then, and the archive there."""


@dataclass
class Verdict:
    """What a cut left."""

    rows: dict[tuple[int, str], int]
    kind: str
    """`archive`, `both`, `journal` or `nothing`."""
    broken: list[str] = field(default_factory=list)
    """What is not as it was promised."""


@dataclass
class Trial:
    """One recording on a file system of its own, and its cuts."""

    fs: str
    sync: bool
    image: Path
    mount: Path
    process: subprocess.Popen[str] | None = None
    run: Path | None = None
    viewer: Any = None
    rows: dict[tuple[int, str], list[bytes]] = field(default_factory=dict)
    began: float | None = None
    ended: float | None = None
    cuts: list[Cut] = field(default_factory=list)
    due: list[float] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.fs} {'sync' if self.sync else 'plain'}"


def judge(trial: Trial, made: Cut, place: Path) -> Verdict:
    """Mount a clone, and see what readers and `repair` make of it."""
    assert trial.run is not None
    run = place / "runs" / trial.run.name
    with mounted(trial.fs, made.image, place, "nouuid" if trial.fs == "xfs" else ""):
        archive, journal = run.exists(), run.with_suffix(".journal").exists()
        kind = {(True, True): "both", (True, False): "archive", (False, True): "journal"}.get(
            (archive, journal), "nothing"
        )
        verdict = Verdict({}, kind)
        if kind != "nothing":
            look_at(trial, run, verdict)
    return verdict


def look_at(trial: Trial, run: Path, verdict: Verdict) -> None:
    """List, open and check a run, repair it, and compare its rows with those that the viewer had."""
    assert not is_being_written(run.with_suffix(".journal"))
    listed = listing.list_runs(run.parent)
    report = check(run)
    if verdict.kind == "archive" and report.status == "complete" and not report.sound:
        verdict.broken.append(f"complete but not sound: {report.problems[0]}")
    try:
        found = load(run)
        if not listed:
            verdict.broken.append("can be opened and is not listed")
    except (NotARun, OSError):
        found = None
    with suppress(CannotRepair):
        repair(run)
        if not check(run).sound:
            verdict.broken.append("not sound after it was repaired")
    with suppress(NotARun, OSError):
        found = load(run)
    for stage in found.stages if found is not None else ():
        for name, stream in stage.streams.items():
            key = (stage.index, name)
            verdict.rows[key] = stream.rows
            for ours, theirs in zip(stream.data, trial.rows.get(key, []), strict=False):
                if ours.tobytes() != theirs:
                    verdict.broken.append(f"another row of {paths.stream(*key)} than the viewer had")
                    break


def missing(had: dict[tuple[int, str], int], rows: dict[tuple[int, str], int]) -> int:
    """Rows that were had and are not there."""
    return sum(max(0, count - rows.get(key, 0)) for key, count in had.items())


def promised(sync: bool, made: Cut, rows: dict[tuple[int, str], int], before: int) -> list[str]:
    """What of the promises on rows a cut breaks; `before` is how many rows an earlier cut had left."""
    broken = []
    lost, there = missing(made.had, rows), sum(rows.values())
    if lost and sync:
        broken.append(f"{lost} rows that a viewer had are missing, with sync")
    elif lost and made.settled:
        broken.append(f"{lost} rows are missing though the journal was gone")
    if there < before:
        broken.append(f"{there} rows, {before} at an earlier cut")
    return broken


def table(trials: list[Trial], verdicts: dict[str, list[Verdict]]) -> list[str]:
    """A line per recording."""
    heads = ("file system", "sync", "cuts", "after the end", "viewer had", "missing", "archive alone", "with journal")
    heads += ("journal alone", "nothing yet", "worst loss")
    lines = [heads]
    for trial in trials:
        found = verdicts[trial.name]
        pairs = list(zip(trial.cuts, found, strict=True))
        losses = [missing(c.had, v.rows) for c, v in pairs]
        kinds = [v.kind for v in found]
        after = sum(c.phase == "after" for c in trial.cuts)
        counts = (kinds.count("archive"), kinds.count("both"), kinds.count("journal"), kinds.count("nothing"))
        had = sum(sum(c.had.values()) for c in trial.cuts)
        row = (trial.fs, "yes" if trial.sync else "no", len(pairs), after, had, sum(losses), *counts)
        lines.append(tuple(map(str, (*row, f"{max(losses, default=0)} rows"))))
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
