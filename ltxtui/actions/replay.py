"""Actions on the playhead of a replay."""

from __future__ import annotations

from typing import Final

from ltxtui.actions.registry import REPLAYING, Action, RunControls

ACTIONS: Final[tuple[Action[RunControls], ...]] = (
    Action("play", "Replay", ("space",), "Play or pause", "Plays the run from the playhead; at its end, from the "
           "start.", lambda c, n: c.deck.toggle(), REPLAYING, "play/pause"),
    Action("frame", "Replay", ("comma", "full_stop"), "Playhead one step back or forward", "Pauses and moves the "
           "playhead, to show the run as it was at that step.", lambda c, n: c.deck.step((-1, 1)[n]),
           REPLAYING, "playhead", each=("Playhead one step back", "Playhead one step forward")),
    Action("seek", "Replay", ("shift+left", "shift+right"), "Playhead a tenth back or forward", "Seeks by a tenth "
           "of the run.", lambda c, n: c.deck.seek_by((-0.1, 0.1)[n]), REPLAYING,
           each=("Playhead a tenth of the run back", "Playhead a tenth of the run forward")),
    Action("goto", "Replay", ("percent_sign",), "Go to step …", "Asks for a step such as 12, or a part of the run "
           "such as 30%.", lambda c, n: c.go_to(), REPLAYING),
    Action("speed", "Replay", ("minus", "plus"), "Slower or faster", "From 1/8 of the recorded pace to as fast as "
           "the screen goes.", lambda c, n: c.deck.change_speed((-1, 1)[n]), REPLAYING, "speed",
           each=("Slower", "Faster")),
    Action("pace", "Replay", ("p",), "Even or real-time pacing", "In real time each step takes as long as it was "
           "recorded, pauses included; else the median of all steps.", lambda c, n: c.deck.toggle_pace(), REPLAYING),
    Action("loop", "Replay", ("l",), "Set loop start, then end", "Repeats the steps between the two; pressed a "
           "third time, it clears the loop.", lambda c, n: c.deck.mark_loop(), REPLAYING),
)  # fmt: skip
