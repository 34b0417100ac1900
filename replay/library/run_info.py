"""One run's line in a list of runs: from its messages, or from what its archive keeps of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

from recorder.findings.finding import Verdict
from recorder.format import locations, paths, protocol
from recorder.format.declarations import DRIFT
from recorder.format.nonfinite import Broken, BrokenItems, broken_words
from recorder.format.protocol import Message
from recorder.format.run_status import GOING_ON, missed_steps, noise_left_of, standing
from replay.model import validation
from replay.model.prompts import prompt_text

PROMPT_CHARACTERS = 4000
"""A longer prompt is cut in lists of runs."""
SIGMAS = 64
"""Levels kept of a run's schedule: a small curve needs no more."""
MOST_LEVELS = 1 << 18
"""Levels of all stages that are kept while a run is read; of stages beyond that, `SIGMAS` each."""
MOST_STAGES = 1 << 16
"""Stages that are kept apart while a run is read; more of them are not counted."""
TAGS_ATTRIBUTE = "ltxtui.tags"
"""Root attribute of an archive that holds its tags, a list of text."""
MAX_TAGS = 20
TAG_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class RunInfo:
    """One line of the list of runs. `status` is the stored one, or `live`, `stalled` or `unfinished`.

    It has slots because a list may have 50,000 of them.
    """

    name: str
    path: Path
    started: float
    stages: int
    steps: int
    planned: int
    seconds: float | None
    status: str
    bytes: int
    prompt: str
    model: str = ""
    shocks: int = 0
    """How many shocks acted."""
    drift: float | None = None
    """Drift index of the last stage that has one, the mean over the batch; None before a stage has ended."""
    sigmas: tuple[float, ...] = ()
    """The planned σ of all stages, one after the other, thinned to at most `SIGMAS` levels; spikes are kept."""
    tags: tuple[str, ...] = ()
    missed: int = 0
    """Steps that were taken and not recorded."""
    broken: tuple[Broken, ...] = ()
    """The parts that are NaN or Inf, from its events."""
    noise_left: float = 0.0
    """The highest noise level that a stage's result was left at; 0 if none was."""
    verdict: Verdict | None = None
    """What its findings come to; None for an archive that keeps none, or those of older rules."""
    stalled_seconds: float | None = None
    """How long a stalled run has been stalled."""
    socket: Path | None = None
    """Where the recorder of a live run answers, if that is known."""
    host: str = ""
    """The machine that it is on; empty for this one. `path` is then no path of this machine."""

    @property
    def live(self) -> bool:
        """Whether it has a recorder, stalled or not."""
        return self.status in GOING_ON

    @property
    def standing(self) -> str:
        """The status, what is not recorded of the steps that were taken, and what is wrong with the result."""
        return standing(self.status, self.steps, self.missed, broken_words(self.broken), self.noise_left)

    def as_json(self) -> dict[str, Any]:
        """As a map that JSON can hold; without the thinned σ, which are for drawing, and without the socket."""
        said = {name: getattr(self, name) for name in _AS_THEY_ARE if self.host or name != "host"}
        known = None if self.verdict is None else self.verdict.as_json()
        return {**said, "path": str(self.path), "nan": [one.as_json() for one in self.broken], "verdict": known}


_AS_THEY_ARE: Final = tuple(
    field.name for field in fields(RunInfo) if field.name not in ("sigmas", "socket", "broken", "verdict")
)
"""Fields that JSON holds under their own names."""


