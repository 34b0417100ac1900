"""The recording: runs that failed, were interrupted, stalled or lost, and steps without a row."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from recorder.findings.facts import RunFacts, Values
from recorder.findings.rule import Check, Rule
from recorder.format import paths
from recorder.format.numerals import counted

_YES: Values = np.array([1.0])


def _place(run: RunFacts) -> tuple[int | None, int | None, str]:
    """The stage and the step that a run has come to, and both in words: `at step 7 of 12`."""
    if not run.stages:
        return None, None, "before its first step"
    stage = run.stages[-1]
    done, planned = max((s.rows for s in stage.streams.values()), default=0), len(stage.sigmas)
    of = f" of {planned}" if planned else ""
    where = f" of stage {stage.index}" if len(run.stages) > 1 else ""
    return stage.index, done, f"at step {done}{of}{where}"


def _ended(run: RunFacts, status: str) -> Iterator[Check]:
    if run.status == status:
        stage, step, where = _place(run)
        words = {"where": where, "error": f": {run.error}" if run.error else ""}
        yield Check(_YES, high=0, stage=stage, step=step, words=words)


def _failed(run: RunFacts) -> Iterator[Check]:
    yield from _ended(run, "failed")


def _interrupted(run: RunFacts) -> Iterator[Check]:
    yield from _ended(run, "interrupted")


def _gone(run: RunFacts) -> Iterator[Check]:
    if run.lost and not run.status:
        stage, step, where = _place(run)
        yield Check(_YES, high=0, stage=stage, step=step, words={"where": where})


def _stalled(run: RunFacts) -> Iterator[Check]:
    if run.stalled_seconds is not None and not run.status:
        stage, step, where = _place(run)
        seconds = np.array([max(0.0, run.stalled_seconds)])
        yield Check(seconds, high=-1, stage=stage, step=step, words={"where": where})


def _missing(run: RunFacts) -> Iterator[Check]:
    by_stage: dict[int, dict[str, int]] = {}
    for key, count in run.missed.items():
        if (node := paths.parse(key)) is not None and node.stream is not None:
            by_stage.setdefault(node.stage, {})[node.stream] = count
    for stage, streams in by_stage.items():
        # The streams step together: what all of them have missed is the same steps.
        count = max(streams.values())
        words = {"steps": counted(count, "step"), "of": " and ".join(streams)}
        stream = next(iter(streams)) if len(streams) == 1 else None
        yield Check(np.array([float(count)]), high=0, stage=stage, stream=stream, words=words)


def _empty(run: RunFacts) -> Iterator[Check]:
    if run.status == "complete" and not any(s.rows for g in run.stages for s in g.streams.values()):
        why, cure = "", "call the pipeline inside the recorded block"
        if run.troubles:
            why, cure = f": {run.troubles[0]}", "mend what the reason names, and record it again"
        yield Check(_YES, high=0, words={"why": why, "cure": cure})


def _damaged(run: RunFacts) -> Iterator[Check]:
    if run.damage:
        yield Check(_YES, high=0, words={"damage": run.damage})


def _troubled(run: RunFacts) -> Iterator[Check]:
    count = len(run.troubles)
    if count:
        more = f" (and {count - 1} more)" if count > 1 else ""
        yield Check(np.array([float(count)]), high=0, words={"first": run.troubles[0], "more": more})


def _without_shocks(run: RunFacts) -> Iterator[Check]:
    if "shocks-left-out" in run.seen:
        yield Check(_YES, high=0)


RULES = (
    Rule(
        id="run-failed",
        family="recording",
        severity="error",
        sentence="the run failed {where}{error}",
        short="failed {where}",
        formula="status failed",
        reason="the pipeline raised an error, so nothing was finished",
        basis="bookkeeping",
        advice="see the error, and the findings of the steps before it",
        run=_failed,
    ),
    Rule(
        id="run-interrupted",
        family="recording",
        severity="warning",
        sentence="the run was interrupted {where}{error}",
        short="interrupted {where}",
        formula="status interrupted",
        reason="what there is of the result has noise left",
        basis="bookkeeping",
        advice="record it again for a whole clip: ltxtui record --like RUN",
        run=_interrupted,
    ),
    Rule(
        id="recorder-lost",
        family="recording",
        severity="warning",
        sentence="the recording breaks off {where}: its process ended without closing it",
        short="breaks off {where}",
        formula="no end, and no recorder that holds the journal",
        reason="a process that was killed, ran out of memory, or lost power",
        basis="bookkeeping",
        advice="look at the system's log for a process that was killed; ltxtui runs repair RUN completes the archive",
        run=_gone,
    ),
    Rule(
        id="stalled",
        family="recording",
        severity="warning",
        sentence="no step has come for {value:.0f} s, {where}",
        short="stalled {value:.0f} s",
        formula="seconds without progress of a live run, far beyond its steps before",
        reason="a step takes as long as the ones before it",
        basis="bookkeeping",
        advice="look at the process: another job on the GPU, memory that is swapped, or a debugger",
        run=_stalled,
    ),
    Rule(
        id="rows-missing",
        family="recording",
        severity="warning",
        sentence="{steps} of {of} were taken and not recorded",
        short="{steps} not recorded",
        formula="steps that were taken − rows",
        reason="every step has a row",
        basis="bookkeeping",
        advice="see the run's events for the reason; out of memory is the usual one",
        run=_missing,
    ),
    Rule(
        id="nothing-recorded",
        family="recording",
        severity="warning",
        sentence="no step was recorded{why}",
        short="no rows",
        formula="rows of all streams",
        reason="a run has steps",
        basis="bookkeeping",
        advice="{cure}",
        follows=("rows-missing",),
        run=_empty,
    ),
    Rule(
        id="damaged",
        family="recording",
        severity="warning",
        sentence="files of the run are damaged: {damage}",
        short="damaged",
        formula="sizes, checksums and documents of the archive",
        reason="what is damaged is read as NaN or left out, so other rules do not see it",
        basis="bookkeeping",
        advice="ltxtui runs repair RUN",
        run=_damaged,
    ),
    Rule(
        id="recorder-trouble",
        family="recording",
        severity="note",
        sentence="the recorder reports: {first}{more}",
        short="recorder reports trouble",
        formula="events of the kinds error and degraded",
        reason="the generation does not notice, and the recording may lack something",
        basis="bookkeeping",
        advice="see the run's events",
        run=_troubled,
    ),
    Rule(
        id="shocks-left-out",
        family="recording",
        severity="warning",
        sentence="shocks were asked for, and the scheduler of a call cannot take them",
        short="no shocks",
        formula="a warning event of the recorder",
        reason="the run is not the experiment that was asked for",
        basis="bookkeeping",
        advice="use a flow-matching Euler scheduler in every call; see the event for the reason",
        run=_without_shocks,
    ),
)
