"""Reads a sweep's folder: which runs exist, and the results of each, from their archives."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from recorder.format import locations, paths, protocol
from recorder.format.declarations import DRIFT
from recorder.journal.journal import JournalReader, is_being_written
from recorder.sweep import spec
from recorder.sweep.spec import Job, Sweep
from replay.archive.reader import root_attributes
from replay.archive.store import StoreReader
from replay.library.listing import archives_in
from replay.model import evaluations
from replay.model.prompts import prompt_text
from replay.model.run import NotARun

RunState = Literal["complete", "failed", "interrupted", "unfinished", "live"]

PRIMARY: Final = DRIFT
ENDPOINTS: Final[dict[str, str]] = {
    PRIMARY: "drift of the last stage's clip, or drift_index in sweeps made before; less is steadier",
    "identity": "mean cosine of later frames' channel means to frame 1's, last step",
    "motion": "mean RMS change from frame to frame, last step",
    "jerk": "mean RMS second difference over frames, last step",
    "wander": "sum over steps of the coarse part of x0's change",
    "straightness": "departure from a straight path; not measured across a shock",
    "final_std": "standard deviation of the final sample",
}
"""What is read from every archive: video, last stage, mean over the batch."""
TASK: Final[dict[str, str]] = {
    "colour": "the prompt's colour is seen (1 or 0)",
    "shape": "the prompt's shape is seen (1 or 0)",
    "direction": "it moves as the prompt says (1 or 0)",
    "shape_frames": "share of frames with the prompt's shape",
    "task_identity": "identity cosine of the final latents",
    "stillness": "RMS change of the background",
    "wobble": "wobble of the shape's path, in cells",
}
"""What is measured on the nano model's final latents when the run is made."""
_MEASURED_AS: Final = {"task_identity": "identity"}


@dataclass(frozen=True)
class SweepRun:
    """One archive or journal of a sweep, and how far it got."""

    job: Job
    path: Path
    state: RunState
    error: str = ""


@dataclass(frozen=True)
class ResultRow:
    """One finished run: a line of results.csv.

    `evaluations` counts model evaluations over all stages; `values` holds every endpoint, NaN where it has none.
    """

    job: Job
    prompt: str
    run: str
    evaluations: int
    shocks: int
    values: dict[str, float] = field(default_factory=dict)


def find_runs(folder: Path, sweep: Sweep) -> list[SweepRun]:
    """Every run of this sweep in its folder, in the order of their names; other files are skipped."""
    runs = folder / spec.RUNS
    if not runs.is_dir():
        return []
    found = (run_in(archive, sweep) for archive in sorted(archives_in(runs), key=locations.run_name))
    return [f for f in found if f is not None]


def run_in(archive: Path, sweep: Sweep) -> SweepRun | None:
    """The run of this sweep in an archive, or that its journal will make; None if it is none of them."""
    journal = locations.journal_of(archive)
    try:
        header = _journal_header(journal) if journal.is_file() else root_attributes(archive)
        mark = header["metadata"]["user"]["sweep"]
        if mark["id"] != sweep.id:
            return None
        job = Job(str(mark["arm"]), int(mark["seed"]))
    except (NotARun, OSError, KeyError, TypeError, ValueError):
        return None  # not recognisably a run of this sweep
    if journal.is_file():
        return SweepRun(job, archive, "live" if is_being_written(journal) else "unfinished")
    status = header.get("status") if "ended" in header else None
    state: RunState = "unfinished"
    for known in ("complete", "failed", "interrupted"):
        state = known if status == known else state
    return SweepRun(job, archive, state, str(header.get("error") or ""))


def _journal_header(journal: Path) -> dict[str, Any]:
    with contextlib.closing(JournalReader(journal)) as reader:
        messages = reader.poll(1)
    if not messages or messages[0]["t"] != protocol.HEADER:
        raise NotARun(f"{journal} has no header")
    return dict(messages[0])


def finished(folder: Path, found: Iterable[SweepRun], sweep: Sweep) -> dict[Job, Path]:
    """The archive of every run that need not be made again: complete, and of nano with its measures."""
    done: dict[Job, Path] = {}
    for run in found:
        if run.state == "complete" and run.job not in done:
            if sweep.settings.has_measures and _measures(folder, run.job, locations.run_name(run.path)) is None:
                continue
            done[run.job] = run.path
    return done


def discard(leftovers: Iterable[SweepRun]) -> int:
    """Remove runs of the sweep that are to be made again; live ones stay. Returns how many. Raises OSError."""
    count = 0
    for run in leftovers:
        journal = locations.journal_of(run.path)
        if is_being_written(journal):
            continue
        if run.path.is_dir():
            shutil.rmtree(run.path)
        elif locations.is_packed(run.path):
            run.path.unlink(missing_ok=True)
        journal.unlink(missing_ok=True)
        spec.measures_file(run.path.parent.parent, locations.run_name(run.path)).unlink(missing_ok=True)
        count += 1
    return count


def collect(
    folder: Path, sweep: Sweep, done: dict[Job, Path], told: Callable[[int, int], None] | None = None
) -> list[ResultRow]:
    """The results of every finished run, in the order of the sweep's seeds and arms.

    Raises:
        NotARun: if an archive is damaged.
        OSError: if one cannot be read.
    """
    rows = []
    jobs = [job for job in sweep.jobs() if job in done]
    for i, job in enumerate(jobs):
        rows.append(read_run(done[job], job, _measures(folder, job, locations.run_name(done[job])) or {}))
        if told is not None:
            told(i + 1, len(jobs))
    return rows


