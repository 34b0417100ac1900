"""The view model of the list of runs: which are shown in which order, where the cursor is, which are marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from ltxtui.home import query
from ltxtui.home.columns import BY_ID, COLUMNS, REMOTE_ONLY, Column
from replay.library.run_info import RunInfo
from replay.library.unreadable import Unreadable

_MAY_BE_EMPTY: Final[dict[str, Callable[[RunInfo], bool]]] = {
    "tags": lambda run: bool(run.tags),
    "verdict": lambda run: run.verdict is not None,
}
"""Columns that are left out if no run has anything in them."""
_MOST_TEXTS: Final = 4096
"""Searched texts that are known as one; those of live runs change with every step."""


class HomeModel:
    """Runs of a folder, live ones on top. The cursor stays on its run when other runs appear or disappear.

    There may be 50,000, and it is used where keys are answered: what changes is told from what stays by identity, and
    only that is put in order, unless many runs are new.
    """

    def __init__(self) -> None:
        self.runs: list[RunInfo] = []
        self.shown: list[RunInfo] = []
        """The runs that match the filter, in order."""
        self.unreadable: list[Unreadable] = []
        """Files that look like runs and cannot be read."""
        self.query = ""
        self.sort: Column = BY_ID["when"]
        self.falling = True
        self.marks: dict[Path, RunInfo] = {}
        """Marked runs by their paths, in the order in which they were marked."""
        self.cursor = 0
        self.top = 0
        """The first run that is drawn."""
        self.page = 10
        """Rows that were drawn last."""
        self.longest_name = 0
        self.remote = False
        """Whether runs of other machines may be among them."""
        self.without: frozenset[str] = REMOTE_ONLY
        """Columns that no run has anything in."""
        self._filled: set[str] = set()
        """Those of `_MAY_BE_EMPTY` that some run has something in."""
        self._given: Sequence[RunInfo] = ()
        self._moved = False
        self._searched: dict[int, str] = {}
        """By the identity of a run: its searched text."""
        self._texts: dict[str, str] = {}
        """Equal texts as one."""
        self._live: list[RunInfo] = []
        self._ended: list[RunInfo] = []
        """The other runs, the newest first."""
        self._order: list[RunInfo] | None = None
        """Those of them that match, in order."""

    # The runs

    @property
    def live(self) -> int:
        """How many runs are live."""
        return len(self._live)

    @property
    def stalled(self) -> int:
        """How many of the live runs are stalled."""
        return sum(run.stalled_seconds is not None for run in self._live)

    @property
    def current(self) -> RunInfo | None:
        """The run under the cursor."""
        return self.shown[self.cursor] if self.shown else None

    @property
    def chosen(self) -> list[RunInfo]:
        """What an action acts on: the marked runs, or else the one under the cursor."""
        if self.marks:
            return list(self.marks.values())
        return [self.current] if self.current else []

    @property
    def comparable(self) -> list[RunInfo]:
        """What would be compared: the marked runs, the one under the cursor with them while there is only one."""
        runs = self.chosen if self.marks else []
        if len(runs) == 1 and self.current is not None and self.current.path != runs[0].path:
            runs = [*runs, self.current]
        return runs

    def set_runs(self, runs: Sequence[RunInfo]) -> bool:
        """Replace the runs; returns whether anything differs. A list that is given is not changed later."""
        if runs is self._given:
            return False
        self._given = runs
        before, after = set(map(id, self.runs)), set(map(id, runs))
        added = [run for run in runs if id(run) not in before] if after - before else []
        removed = [run for run in self.runs if id(run) not in after] if before - after else []
        gone = {run.path: run for run in removed}
        if len(added) == len(removed) and all(gone.get(run.path) == run for run in added):
            return False
        self.runs = list(runs)
        self._replace_ended([run for run in added if not run.live], [run for run in removed if not run.live])
        self._live = [run for run in self._live if id(run) in after] + [run for run in added if run.live]
        if self.marks:
            self._mark_again(added, gone)
        for run in removed:
            self._searched.pop(id(run), None)
        self._measure(added, removed)
        self._settle()
        return True

    def _mark_again(self, added: list[RunInfo], gone: dict[Path, RunInfo]) -> None:
        """Marks of runs that have changed are of what they are now; those of runs that are gone go too."""
        now = {run.path: run for run in added if run.path in self.marks}
        for path in self.marks.keys() & gone.keys():
            if path not in now:
                del self.marks[path]
        self.marks.update(now)

    def _replace_ended(self, added: list[RunInfo], removed: list[RunInfo]) -> None:
        """Keep the ended runs in order, the newest first, and the shown ones too where that is their order."""
        if not added and not removed:
            return
        newest_first = self.sort.id == "when" and self.falling
        gone = set(map(id, removed))
        self._ended = _newest_first([*(run for run in self._ended if id(run) not in gone), *added])
        if self._order is not None and newest_first and self.query:
            passing = self._passing(added, query.parse(self.query))
            self._order = _newest_first([*(run for run in self._order if id(run) not in gone), *passing])
        else:
            self._order = None

    def _measure(self, added: list[RunInfo], removed: list[RunInfo]) -> None:
        """The longest name, and the columns that no run has anything in."""
        seen = self.runs if removed else added
        self.longest_name = max([0 if removed else self.longest_name, *(len(run.name) for run in seen)])
        if removed:
            self._filled.clear()
        for id, has in _MAY_BE_EMPTY.items():
            if id not in self._filled and any(map(has, seen)):
                self._filled.add(id)
        self.without = frozenset(_MAY_BE_EMPTY.keys() - self._filled) | (frozenset() if self.remote else REMOTE_ONLY)

    # Filter and order

    def filter(self, text: str) -> None:
        """Show only runs that match the query."""
        if text == self.query:
            return
        before = self.current
        self.query, self._order = text, None
        self._settle()
        if before is not None and self.current is not None and self.current.path != before.path:
            self.cursor = 0

    def sort_by(self, id: str) -> None:
        """Order by a column; the same column again reverses the order."""
        column = BY_ID[id]
        self.falling = not self.falling if column is self.sort else column.falling
        self.sort, self._order = column, None
        self._settle()

    def sort_next(self, by: int) -> None:
        """Order by the next or previous column."""
        known = [column for column in COLUMNS if self.remote or column.id not in REMOTE_ONLY]
        self.sort_by(known[(known.index(self.sort) + by) % len(known)].id)

    def reverse(self) -> None:
        """Reverse the order."""
        self.sort_by(self.sort.id)

    # The cursor

    def move(self, by: int) -> None:
        """Move the cursor by `by` runs."""
        self.move_to(self.cursor + by)

    def move_to(self, index: int) -> None:
        """Put the cursor on a run, by its place in the list."""
        self._moved = True
        self.cursor = max(0, min(index, len(self.shown) - 1))

    def find(self, path: Path) -> bool:
        """Put the cursor on a run by its path, if it is shown."""
        index = self._index(path)
        if index is not None:
            self.move_to(index)
        return index is not None

    def scroll(self, by: int) -> None:
        """Scroll by rows; the cursor stays in view."""
        self.top = max(0, min(self.top + by, len(self.shown) - self.page))
        self.move_to(max(self.top, min(self.cursor, self.top + self.page - 1)))

    def window(self, height: int) -> range:
        """The places of the runs that are shown in `height` rows, with the cursor among them."""
        self.page = max(1, height)
        self.top = max(self.cursor - self.page + 1, min(self.top, self.cursor))
        self.top = max(0, min(self.top, len(self.shown) - self.page))
        return range(self.top, min(len(self.shown), self.top + self.page))

    # Marks

    def mark(self) -> None:
        """Mark the run under the cursor, or unmark it, and move to the next."""
        run = self.current
        if run is None:
            return
        if run.path in self.marks:
            del self.marks[run.path]
        else:
            self.marks[run.path] = run
        self.move(1)

    def mark_shown(self) -> None:
        """Mark all runs that are shown; if they all are, none."""
        shown = {run.path: run for run in self.shown}
        if shown.keys() <= self.marks.keys():
            for path in shown:
                del self.marks[path]
        else:
            self.marks.update(shown)

    def unmark(self) -> None:
        """Clear all marks."""
        self.marks.clear()

    # Internals

    def _settle(self) -> None:
        """Bring the shown runs and the cursor up to date."""
        here = self.current if self._moved else None
        tests = query.parse(self.query)
        if self._order is None:
            self._order = self._ordered(self._passing(self._ended, tests))
        live = self._ordered(_newest_first(self._passing(self._live, tests)))
        self.shown = [*live, *self._order]
        if here is not None:
            index = self._index(here.path, here)
            self.cursor = self.cursor if index is None else index
        self.cursor = max(0, min(self.cursor, len(self.shown) - 1))

    def _index(self, path: Path, run: RunInfo | None = None) -> int | None:
        """The place of a run in the list, soonest where it is the same object."""
        index = None if run is None else next((i for i, one in enumerate(self.shown) if one is run), None)
        return next((i for i, one in enumerate(self.shown) if one.path == path), None) if index is None else index

    def _passing(self, runs: list[RunInfo], tests: list[query.Test]) -> list[RunInfo]:
        if not tests:
            return runs
        if len(tests) == 1:
            return [run for run in runs if tests[0](run, self._text(run))]
        return [run for run in runs if all(test(run, self._text(run)) for test in tests)]

    def _text(self, run: RunInfo) -> str:
        known = self._searched.get(id(run))
        if known is None:
            if len(self._texts) > _MOST_TEXTS:
                self._texts.clear()
            known = query.searched(run)
            known = self._searched[id(run)] = self._texts.setdefault(known, known)
        return known

    def _ordered(self, runs: list[RunInfo]) -> list[RunInfo]:
        """In order, of those that come newest first: equal ones stay so; those without a value come last either way."""
        if self.sort.id == "when" and self.falling:
            return runs
        keys = [self.sort.key(run) for run in runs]
        known = [i for i, key in enumerate(keys) if key is not None]
        # Sorting keeps the order of equals in either direction.
        known.sort(key=keys.__getitem__, reverse=self.falling)  # type: ignore[arg-type]
        return [runs[i] for i in known] + [run for run, key in zip(runs, keys, strict=True) if key is None]


def _newest_first(runs: Sequence[RunInfo]) -> list[RunInfo]:
    """Sorted; nearly for nothing where most of them are in order."""
    return sorted(runs, key=lambda run: (run.started, run.name), reverse=True)
