"""The runs that are compared and their alignment: stage, stream, axis and metrics. No Textual."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ltxtui.compare.aligned import AlignedRuns, lined_up, metrics_of
from ltxtui.compare.member import Member
from replay.comparison.alignment import Align
from replay.comparison.compare import CannotCompare
from replay.model.run import StreamData


class Lineup:
    """Up to eight aligned runs, with a page of their metrics; aligned again when runs or choices have changed.

    The reference is the pinned run; if that has not reached the stage, the first run that has is the reference. The
    cursor is a point of the common axis. While `follow` holds, it goes with the newest point; runs that have ended are
    opened at the last point that all of them have.
    """

    def __init__(
        self,
        members: Sequence[Member],
        *,
        align: Align = "step",
        stage: int = 0,
        stream: str = "",
        metrics: Sequence[str] = (),
    ) -> None:
        """`metrics` are shown before the others."""
        self.members = list(members)
        self._metrics_wanted = tuple(metrics)
        self.align: Align = align
        self.stage_index = stage
        self.stream_wanted = stream
        self.item: int | None = None
        """The batch item, or None for the mean over the batch."""
        self.residuals = False
        self.pinned = 0
        self.selected = 0
        self.cursor = 0
        self.follow = True
        self.top = 0
        """The metric that was paged to: it stays in view when more or fewer charts fit."""
        self.per_page = 4
        self._opened = False
        self._key: object = None
        self._together: AlignedRuns | None = None
        self._why = ""
        self._metrics: tuple[str, ...] = ()

    # Which runs

    @property
    def loading(self) -> list[Member]:
        return [m for m in self.members if m.loading]

    @property
    def live(self) -> bool:
        return any(m.live for m in self.members)

    @property
    def stages(self) -> int:
        """Stages of the run that has most."""
        return max((len(m.run.stages) for m in self.members if m.run), default=0)

    @property
    def streams(self) -> tuple[str, ...]:
        """Streams that any run has in the stage, video first."""
        names = {name: None for m in self._staged() if m.run for name in m.run.stages[self.stage_index].streams}
        return tuple(sorted(names, key=lambda name: name != "video"))

    @property
    def stream(self) -> str:
        names = self.streams
        return self.stream_wanted if self.stream_wanted in names or not names else names[0]

    @property
    def items(self) -> int:
        """Batch items that all compared runs have."""
        return min((s.shape[0] for s in self._streams() if s.shape), default=1)

    @property
    def comparable(self) -> list[Member]:
        """Members that have the stage and the stream, the reference first."""
        found = [m for m in self._staged() if m.run and self.stream in m.run.stages[self.stage_index].streams]
        return sorted(found, key=lambda m: (m.index != self.pinned, m.index))

    @property
    def reference(self) -> Member:
        """What the others are compared with at this stage."""
        return next(iter(self.comparable), self.members[self.pinned])

    def _staged(self) -> list[Member]:
        return [m for m in self.members if m.run is not None and self.stage_index < len(m.run.stages)]

    def _streams(self) -> list[StreamData]:
        return [m.run.stages[self.stage_index].streams[self.stream] for m in self.comparable if m.run]

    # Alignment

    @property
    def together(self) -> AlignedRuns | None:
        """The aligned runs with the metrics of the page; None if they cannot be aligned, and `why` gives the reason."""
        self._settle()
        return self._together

    @property
    def why(self) -> str:
        self._settle()
        return self._why

    @property
    def metrics(self) -> tuple[str, ...]:
        """All metrics that can be shown."""
        self._settle()
        return self._metrics

    @property
    def shown(self) -> tuple[str, ...]:
        """The metrics of the page."""
        self._settle()
        return self._page()

    @property
    def page(self) -> int:
        self._settle()
        return self._page_at()

    @property
    def pages(self) -> int:
        return max(1, -(-len(self.metrics) // self.per_page))

    def _page_at(self) -> int:
        last = max(0, len(self._metrics) - 1) // self.per_page
        return max(0, min(self.top // self.per_page, last))

    @property
    def points(self) -> int:
        return self.together.points if self.together else 0

    @property
    def drawn(self) -> list[Member]:
        """Members whose lines are drawn: as residuals the reference is the zero line."""
        together = self.together
        members = sorted(together.members, key=lambda m: m.index) if together else []
        return [m for m in members if m.shown and not (self.residuals and together and m is together.reference)]

    def values(self, metric: str) -> dict[int, NDArray[np.float64]]:
        """By member, what is drawn of a metric [points]: values, or differences to the reference."""
        together = self.together
        series = together.series(metric) if together else None
        if together is None or series is None:
            return {}
        values = series.values
        if self.residuals:
            values = np.concatenate([np.zeros_like(values[:1]), series.residuals])
        return {m.index: values[together.members.index(m)] for m in self.drawn}

    def row(self, member: Member) -> int | None:
        """The member's row under the cursor."""
        return self.together.row(member, self.cursor) if self.together else None

    def changed(self) -> None:
        """Update after runs were read or have grown."""
        self._settle()

    def _page(self) -> tuple[str, ...]:
        first = self._page_at() * self.per_page
        return self._metrics[first : first + self.per_page]

    def _settle(self) -> None:
        """Align again if runs or choices have changed, and keep the cursor among the points."""
        versions = tuple((m.run.version if m.run else -1, m.loading) for m in self.members)
        key = (versions, self.pinned, self.align, self.stage_index, self.stream, self.item, self.top, self.per_page)
        if key == self._key:
            return
        self._key = key
        self._together, self._why, self._metrics = None, "", ()
        streams, members = self._streams(), self.comparable
        if len(streams) < 2:
            self._why = self._alone(members)
        else:
            self.item = None if self.item is not None and self.item >= self.items else self.item
            self._metrics = metrics_of(streams, self.align, self._metrics_wanted)
            try:
                self._together = lined_up(members, self.align, self.stage_index, self.stream, self.item, self._page())
            except CannotCompare as error:
                self._why = str(error)
        self._key = (*key[:5], self.item, self.top, self.per_page)
        self._place()

    def _place(self) -> None:
        """Keep the cursor among the points."""
        together = self._together
        if together is None or not together.points:
            self.cursor = 0
            return
        newest = together.points - 1
        if not self._opened and not self.loading:
            self._opened = True
            if not self.live:
                shared = np.flatnonzero(np.all([rows >= 0 for rows in together.rows], axis=0))
                self.cursor, self.follow = int(shared[-1]) if shared.size else newest, False
        self.cursor = newest if self.follow else min(self.cursor, newest)

    def _alone(self, members: Sequence[Member]) -> str:
        if self.loading:
            return f"opening {len(self.loading)} of {len(self.members)} runs"
        stream = f"{self.stream} in " if self.stream else ""
        if members:
            return f"only {members[0].letter} has {stream}stage {self.stage_index}: nothing to compare it with"
        if all(m.problem and m.run is None for m in self.members):
            return "no run can be read"
        return f"no run has reached stage {self.stage_index}"
