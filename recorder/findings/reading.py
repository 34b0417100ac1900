"""Facts from a run's messages. Metadata may hold anything, so what has another type than expected is left out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from recorder.findings.facts import RunFacts, StageFacts, StreamFacts

MOST_STAGES: Final = 4096
"""Stages that are examined; a run with more of them has findings of these."""


def stage_facts(message: Mapping[str, Any]) -> StageFacts:
    """From a `stage` message."""
    metadata = message.get("metadata")
    return StageFacts(
        index=int(message["stage"]),
        call=int(message.get("call", 0)),
        sigmas=tuple(math.nan if s is None else float(s) for s in message.get("sigmas", ())),
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
    index, payload = event.get("stage"), event.get("payload")
    if type(index) is not int or not 0 <= index < len(facts.stages) or not isinstance(payload, Mapping):
        return
    stage, kind = facts.stages[index], event.get("kind")
    if kind == "stage_end":
        stage.ended = True
        stage.summary = payload.get("summary", {})
    elif kind == "shock":
        stage.changed = True
        sigmas = payload.get("sigmas")
        if isinstance(sigmas, list | tuple) and all(isinstance(s, int | float) for s in sigmas):
            stage.sigmas = tuple(float(s) for s in sigmas)
    elif kind == "warning" and isinstance(payload.get("finding"), str):
        stage.seen.add(payload["finding"])
