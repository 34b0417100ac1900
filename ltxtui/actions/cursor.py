"""Actions on the cursor, and on which stage, stream and clip it looks at."""

from __future__ import annotations

from typing import Final

from ltxtui.actions.registry import HAS_STEPS, Action, Condition, RunControls

ACTIONS: Final[tuple[Action[RunControls], ...]] = (
    Action("cursor", "Cursor", ("left", "right"), "Cursor one step back or forward", "Moves the step cursor of all "
           "panels; past the newest visible step of a replay the playhead goes along.",
           lambda c, n: c.deck.move((-1, 1)[n]), HAS_STEPS, "step",
           each=("Cursor one step back", "Cursor one step forward")),
    Action("newest", "Cursor", ("end",), "To the newest step, and follow it", "Live the cursor then goes with the "
           "run; a replay goes to its end.", lambda c, n: c.deck.last(), HAS_STEPS, "newest", also=("G",)),
    Action("first", "Cursor", ("home",), "To the first step", "Puts the cursor on the first step of the stage.",
           lambda c, n: c.deck.first(), HAS_STEPS, also=("g",)),
    Action("far", "Cursor", ("pageup", "pagedown"), "Cursor ten steps back or forward", "Moves the step cursor "
           "by ten.", lambda c, n: c.deck.move((-10, 10)[n]), HAS_STEPS,
           each=("Cursor ten steps back", "Cursor ten steps forward")),
    Action("jump", "Cursor", ("left_square_bracket", "right_square_bracket"), "To the marker before or after", "Stage "
           "boundaries, shocks (S), critical phases (C), NaN (N), commands (X) and warnings (!), over all stages.",
           lambda c, n: c.deck.jump((-1, 1)[n]),
           Condition(lambda deck: bool(deck.markers), "nothing has happened to jump to"), "marker",
           each=("To the marker before", "To the next marker")),
    Action("reference", "Cursor", ("r",), "Reference mark here, or away", "Charts and readout then give the difference "
           "to the marked step (M).", lambda c, n: c.deck.toggle_mark(), HAS_STEPS, "mark"),
    Action("stream", "Selection", ("v",), "Video, audio, or both", "Shows the other stream of the stage, then both as "
           "lanes under one cursor.", lambda c, n: c.deck.next_lanes(),
           Condition(lambda deck: len(deck.streams) > 1, "this stage has one stream"), "video/audio"),
    Action("stage", "Selection", ("left_curly_bracket", "right_curly_bracket"), "Stage before or after",
           "Shows another denoising loop of the run.", lambda c, n: c.deck.next_stage((-1, 1)[n]),
           Condition(lambda deck: len(deck.run.stages) > 1, "this run has one stage"), "stage",
           each=("Stage before", "Stage after")),
    Action("item", "Selection", ("b",), "Next batch item", "Shows the next clip of the batch.",
           lambda c, n: c.deck.next_item(), Condition(lambda deck: deck.items > 1, "this run has one clip"),
           "batch item"),
)  # fmt: skip