@dataclass
class Gathered:
    """What is known of a run so far; fed with its messages, in their order. Rows are only counted."""

    started: float = 0.0
    last: float = 0.0
    prompt: str = ""
    model: str = ""
    shocks: int = 0
    ended: str = ""
    """The status that the run ended with; empty before."""
    sigmas: dict[int, list[float]] = field(default_factory=dict)
    steps: dict[int, int] = field(default_factory=dict)
    drifts: dict[int, float] = field(default_factory=dict)
    lengths: dict[int, int] = field(default_factory=dict)
    """Levels of each stage, of which `sigmas` may have fewer."""
    _levels: int = 0
    missed: dict[str, int] = field(default_factory=dict)
    """Steps that were taken and not recorded, by stage and stream such as `stage_0/video`."""
    broken: BrokenItems = field(default_factory=BrokenItems)

    noise_left: float = 0.0

    def feed(self, message: Message) -> None:
        """Take in one message.

        Raises:
            KeyError, TypeError, ValueError, AttributeError, OverflowError: if it is not what its type promises.
        """
        kind = message["t"]
        if isinstance(message.get("time"), float) and math.isfinite(message["time"]):
            self.last = message["time"]
        if kind == protocol.HEADER:
            self.started = validation.read_time(message["time"], "the run's time")
            self.model = str(message["metadata"].get("model") or "")
        elif kind == protocol.STAGE:
            self._stage(message)
        elif kind == protocol.STEP:
            stage = validation.read_int(message["stage"], "the stage")
            step, count = (
                validation.read_int(message["step"], "the step"),
                validation.read_int(message.get("count", 1), "the rows"),
            )
            if _fits(self.steps, stage):
                self.steps[stage] = max(self.steps.get(stage, 0), step + count)
        elif kind == protocol.MISSED:
            count = validation.read_int(message["count"], "the number of missed steps")
            key = paths.stream(validation.read_int(message["stage"], "the stage"), message["stream"])
            self.missed[key] = max(self.missed.get(key, 0), count)
        elif kind == protocol.EVENT:
            self.event(message)
        elif kind == protocol.END:
            self.ended = str(message["status"])

    def _stage(self, message: Message) -> None:
        index = int(message["stage"])
        self._plan(index, message["sigmas"])
        if _fits(self.steps, index):
            self.steps.setdefault(index, 0)
        metadata = message["metadata"]
        self.prompt = self.prompt or prompt_text(metadata.get("prompt"))
        self.model = self.model or str(metadata.get("model") or "")

    def _plan(self, stage: int, levels: Sequence[Any]) -> None:
        """Keep a stage's planned levels: its only ones, or its new ones."""
        if not _fits(self.lengths, stage):
            return
        kept = [math.nan if s is None else float(s) for s in levels]
        self.lengths[stage] = len(kept)
        self._levels -= len(self.sigmas.get(stage, ()))
        if self._levels + len(kept) > MOST_LEVELS:
            kept = list(thinned(kept))
        self._levels += len(kept)
        self.sigmas[stage] = kept

    def event(self, message: Mapping[str, Any]) -> None:
        """Take in an event: shocks are counted, a stage's end has its drift, and some report NaN."""
        self.broken.feed(message)
        kind, stage, payload = message["kind"], message["stage"], message["payload"]
        self.noise_left = max(self.noise_left, noise_left_of(message))
        if kind == "shock":
            self.shocks += 1
            if "sigmas" in payload:  # decided in the run: the plan is another one now
                self._plan(int(stage), payload["sigmas"])
        elif kind == "stage_end":
            self.summary(int(stage), payload.get("summary", {}))

    def summary(self, stage: int, summary: Mapping[str, Any]) -> None:
        """Take in a stage's summary."""
        values = summary.get("video", {}).get(DRIFT, ())
        finite = [float(v) for v in values if isinstance(v, float | int) and math.isfinite(v)]
        if finite and _fits(self.drifts, stage):
            self.drifts[stage] = sum(finite) / len(finite)

    @property
    def planned(self) -> int:
        return sum(self.lengths.values())

    def info(
        self,
        path: Path,
        *,
        status: str,
        seconds: float | None,
        bytes: int,
        tags: Sequence[str] = (),
        verdict: Verdict | None = None,
    ) -> RunInfo:
        """The line of the list."""
        return RunInfo(
            name=locations.run_name(path),
            path=path,
            started=self.started,
            stages=len(self.steps),
            steps=sum(self.steps.values()),
            planned=self.planned,
            seconds=seconds,
            status=status,
            bytes=bytes,
            prompt=self.prompt[:PROMPT_CHARACTERS],
            model=self.model[:PROMPT_CHARACTERS],
            shocks=self.shocks,
            drift=self.drifts[max(self.drifts)] if self.drifts else None,
            sigmas=thinned([s for i in sorted(self.sigmas) for s in self.sigmas[i]]),
            tags=tuple(tags),
            missed=missed_steps(self.missed),
            broken=self.broken.found,
            noise_left=self.noise_left,
            verdict=verdict,
        )


def _fits(known: Mapping[int, Any], stage: int) -> bool:
    return stage in known or len(known) < MOST_STAGES


def thinned(sigmas: Sequence[float], most: int = SIGMAS) -> tuple[float, ...]:
    """At most `most` levels of a schedule: the highest of each stretch, since what stands out are shocks upwards."""
    finite = [s if math.isfinite(s) else 0.0 for s in sigmas]
    count = len(finite)
    if count > most:
        finite = [max(finite[i * count // most : (i + 1) * count // most]) for i in range(most)]
    return tuple(round(s, 4) for s in finite)


def known_tags(attributes: Mapping[str, Any]) -> tuple[str, ...]:
    """The tags in an archive's root attributes; anything but a list of text counts as no tags."""
    found = attributes.get(TAGS_ATTRIBUTE)
    if not isinstance(found, list):
        return ()
    return tuple(tag[:TAG_CHARACTERS] for tag in found if isinstance(tag, str) and tag)[:MAX_TAGS]
