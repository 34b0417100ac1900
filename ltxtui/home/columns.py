"""The columns of the list of runs: their texts, sort keys, and which fit into a width."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ltxtui.plot.text import ago, duration, number, size
from recorder.findings.finding import Verdict
from recorder.format.run_status import noise_percent
from replay.library.run_info import RunInfo

Key = str | float | None
"""What a column sorts by; None comes last in either direction."""


@dataclass(frozen=True)
class Column:
    """One column. `rank` is its importance: columns of the highest rank are dropped first.

    `least` is its width; what is left over goes to the columns that take `most`.
    """

    id: str
    title: str
    rank: int
    least: int
    key: Callable[[RunInfo], Key]
    text: Callable[[RunInfo, float], str]
    most: int = 0
    right: bool = False
    falling: bool = False
    """Whether the largest comes first when it is first sorted by."""


def status(run: RunInfo) -> str:
    """The status; of a live run also its progress, of a stalled one the time; flaws first.

    There is little room: of a complete run with a flaw only the flaw is shown.
    """
    flaw = _flaw(run)
    if flaw and run.status == "complete":
        return flaw
    return f"{flaw} {_status(run)}" if flaw else _status(run)


_MARKS: Final = {"error": "x", "warning": "!"}


def verdict(run: RunInfo) -> str:
    """The verdict with its mark; empty for a run that was not examined."""
    return "" if run.verdict is None else f"{verdict_mark(run)} {verdict_text(run.verdict)}".strip()


def verdict_text(verdict: Verdict) -> str:
    """The verdict in words; `ok, notes` where only notes were found, which the run's screen shows."""
    return f"{verdict.text}, notes" if verdict.severity == "note" else verdict.text


def verdict_mark(run: RunInfo) -> str:
    """One character for a run that is not well, in words of ASCII; empty for any other."""
    return "" if run.verdict is None else _MARKS.get(run.verdict.severity, "")


def _verdict_key(run: RunInfo) -> Key:
    """The worst first where it is first sorted by, then by text."""
    if run.verdict is None:
        return None
    return f"{('ok', 'note', 'warning', 'error').index(run.verdict.severity)} {run.verdict.text.casefold()}"


def _flaw(run: RunInfo) -> str:
    if run.broken:
        return "NaN"
    if run.noise_left > 0:
        return f"noise {noise_percent(run.noise_left)}"
    if run.live:
        return ""
    if not run.steps:
        return "no rows"
    return f"{run.missed} missed" if run.missed else ""


def _status(run: RunInfo) -> str:
    if run.stalled_seconds is not None:
        return f"stalled {ago(max(5.0, run.stalled_seconds))}"
    if not run.live:
        return run.status
    return f"live {100 * run.steps // run.planned}%" if run.planned else "live"


def steps(run: RunInfo) -> str:
    """Steps done, and planned ones where they differ."""
    return str(run.steps) if run.steps == run.planned or not run.planned else f"{run.steps}/{run.planned}"


def seconds_left(run: RunInfo) -> float | None:
    """Seconds until a live run has done its planned steps, at its pace so far; None if that is not known."""
    if not run.live or run.stalled_seconds is not None or not run.steps or not run.planned or run.seconds is None:
        return None
    return run.seconds / run.steps * max(0, run.planned - run.steps)


def _left(run: RunInfo) -> str:
    left = seconds_left(run)
    return "" if left is None else duration(left)


def _text(value: Callable[[RunInfo], str]) -> Callable[[RunInfo], Key]:
    return lambda run: value(run).casefold() or None


HERE: Final = "here"
"""The host of a run of this machine."""
REMOTE_ONLY: Final = frozenset({"host", "left"})
"""Columns that are there if runs of other machines may be."""
COLUMNS: Final[tuple[Column, ...]] = (
    Column("name", "NAME", 0, 12, _text(lambda r: r.name), lambda r, now: r.name, most=34),
    Column("host", "HOST", 1, 8, _text(lambda r: r.host or HERE), lambda r, now: r.host or HERE, most=20),
    Column("status", "STATUS", 1, 11, _text(lambda r: r.status), lambda r, now: status(r)),
    Column("verdict", "VERDICT", 2, 12, _verdict_key, lambda r, now: verdict(r), most=32, falling=True),
    Column("steps", "STEPS", 3, 7, lambda r: float(r.steps), lambda r, now: steps(r), right=True, falling=True),
    Column("left", "LEFT", 3, 7, seconds_left, lambda r, now: _left(r), right=True),
    Column("stages", "STAGES", 13, 7, lambda r: float(r.stages), lambda r, now: str(r.stages), right=True,
           falling=True),
    Column("sigma", "σ", 4, 8, lambda r: float(r.planned), lambda r, now: "", falling=True),
    Column("shocks", "SHOCKS", 6, 7, lambda r: float(r.shocks), lambda r, now: str(r.shocks), right=True,
           falling=True),
    Column("drift", "DRIFT", 5, 6, lambda r: r.drift, lambda r, now: number(math.nan if r.drift is None else r.drift),
           right=True, falling=True),
    Column("duration", "TIME", 7, 9, lambda r: r.seconds, lambda r, now: "–" if r.seconds is None
           else duration(r.seconds), right=True, falling=True),
    Column("when", "AGO", 9, 6, lambda r: r.started, lambda r, now: ago(max(0.0, now - r.started)), right=True,
           falling=True),
    Column("size", "SIZE", 11, 8, lambda r: float(r.bytes), lambda r, now: size(r.bytes), right=True, falling=True),
    Column("model", "MODEL", 12, 10, _text(lambda r: r.model), lambda r, now: r.model, most=24),
    Column("tags", "TAGS", 10, 10, _text(lambda r: " ".join(r.tags)), lambda r, now: " ".join(f"#{t}" for t in r.tags),
           most=16),
    Column("prompt", "PROMPT", 8, 16, _text(lambda r: r.prompt), lambda r, now: r.prompt, most=400),
)  # fmt: skip
BY_ID: Final = {column.id: column for column in COLUMNS}
GUTTER: Final = 3
"""Cells left of the first column: the mark and the cursor."""


_NAME: Final = 25
"""Least width of long names; the time takes 16 of these cells."""


def fitting(width: int, longest_name: int, without: frozenset[str] = REMOTE_ONLY) -> list[tuple[Column, int]]:
    """The columns that fit, in their order, each with its width; one cell is between them.

    `without` are columns that would be empty.
    """
    room = width - GUTTER
    widths: dict[str, int] = {}
    for column in sorted((c for c in COLUMNS if c.id not in without), key=lambda c: c.rank):
        least = max(column.least, min(longest_name, _NAME)) if column.id == "name" else column.least
        if room < least + 1:
            break
        widths[column.id] = least
        room -= least + 1
    # Names first, since they identify runs; the rest is for the prompt.
    for id in ("name", "host", "verdict", "model", "tags", "prompt"):
        if id in widths:
            column = BY_ID[id]
            most = min(column.most, longest_name) if id == "name" else column.most
            whole = id in ("name", "verdict", "prompt")
            more = min(room, max(0, most - widths[id])) // (1 if whole else 3)
            widths[id] += more
            room -= more
    if "name" in widths and "prompt" not in widths:
        widths["name"] += room
    return [(column, widths[column.id]) for column in COLUMNS if column.id in widths]


def column_at(x: int, width: int, longest_name: int, without: frozenset[str] = REMOTE_ONLY) -> Column | None:
    """The column at a cell."""
    at = GUTTER
    for column, wide in fitting(width, longest_name, without):
        if x < at + wide + 1:
            return column
        at += wide + 1
    return None
