"""Baselines in the user's data directory: one JSON file per model."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from recorder.format.locations import safe_name, user_folder
from recorder.system.open_folders import PRIVATE_MODE, make_folders, replace_file
from replay.baseline import LEVELS, Baseline, Curves, OtherBaseline, curves_of, model_of, size_of, streams_of
from replay.model.run import Run

ENVIRONMENT: Final = "LTXTUI_DATA"
"""The environment variable that names another data directory."""
FORMAT: Final = 1
MOST_RUNS: Final = 64
"""Runs of one baseline; beyond that the oldest ones are left out."""
MAX_BYTES: Final = 64 << 20


class CannotBeUsual(ValueError):
    """A run that cannot belong to a baseline."""


def folder() -> Path:
    """The folder of baselines, which may not exist. Raises OSError without a home directory."""
    if named := os.environ.get(ENVIRONMENT):
        return Path(named) / "baselines"
    found = user_folder("data")
    if found is None:
        raise OSError(f"no home directory is known; set {ENVIRONMENT} to a folder")
    return found / "baselines"


def path_of(model: str) -> Path:
    """The file of a model."""
    digest = hashlib.sha256(model.encode()).hexdigest()[:8]
    return folder() / f"{safe_name(model)}-{digest}.json"


def read(model: str) -> dict[str, Baseline]:
    """The baselines of a model by size; none if there is no file.

    Raises:
        OSError: if the file cannot be read.
        OtherBaseline: if it is of another model, or not a baseline.
    """
    return _read(path_of(model), model)


def read_all() -> list[Baseline]:
    """All baselines, by model and size. Raises as `read` does."""
    found = [each for path in sorted(folder().glob("*.json")) for each in _read(path).values()]
    return sorted(found, key=lambda b: (b.model, b.size))


def _read(path: Path, model: str | None = None) -> dict[str, Baseline]:
    try:
        with path.open("rb") as file:
            known = json.loads(file.read(MAX_BYTES))
        if known["baseline"] != FORMAT or len(known["levels"]) != len(LEVELS):
            raise ValueError
        if model is not None and known["model"] != model:
            raise OtherBaseline(f"{path} is the baseline of the model {known['model']}, not of {model}")
        return {size: Baseline(str(known["model"]), size, _runs(runs)) for size, runs in known["sizes"].items()}
    except FileNotFoundError:
        return {}
    except OtherBaseline:
        raise
    except (ValueError, KeyError, TypeError, AttributeError):
        raise OtherBaseline(f"{path} is not a baseline of this version; remove it") from None


def _runs(given: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[Curves]]:
    found = {}
    for run, curves in given.items():
        found[run] = [{m: np.array(v, np.float64) for m, v in each.items()} for each in curves]
        if any(v.shape != LEVELS.shape for each in found[run] for v in each.values()):
            raise ValueError
    return {run: list(curves) for run, curves in found.items()}


def add(runs: Sequence[Run]) -> list[Baseline]:
    """Add runs of one model and size to its baselines; those that changed.

    Raises:
        CannotBeUsual: if one is not complete or has no row.
        OtherBaseline: if they differ in model or sizes; then none is added.
        OSError: if the file cannot be read or written.
    """
    for run in runs:
        _check(run, runs[0])
    model = model_of(runs[0])
    known = read(model)
    changed: dict[str, Baseline] = {}
    for run in runs:
        made: dict[str, list[Curves]] = {}
        for _, stream in streams_of(run):
            made.setdefault(size_of(stream), []).extend(curves_of(stream))
        for size, curves in made.items():
            before = (changed.get(size) or known.get(size) or Baseline(model, size)).runs
            kept = {**{name: c for name, c in before.items() if name != run.name}, run.name: curves}
            changed[size] = Baseline(model, size, dict(list(kept.items())[-MOST_RUNS:]))
    _write(model, {**known, **changed}.values())
    return [changed[size] for size in sorted(changed)]


def _check(run: Run, first: Run) -> None:
    status = str(run.end.get("status", "")) if run.end else "unfinished"
    if status != "complete":
        raise CannotBeUsual(f"{run.name} is {status}; a baseline is made of complete runs")
    if not run.steps:
        raise CannotBeUsual(f"{run.name} has no row")
    if model_of(run) != model_of(first):
        raise OtherBaseline(
            f"{run.name} is of the model {model_of(run)}, {first.name} of {model_of(first)}; add them apart"
        )
    sizes, others = ([size_of(stream) for _, stream in streams_of(r)] for r in (run, first))
    if sizes != others:
        raise OtherBaseline(
            f"{run.name} has the sizes {', '.join(sizes)}, {first.name} {', '.join(others)}; add them apart"
        )


def clear(names: Iterable[str] | None = None) -> list[str]:
    """Remove runs, by their names, from all baselines; all of them if None. The names that were removed.

    Raises:
        OSError: if a file cannot be read or written.
        OtherBaseline: if a file is not a baseline.
    """
    wanted = None if names is None else set(names)
    removed: set[str] = set()
    by_model: dict[str, list[Baseline]] = {}
    for each in read_all():
        gone = {name for name in each.runs if wanted is None or name in wanted}
        removed |= gone
        left = {name: curves for name, curves in each.runs.items() if name not in gone}
        by_model.setdefault(each.model, []).extend([Baseline(each.model, each.size, left)] if left else [])
    for model, left_over in by_model.items():
        _write(model, left_over)
    return sorted(removed)


def _write(model: str, baselines: Iterable[Baseline]) -> None:
    sizes = {
        each.size: {
            run: [{m: [round_or_none(v) for v in values.tolist()] for m, values in c.items()} for c in curves]
            for run, curves in each.runs.items()
        }
        for each in baselines
    }
    path = path_of(model)
    if not sizes:
        path.unlink(missing_ok=True)
        return
    make_folders(path.parent, PRIVATE_MODE)
    text = json.dumps({"baseline": FORMAT, "model": model, "levels": LEVELS.tolist(), "sizes": sizes}, allow_nan=False)
    replace_file(path, text.encode())


def round_or_none(value: float) -> float | None:
    """As JSON has it, with as many digits as a float32 has; None for what is not finite."""
    return float(f"{value:.7g}") if np.isfinite(value) else None
