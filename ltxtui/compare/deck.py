"""The view model of runs side by side: the cursor, what is drawn and shown, and where and why runs part. No Textual."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, get_args

import numpy as np

from ltxtui.compare.aligned import AlignedRuns
from ltxtui.compare.divergences import Divergences
from ltxtui.compare.findings import MemberFindings
from ltxtui.compare.lineup import Lineup
from ltxtui.compare.member import Member
from ltxtui.compare.statements import PairStatement, first_difference, pair_statement
from ltxtui.viewmodel.frame_quantities import following
from ltxtui.viewmodel.markers import neighbour
from ltxtui.viewmodel.usual import Usual
from replay.baseline import Band, model_of, size_of
from replay.comparison import run_differences
from replay.comparison.alignment import ALIGNMENTS, AXES, Align, scalar_values
from replay.comparison.compare import first_different_stage
from replay.comparison.run_differences import Divergence, Mismatch

Face = Literal["findings", "charts", "table", "pictures", "frames"]
FACES: Final[tuple[Face, ...]] = get_args(Face)
"""What fills a small screen; a large one shows table and pictures next to the charts."""


class CompareDeck(Lineup):
    """Up to eight runs under one cursor, values or differences, charts, table, pictures or frames."""

    def __init__(
        self,
        members: Sequence[Member],
        *,
        align: Align = "step",
        stage: int | None = None,
        stream: str = "",
        metrics: Sequence[str] = (),
        tolerance: float = 0.0,
    ) -> None:
        """Without a stage, the first one that differs is shown once all runs have been read.

        `metrics` are shown first; `tolerance` is the relative difference up to which rows are the same.
        """
        super().__init__(members, align=align, stage=stage or 0, stream=stream, metrics=metrics)
        self._stage_open = stage is None
        self.face: Face = "charts"
        self.scrolled = 0
        """Pages of the table above the visible part."""
        self.frame_quantity = "identity"
        """What the heat maps show of each frame: one of `frame_quantities.QUANTITIES`."""
        self.said = ""
        """The text of the last jump."""
        self._divergences = Divergences(tolerance)
        self.findings = MemberFindings()
        self.usual = Usual()
        self._settings_key: object = None
        self._settings: dict[int, list[Mismatch]] = {}

    def changed(self) -> None:
        """Update after runs were read or have grown."""
        if self._stage_open and not self.loading:
            self._stage_open = False
            runs = [m.run for m in self.members if m.run is not None]
            if runs:
                self.stage_index = first_different_stage([self.divergence(m) for m in self.members], runs)
        self.findings.update(self.members)
        super().changed()

    # The cursor

    def move(self, by: int) -> None:
        self.move_to(self.cursor + by)

    def move_to(self, point: int) -> None:
        """Put the cursor on a point; on the newest one it follows."""
        self.cursor = max(0, min(point, self.points - 1))
        self.follow = self.cursor >= self.points - 1
        self.said = ""

    def first(self) -> None:
        self.move_to(0)

    def last(self) -> None:
        self.move_to(self.points - 1)

    def jump(self, by: int = 1) -> None:
        """To the next place at which a drawn run leaves the reference, in any stage; after the last, to the first."""
        leaving = self._leaving()
        if not leaving:
            self.said = "no run differs from the reference in any row so far"
            return
        row = self.row(self.reference)
        place = neighbour(leaving, (self.stage_index, -1 if row is None else row), by)
        place = place or (min(leaving) if by > 0 else max(leaving))
        member, divergence = leaving[place]
        self._stage_open = False
        self.stage_index, self.stream_wanted = place[0], divergence.stream
        if (together := self.together) is not None:
            self.move_to(_point_of(together, member, place[1]))
        self.said = first_difference(member.letter, self.reference.letter, divergence)

    def _leaving(self) -> dict[tuple[int, int], tuple[Member, Divergence]]:
        """Stage and step at which drawn runs first differ from the reference; of several runs the first one's."""
        found: dict[tuple[int, int], tuple[Member, Divergence]] = {}
        for member in self.members:
            if member.shown and (divergence := self.divergence(member)):
                found.setdefault((divergence.stage, divergence.step), (member, divergence))
        return found

    # How they are compared

    def next_align(self, by: int = 1) -> None:
        """Align by the next or previous quantity; the cursor stays with the reference's row."""
        self.line_up(ALIGNMENTS[(ALIGNMENTS.index(self.align) + by) % len(ALIGNMENTS)])

    def line_up(self, align: Align) -> None:
        """Align by step, σ, SNR or evaluations; the cursor stays with the reference's row."""
        before, follow = self.together, self.follow
        member = before.reference if before else None
        row = before.row(member, self.cursor) if before and member else None
        self.align = align
        after = self.together
        if after is not None and member is not None and row is not None and not follow:
            point = after.point(member, row)
            self.move_to(self.cursor if point is None else point)

    def toggle_residuals(self) -> None:
        self.residuals = not self.residuals

    def pin(self, index: int) -> None:
        """Compare with another run."""
        if 0 <= index < len(self.members) and self.members[index].run is not None:
            self.pinned = index
            self.said = ""

    def pin_selected(self) -> None:
        """Compare with the chosen run; if that is done already, with the next one that has been read."""
        if self.selected != self.pinned:
            self.pin(self.selected)
            return
        known = [m.index for m in self.members if m.run is not None]
        if self.pinned in known:
            self.pin(known[(known.index(self.pinned) + 1) % len(known)])
            self.selected = self.pinned

    def select(self, by: int) -> None:
        """Another run in the list."""
        self.selected = (self.selected + by) % len(self.members)

    def toggle(self, index: int) -> None:
        """Hide a run or show it again; the last one that is shown stays."""
        if 0 <= index < len(self.members):
            member = self.members[index]
            if not member.shown or sum(m.shown for m in self.members) > 1:
                member.shown = not member.shown

    def next_stage(self, by: int = 1) -> None:
        if self.stages > 1:
            self._stage_open = False
            self.stage_index = (self.stage_index + by) % self.stages
            self.follow, self._opened, self.said = True, False, ""
            self._settle()

    def next_stream(self) -> None:
        names = self.streams
        if len(names) > 1:
            self.stream_wanted = names[(names.index(self.stream) + 1) % len(names)]

    def next_item(self) -> None:
        """The mean over the batch, then each clip."""
        nxt = 0 if self.item is None else self.item + 1
        self.item = nxt if nxt < self.items and self.items > 1 else None

    # What fills the screen

    def turn_page(self, by: int) -> None:
        """Other metrics; of a table that is longer than the screen another part."""
        if self.face in ("table", "findings"):
            self.scrolled = max(0, self.scrolled + by)
        else:
            self.top = (self.page + by) % self.pages * self.per_page

    def set_per_page(self, count: int) -> None:
        """As many charts as there is room for."""
        self.per_page = max(1, count)

    def next_face(self, by: int = 1) -> None:
        self.face = FACES[(FACES.index(self.face) + by) % len(FACES)]

    def next_frame_quantity(self) -> None:
        """The next quantity of the heat maps, and the maps if something else fills the screen."""
        if self.face == "frames":
            self.frame_quantity = following(self.frame_quantity)
        self.face = "frames"

    # Pairs

    def divergence(self, member: Member) -> Divergence | None:
        """Where a run first differs from the reference."""
        reference = self.reference
        return None if member is reference else self._divergences.between(reference, member)

    def settings(self, member: Member) -> list[Mismatch]:
        """Recorded settings in which a run differs from the reference; none of the reference itself."""
        versions = tuple(m.run.version if m.run else -1 for m in self.members)
        reference = self.reference
        if (key := (reference.index, versions)) != self._settings_key:
            known = [m for m in self.members if m.run is not None and m is not reference]
            runs = [m.run for m in (reference, *known) if m.run is not None]
            found = run_differences.mismatches(runs) if reference.run is not None else ()
            self._settings = {m.index: [f for f in found if f.run == i] for i, m in enumerate(known, 1)}
            self._settings_key = key
        return self._settings.get(member.index, [])

    def unfair(self, member: Member) -> list[Mismatch]:
        """Why a run is not a fair pair to the reference; empty if it is one, or the reference itself."""
        return [m for m in self.settings(member) if m.decides]

    def pair(self, member: Member) -> PairStatement:
        """The statements about a run and the reference as a pair."""
        return pair_statement(member.letter, self.reference.letter, self.settings(member))

    def usual_range(self, metric: str) -> Band | None:
        """The usual range of a metric at the points [points]; None unless all runs are of one model and size."""
        together = self.together
        if together is None or not self.usual.version or self.residuals:
            return None
        runs = [m.run for m in together.members if m.run is not None]
        streams = [run.stages[self.stage_index].streams[self.stream] for run in runs]
        if {model_of(run) for run in runs} != self.usual.models or len({size_of(s) for s in streams}) > 1:
            return None
        sigma, rows = scalar_values(streams[0], "sigma", self.item), together.rows[0]
        known = np.append(sigma, np.nan)  # row −1: the reference has none there
        return self.usual.band(streams[0], metric, known[np.where(rows < len(sigma), rows, -1)])

    # Commands and files

    def command(self) -> list[str]:
        """The words of the command that shows the same: the reference comes first, then the others."""
        order = sorted(self.members, key=lambda m: (m.index != self.pinned, m.index))
        words = ["ltxtui", "compare", "--tui", *(str(m.path) for m in order if m.path is not None)]
        words += ["--align", self.align] if self.align != "step" else []
        words += ["--stage", str(self.stage_index)] if self.stage_index else []
        words += ["--stream", self.stream] if len(self.streams) > 1 else []
        return [*words, *(["--item", str(self.item)] if self.item is not None else [])]

    def table(self) -> tuple[list[str], list[list[object]]]:
        """What the charts show, for CSV: a row per point, a column per metric and drawn run."""
        together = self.together
        if together is None:
            return [AXES[self.align].label], []
        names, columns = [AXES[self.align].label], [together.comparison.axis]
        for metric in self.shown:
            for index, values in self.values(metric).items():
                minus = f"-{together.reference.letter}" if self.residuals else ""
                names.append(f"{metric} {self.members[index].letter}{minus}")
                columns.append(values)
        return names, [list(row) for row in zip(*(c.tolist() for c in columns), strict=True)]


def _point_of(together: AlignedRuns, member: Member, step: int) -> int:
    """The point at which the reference or a run has reached a step, preferably one where its row is that step.

    0 if neither reaches it.
    """
    runs = (together.reference, member)
    points = [at for run in runs if (at := together.point(run, step)) is not None]
    exact = [at for at in points if step in (together.row(run, at) for run in runs)]
    return (exact or points or [0])[0]
