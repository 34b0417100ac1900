"""What a viewer had received, and what is on disk afterwards."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.single_rows import single_rows
from recorder.format import locations
from replay.integrity.check import check
from replay.integrity.repair import repair
from replay.model.run import Run
from replay.sources.open import Liveness, SocketSource, load
from tests.waiting import PATIENCE_SECONDS


@dataclass
class Seen:
    """Rows as a viewer received them, by stage, stream and step."""

    rows: dict[tuple[int, str, int], bytes] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    ended: Liveness | None = None


def watch(socket: str, seconds: float = PATIENCE_SECONDS) -> Seen:
    """Receive a run over its socket until it ends or breaks off."""
    source, seen = SocketSource(Path(socket)), Seen()
    limit = time.monotonic() + seconds
    while source.liveness is Liveness.LIVE:
        assert time.monotonic() < limit, "it never ended"
        messages = source.poll()
        for m in single_rows(messages):
            if m["t"] == "step":
                seen.rows[m["stage"], m["stream"], m["step"]] = m["data"]
            elif m["t"] == "event":
                seen.events.append(m)
        if not messages:
            time.sleep(0.001)
    seen.ended = source.liveness
    source.close()
    return seen


def holds(path: Path, seen: Seen) -> Run:
    """Check that what is on disk has every row that was received, byte for byte; returns the run."""
    run = load(path)
    for (stage, stream, step), data in seen.rows.items():
        assert run.stages[stage].streams[stream].data[step].tobytes() == data, (stage, stream, step)
    return run


def mended(path: Path, run: Run) -> Run:
    """Repair what a killed recorder left, check it, and see that nothing went."""
    repair(path)
    assert check(path).problems == []
    again = load(path)
    assert again.steps >= run.steps and not locations.journal_of(path).exists()
    return again


def rows(run: Run, stage: int = 0, stream: str = "video") -> list[int]:
    """Steps of a stream that have a row with something in it."""
    sigma = run.stages[stage].streams[stream].values("sigma")
    return [i for i, value in enumerate(sigma) if value == value]


def whole(path: Path) -> Run:
    """A complete archive, checked, without a journal next to it."""
    found = check(path)
    assert found.problems == [] and found.chunks > 0
    assert not locations.journal_of(path).exists()
    return load(path)


def texts(run: Run | Seen, kind: str) -> list[str]:
    return [str(e["text"]) for e in run.events if e["kind"] == kind]
