"""Facts from a run's messages. Metadata may hold anything, so what has another type than expected is left out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from recorder.findings.facts import RunFacts, StageFacts, StreamFacts
from recorder.format.events import MAX_REASON, cut

MOST_STAGES: Final = 4096
"""Stages that are examined; a run with more of them has findings of these."""
MOST_TROUBLES: Final = 64
MOST_LEVELS: Final = 1 << 20


def stage_facts(message: Mapping[str, Any]) -> StageFacts:
    """From a `stage` message."""
    metadata = message.get("metadata")
    return StageFacts(
        index=int(message["stage"]),
        call=int(message.get("call", 0)),
        sigmas=tuple(_level(s) for s in (message.get("sigmas") or ())[:MOST_LEVELS]),
        metadata=metadata if isinstance(metadata, Mapping) else {},
    )


def stream_facts(message: Mapping[str, Any]) -> StreamFacts:
    """From a `stream` message."""
    shape = [int(n) for n in message["shape"]]
    frame = message.get("coordinates", {}).get("frame", {}).get("values", ())
    return StreamFacts(
        name=str(message["stream"]),
        clips=shape[0] if shape else 1,
        values=math.prod(shape[1:]),
        grid=tuple(int(n) for n in message.get("grid", ())),
        dtype=str(message.get("dtype", "float32")),
        frames=tuple(int(n) for n in frame),
        conditioning=tuple(n for n in message.get("conditioning_frames", ()) if type(n) is int),
        metrics=frozenset(m["name"] for m in message["metrics"]),
    )


def take_event(facts: RunFacts, event: Mapping[str, Any]) -> None:
    """What an event adds to the facts: the end of a stage, a plan that a shock changed, and what the recorder saw."""
    index, payload, kind = event.get("stage"), event.get("payload"), event.get("kind")
    if kind in ("error", "degraded") and len(facts.troubles) < MOST_TROUBLES:
        facts.troubles.append(cut(str(event.get("text", "")), MAX_REASON))
    if not isinstance(payload, Mapping):
        return
    seen = payload.get("finding") if kind == "warning" else None
    if type(index) is not int or not 0 <= index < len(facts.stages):
        if index is None and isinstance(seen, str):
            facts.seen.add(seen)
        return
    stage = facts.stages[index]
    if kind == "stage_end":
        stage.ended = True
        stage.summary = _summary(payload.get("summary"))
    elif kind == "shock":
        stage.changed = True
        sigmas = payload.get("sigmas")
        if isinstance(sigmas, list | tuple) and all(type(s) in (int, float) for s in sigmas):
            stage.sigmas = tuple(_level(s) for s in sigmas)
    elif isinstance(seen, str):
        stage.seen.add(seen)


def take_end(facts: RunFacts, end: Mapping[str, Any]) -> None:
    """What the end of a run says: its status, and the reason where it failed or was interrupted."""
    facts.status = str(end.get("status", ""))
    error = end.get("error")
    facts.error = " ".join(cut(error, MAX_REASON).split()) if isinstance(error, str) else ""


def _level(value: float | None) -> float:
    """A planned level; NaN for one that is not a number, or is too large for one."""
    try:
        return math.nan if value is None else float(value)
    except (OverflowError, TypeError, ValueError):
        return math.nan


def _summary(value: Any) -> dict[str, dict[str, list[float | None]]]:
    """A stage's summary by stream and name, without what is not as the format says."""
    streams = value.items() if isinstance(value, Mapping) else ()
    return {
        str(stream): {
            str(name): [v if type(v) in (int, float) else None for v in values]
            for name, values in named.items()
            if isinstance(values, list | tuple)
        }
        for stream, named in streams
        if isinstance(named, Mapping)
    }
