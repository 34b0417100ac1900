"""Verdicts of runs whose archives keep none, or those of older rules: their rows are read and examined."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from recorder.findings.finding import Verdict
from replay.findings import RunFindings
from replay.library.cache import ListingCache
from replay.library.folder_names import stamp_of
from replay.library.run_info import RunInfo
from replay.sources.open import load


def verdict_of_run(run: RunInfo) -> Verdict:
    """What the findings of a run come to; one that cannot be examined has an error that says so."""
    try:
        examined = RunFindings(load(run.path))
        examined.lost = not run.live
        return examined.verdict
    except (OSError, ValueError) as error:
        return Verdict("error", f"cannot be examined: {error}"[:120])


def with_verdicts(
    runs: Iterable[RunInfo], cache: ListingCache | None = None, seconds: float | None = None
) -> Iterator[RunInfo]:
    """The runs, those without a verdict examined, for about `seconds` in all; without a limit if that is None.

    With a cache what is found is kept there, and the caller saves it.
    """
    until = None if seconds is None else time.monotonic() + seconds
    for run in runs:
        if run.verdict is not None or (until is not None and time.monotonic() > until):
            yield run
            continue
        stamp = stamp_of(run.path)
        examined = replace(run, verdict=verdict_of_run(run))
        if cache is not None and stamp is not None and not run.live:
            cache.put(examined, stamp)
        yield examined
