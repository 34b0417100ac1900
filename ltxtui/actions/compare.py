"""Actions on runs side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from ltxtui.actions.registry import Action, Condition, Controls

if TYPE_CHECKING:
    from ltxtui.compare.deck import CompareDeck


class CompareControls(Controls, Protocol):
    """What the compare screen implements in addition; most actions act on its deck."""

    deck: CompareDeck

    def open_selected(self) -> None: ...

    def export(self) -> None: ...


_HERE: Final = ("compare",)
_POINTS: Final = Condition(lambda deck: deck.points > 0, "there is nothing to compare yet")
_PAGES: Final = Condition(
    lambda deck: deck.pages > 1 or deck.face in ("table", "findings"), "all metrics are on the screen"
)

ACTIONS: Final[tuple[Action[CompareControls], ...]] = (
    Action("compare-cursor", "Compare", ("left", "right"), "Cursor one point back or forward", "Moves the cursor of "
           "all panels and pictures.", lambda c, n: c.deck.move((-1, 1)[n]), _POINTS, "cursor", screens=_HERE,
           each=("Cursor one point back", "Cursor one point forward")),
    Action("compare-face", "Compare", ("tab", "shift+tab"), "Findings, charts, table, pictures or frames",
           "What fills the screen; a large one shows table and pictures next to the charts.",
           lambda c, n: c.deck.next_face((1, -1)[n]), footer="view", screens=_HERE,
           each=("Next of findings, charts, table, pictures and frames",
                 "Previous of findings, charts, table, pictures and frames")),
    Action("compare-frame-quantity", "Compare", ("W",), "Frames over steps: next quantity", "Shows identity, "
           "coherence, motion and jerk of every latent frame as heat maps, in turn: the reference, the selected run, "
           "and their difference.", lambda c, n: c.deck.next_frame_quantity(), _POINTS, screens=_HERE),
    Action("compare-far", "Compare", ("shift+left", "shift+right"), "Cursor ten points back or forward", "Moves the "
           "cursor by ten.", lambda c, n: c.deck.move((-10, 10)[n]), _POINTS, screens=_HERE,
           each=("Cursor ten points back", "Cursor ten points forward")),
    Action("compare-first", "Compare", ("home",), "To the first point", "Puts the cursor on the left end of the axis.",
           lambda c, n: c.deck.first(), _POINTS, also=("g",), screens=_HERE),
    Action("compare-newest", "Compare", ("end",), "To the newest point, and follow it", "While a run is live the "
           "cursor then follows it.", lambda c, n: c.deck.last(), _POINTS, also=("G",), screens=_HERE),
    Action("compare-jump", "Compare", ("j", "J"), "Next/previous difference", "Puts the cursor where a "
           "run first differs from the reference, in whichever stage, and says in what.",
           lambda c, n: c.deck.jump((1, -1)[n]), _POINTS, "difference", screens=_HERE,
           each=("Next difference", "Previous difference")),
    Action("compare-align", "Compare", ("a", "A"), "Align by step, σ, SNR or evaluations", "By σ or SNR the runs are "
           "compared at equal noise, at the reference's own levels.", lambda c, n: c.deck.next_align((1, -1)[n]),
           footer="align", screens=_HERE, each=("Next alignment", "Previous alignment")),
    Action("compare-residuals", "Compare", ("r",), "Values or differences", "Draws every run minus the reference, "
           "B−A, or the values themselves.", lambda c, n: c.deck.toggle_residuals(), _POINTS, "B−A", screens=_HERE),
    Action("compare-select", "Compare", ("up", "down"), "Select the previous/next run", "The selected run can be "
           "pinned, hidden and opened.", lambda c, n: c.deck.select((-1, 1)[n]), footer="run", screens=_HERE,
           each=("Select the previous run", "Select the next run")),
    Action("compare-pin", "Compare", ("p",), "Pin the selected run as reference", "The other runs are compared "
           "with it; if it is the reference already, the next run is pinned.", lambda c, n: c.deck.pin_selected(),
           footer="pin", screens=_HERE),
    Action("compare-toggle", "Compare", ("space",), "Hide or show the selected run", "Its lines and pictures; at "
           "least one run stays visible.", lambda c, n: c.deck.toggle(c.deck.selected), footer="hide", screens=_HERE),
    Action("compare-letter", "Compare", tuple("12345678"), "Hide or show run A, B, …", "1 is run A, 2 is run B.",
           lambda c, n: c.deck.toggle(n), screens=_HERE, each=tuple(f"Hide or show run {name}" for name in "ABCDEFGH")),
    Action("compare-open", "Compare", ("enter",), "Open the selected run", "Shows it alone, with all its panels; "
           "`q` returns.", lambda c, n: c.open_selected(), screens=_HERE),
    Action("compare-page", "Compare", ("pageup", "pagedown"), "Previous/next metrics", "Shows other metrics that all "
           "runs have; in findings and table, scrolls by a page.",
           lambda c, n: c.deck.turn_page((-1, 1)[n]), _PAGES, "metrics", screens=_HERE,
           each=("Previous metrics", "Next metrics")),
    Action("compare-stage", "Compare", ("left_curly_bracket", "right_curly_bracket"), "Previous/next stage",
           "Compares another denoising loop; runs without it wait.", lambda c, n: c.deck.next_stage((-1, 1)[n]),
           Condition(lambda deck: deck.stages > 1, "every run has one stage"), "stage", screens=_HERE,
           each=("Compare the previous stage", "Compare the next stage")),
    Action("compare-stream", "Compare", ("v",), "Video or audio", "Compares the other stream of the stage.",
           lambda c, n: c.deck.next_stream(), Condition(lambda deck: len(deck.streams) > 1, "there is one stream"),
           "video/audio", screens=_HERE),
    Action("compare-item", "Compare", ("b",), "Mean over the batch, or one clip", "Steps through the clips of the "
           "batch.", lambda c, n: c.deck.next_item(), Condition(lambda deck: deck.items > 1, "the runs have one clip"),
           "clip", screens=_HERE),
    Action("compare-export", "Compare", ("e",), "Save curves as CSV", "Writes what the charts show to a new file, and "
           "says where.", lambda c, n: c.export(), _POINTS, screens=_HERE, changes=True),
)  # fmt: skip