def read_run(archive: Path, job: Job, measured: dict[str, Any]) -> ResultRow:
    """The endpoints of one finished archive; only the arrays that are needed are read.

    Raises:
        NotARun: if it is damaged.
    """
    attributes = root_attributes(archive)
    try:
        counts = {key: int(rows) for key, rows in attributes["rows"].items() if key.endswith("/video") and rows > 0}
        last = max(counts, key=_stage_of)
        summary = attributes["summary"][paths.stage(_stage_of(last))]["video"]
        store = StoreReader(archive)
        end = counts[last] - 1
        row = {
            name: np.asarray(store.array(f"{last}/{name}").read_whole(end, end + 1)[0], np.float64)
            for name in ("frame_identity", "motion", "jerk", "std")
        }
        events = store.attributes(paths.EVENTS)["messages"] if store.folder(paths.EVENTS) else []
        shocks = {_shock_key(e) for e in events if e["kind"] == "shock"}
        spent = _evaluations(store, attributes["rows"])
    except (KeyError, ValueError, TypeError, AttributeError, OSError) as error:
        raise NotARun(f"{archive} is damaged: {error!r}") from error
    values = {
        PRIMARY: _mean(summary.get(PRIMARY, summary.get("drift_index", []))),
        # From the first frame on that the drift compares too.
        "identity": _mean(row["frame_identity"][..., 2:]),
        "motion": _mean(row["motion"][..., 2:]),
        "jerk": _mean(row["jerk"][..., 3:]),
        "wander": _mean(summary.get("wander_total", [])),
        "straightness": _mean(summary.get("straightness", [])),
        "final_std": _mean(row["std"]),
    }
    values |= {name: _number(measured.get(_MEASURED_AS.get(name, name))) for name in TASK}
    return ResultRow(
        job, prompt_text(attributes.get("prompt")), locations.run_name(archive), spent, len(shocks), values
    )


def _evaluations(store: StoreReader, rows: Mapping[str, Any]) -> int:
    """Model evaluations of a run over all stages, as `Run.evaluations` has them: each stage by its longest stream."""
    longest: dict[str, tuple[int, str]] = {}
    for key, count in rows.items():
        stage = key.partition("/")[0]
        if stage not in longest or int(count) > longest[stage][0]:
            longest[stage] = int(count), key
    total = 0
    for count, key in longest.values():
        recorded = None
        if count and evaluations.METRIC in store.names(key):
            read = np.asarray(store.array(f"{key}/{evaluations.METRIC}").read_whole(0, count), np.float32)
            recorded = read if read.shape == (count,) else None
        total += int(evaluations.per_step(count, recorded).sum())
    return total


def _stage_of(key: str) -> int:
    node = paths.parse(key)
    if node is None:
        raise ValueError(f"{key!r} is not a stream of an archive")
    return node.stage


def _shock_key(event: Any) -> tuple[Any, ...]:
    payload = event["payload"]
    return event["stage"], payload.get("number"), payload.get("row")


def _measures(folder: Path, job: Job, run: str) -> dict[str, Any] | None:
    """What was measured when this very run was made; None if that is missing."""
    for name in (run, job.file):  # older sweeps name it by the job
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            measured = json.loads(spec.measures_file(folder, name).read_bytes())
            if measured["run"] == run:
                return dict(measured["measures"])
    return None


def _mean(values: Any) -> float:
    """The mean; NaN if there is nothing or anything that is not a number, infinite if anything is."""
    numbers = np.asarray([_number(v) for v in np.ravel(np.asarray(values, object))], np.float64)
    with np.errstate(invalid="ignore"):
        return float(numbers.mean()) if numbers.size else math.nan


def _number(value: Any) -> float:
    return float(value) if isinstance(value, bool | int | float) else math.nan


def from_csv(text: str, sweep: Sweep) -> list[ResultRow]:
    """The rows that `as_csv` wrote: the results of a sweep whose archives were not kept.

    Raises:
        ValueError: if a line is not in the form that `as_csv` writes, or of another sweep.
    """
    rows = []
    for line, cells in enumerate(csv.DictReader(io.StringIO(text)), 2):
        try:
            job = Job(str(cells["arm"]), int(cells["seed"]))
            sweep.arm(job.arm)
            if PRIMARY not in cells:
                cells[PRIMARY] = cells["drift_index"]
            values = {name: float(cells[name]) if cells[name] else math.nan for name in (*ENDPOINTS, *TASK)}
            counts = int(cells["evaluations"]), int(cells["shocks"])
        except (KeyError, ValueError, TypeError) as error:
            raise ValueError(f"line {line} is not a run of this sweep: {error}") from error
        rows.append(ResultRow(job, str(cells["prompt"]), str(cells["run"]), *counts, values))
    return rows


def as_csv(rows: Sequence[ResultRow], sweep: Sweep) -> str:
    """One line per run: its arm and seed, and every endpoint, with all digits; an empty cell where there is none."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["arm", "control", "seed", "prompt", "run", "evaluations", "shocks", *ENDPOINTS, *TASK])
    for row in rows:
        known = [row.job.arm, sweep.arm(row.job.arm).control or "", row.job.seed, row.prompt, row.run]
        values = (row.values[name] for name in (*ENDPOINTS, *TASK))
        writer.writerow([*known, row.evaluations, row.shocks, *("" if math.isnan(v) else repr(v) for v in values)])
    return out.getvalue()
