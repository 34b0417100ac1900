"""Actions on the cursor, and on the stage, stream and clip that are shown."""

from __future__ import annotations

from typing import Final

from ltxtui.actions.registry import HAS_STEPS, Action, Condition, RunControls

ACTIONS: Final[tuple[Action[RunControls], ...]] = (
    Action("cursor", "Cursor", ("left", "right"), "Cursor one step back or forward", "Moves the step cursor of all "
           "panels; past the newest visible step of a replay it moves the playhead too.",
           lambda c, n: c.deck.move((-1, 1)[n]), HAS_STEPS, "step",
           each=("Cursor one step back", "Cursor one step forward")),
    Action("newest", "Cursor", ("end",), "Go to the newest step and follow", "The cursor follows a live run; "
           "a replay goes to its end.", lambda c, n: c.deck.last(), HAS_STEPS, "newest", also=("G",)),
    Action("first", "Cursor", ("home",), "Go to the first step", "Puts the cursor on the first step of the stage.",
           lambda c, n: c.deck.first(), HAS_STEPS, also=("g",)),
    Action("far", "Cursor", ("pageup", "pagedown"), "Cursor ten steps back or forward", "Moves the step cursor "
           "by ten.", lambda c, n: c.deck.move((-10, 10)[n]), HAS_STEPS,
           each=("Cursor ten steps back", "Cursor ten steps forward")),
    Action("jump", "Cursor", ("left_square_bracket", "right_square_bracket"), "Previous/next marker", "Stage "
           "boundaries, shocks (S), critical phases (C), NaN (N), commands (X), warnings (!), findings (F) and notes "
           "(f), over all stages.", lambda c, n: c.deck.jump((-1, 1)[n]),
           Condition(lambda deck: bool(deck.markers), "the run has no markers"), "marker",
           each=("Previous marker", "Next marker")),
    Action("reference", "Cursor", ("r",), "Set or clear reference mark", "Charts and readout show differences to the "
           "marked step (M).", lambda c, n: c.deck.toggle_mark(), HAS_STEPS, "mark"),
    Action("stream", "Selection", ("v",), "Video, audio, or both", "Shows the other stream of the stage, then both as "
           "lanes under one cursor.", lambda c, n: c.deck.next_lanes(),
           Condition(lambda deck: len(deck.streams) > 1, "this stage has one stream"), "video/audio"),
    Action("stage", "Selection", ("left_curly_bracket", "right_curly_bracket"), "Previous/next stage",
           "Shows another denoising loop of the run.", lambda c, n: c.deck.next_stage((-1, 1)[n]),
           Condition(lambda deck: len(deck.run.stages) > 1, "this run has one stage"), "stage",
           each=("Previous stage", "Next stage")),
    Action("item", "Selection", ("b",), "Next batch item", "Shows the next clip of the batch.",
           lambda c, n: c.deck.next_item(), Condition(lambda deck: deck.items > 1, "this run has one clip"),
           "batch item"),
)  # fmt: skip
