"""The view model of the list of runs: which are shown in which order, where the cursor is, which are marked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ltxtui.home import query
from ltxtui.home.columns import BY_ID, COLUMNS, REMOTE_ONLY, Column
from replay.library.run_info import RunInfo
from replay.library.unreadable import Unreadable


class HomeModel:
    """Runs of a folder, live ones on top. The cursor stays on its run when other runs appear or disappear."""

    def __init__(self) -> None:
        self.runs: list[RunInfo] = []
        self.shown: list[RunInfo] = []
        """The runs that match the filter, in order."""
        self.unreadable: list[Unreadable] = []
        """Files that look like runs and cannot be read."""
        self.query = ""
        self.sort: Column = BY_ID["when"]
        self.falling = True
        self.marks: dict[Path, None] = {}
        """Marked runs, in the order in which they were marked."""
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
        self._moved = False
        self._searched: dict[Path, tuple[RunInfo, str]] = {}
        self._ended: list[RunInfo] = []
        self._order: list[RunInfo] | None = None

    # The runs

    @property
    def live(self) -> int:
        """How many runs are live."""
        return len(self.runs) - len(self._ended)

    @property
    def stalled(self) -> int:
        """How many of the live runs are stalled."""
        return sum(run.stalled_seconds is not None for run in self.runs)

    @property
    def current(self) -> RunInfo | None:
        """The run under the cursor."""
        return self.shown[self.cursor] if self.shown else None

    @property
    def chosen(self) -> list[RunInfo]:
        """What an action acts on: the marked runs, or else the one under the cursor."""
        if self.marks:
            known = {run.path: run for run in self.runs}
            return [known[path] for path in self.marks if path in known]
        return [self.current] if self.current else []

    @property
    def comparable(self) -> list[RunInfo]:
        """What would be compared: the marked runs, the one under the cursor with them while there is only one."""
        runs = self.chosen if self.marks else []
        if len(runs) == 1 and self.current is not None and self.current.path != runs[0].path:
            runs = [*runs, self.current]
        return runs

    def set_runs(self, runs: Sequence[RunInfo]) -> bool:
        """Replace the runs; returns whether anything differs."""
        if len(runs) == len(self.runs) and all(a is b or a == b for a, b in zip(runs, self.runs, strict=True)):
            return False
        self.runs = list(runs)
        ended = [run for run in runs if not run.live]
        if len(ended) != len(self._ended) or any(a is not b for a, b in zip(ended, self._ended, strict=True)):
            self._ended, self._order = ended, None
        there = {run.path for run in runs}
        self.marks = {path: None for path in self.marks if path in there}
        self._searched = {path: known for path, known in self._searched.items() if path in there}
        self.longest_name = max((len(run.name) for run in runs), default=0)
        filled = {"tags": any(run.tags for run in runs), "verdict": any(run.verdict is not None for run in runs)}
        filled |= dict.fromkeys(REMOTE_ONLY, self.remote)
        self.without = frozenset(id for id, known in filled.items() if not known)
        self._settle()
        return True

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
        index = next((i for i, run in enumerate(self.shown) if run.path == path), None)
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
            self.marks[run.path] = None
        self.move(1)

    def mark_shown(self) -> None:
        """Mark all runs that are shown; if they all are, none."""
        paths = [run.path for run in self.shown]
        if all(path in self.marks for path in paths):
            for path in paths:
                del self.marks[path]
        else:
            self.marks.update(dict.fromkeys(paths))

    def unmark(self) -> None:
        """Clear all marks."""
        self.marks.clear()

    # Internals

    def _settle(self) -> None:
        """Bring the shown runs and the cursor up to date."""
        here = self.current.path if self.current and self._moved else None
        tests = query.parse(self.query)
        if self._order is None:
            self._order = self._ordered(self._passing(self._ended, tests))
        live = self._ordered(self._passing([run for run in self.runs if run.live], tests))
        self.shown = [*live, *self._order]
        if here is not None:
            index = next((i for i, run in enumerate(self.shown) if run.path == here), None)
            self.cursor = self.cursor if index is None else index
        self.cursor = max(0, min(self.cursor, len(self.shown) - 1))

    def _passing(self, runs: list[RunInfo], tests: list[query.Test]) -> list[RunInfo]:
        if not tests:
            return runs
        return [run for run in runs if all(test(run, self._text(run)) for test in tests)]

    def _text(self, run: RunInfo) -> str:
        known = self._searched.get(run.path)
        if known is None or known[0] is not run:
            known = self._searched[run.path] = (run, query.searched(run))
        return known[1]

    def _ordered(self, runs: list[RunInfo]) -> list[RunInfo]:
        """In order; equal ones newest first; runs without a value come last in either direction."""
        key: Callable[[RunInfo], object] = self.sort.key
        keyed = [(key(run), run) for run in sorted(runs, key=lambda r: (r.started, r.name), reverse=True)]
        known = [(k, run) for k, run in keyed if k is not None]
        # Sorting keeps the order of equals in either direction.
        known.sort(key=lambda pair: pair[0], reverse=self.falling)  # type: ignore[arg-type,return-value]
        return [*(run for _, run in known), *(run for k, run in keyed if k is None)]
