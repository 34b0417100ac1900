"""Actions on the panels of the run screen and on how everything is drawn."""

from __future__ import annotations

from typing import Final

from ltxtui.actions.registry import HAS_STEPS, Action, Condition, RunControls
from ltxtui.viewmodel.layout import PRESETS

ACTIONS: Final[tuple[Action[RunControls], ...]] = (
    Action("preset", "Panels", tuple(p.key for p in PRESETS), "Panels of a preset", "Shows the panels for a question: "
           + ", ".join(f"{p.key} {p.name}" for p in PRESETS) + ".", lambda c, n: c.preset(n), footer="panels",
           each=tuple(f"Panels: {p.name}" for p in PRESETS)),
    Action("focus", "Panels", ("tab", "shift+tab"), "Next or previous panel", "Maximise, hide, move and export act on "
           "the panel that is chosen.", lambda c, n: c.focus_panel((1, -1)[n]),
           each=("Choose the next panel", "Choose the panel before")),
    Action("maximise", "Panels", ("m",), "Maximise the panel", "Over the whole screen, and back.",
           lambda c, n: c.maximise(), footer="maximise", also=("enter",)),
    Action("hide", "Panels", ("h",), "Hide the panel", "Makes room for the others; `a` brings it back.",
           lambda c, n: c.hide_panel(), also=("delete",)),
    Action("add", "Panels", ("a",), "Show a panel …", "A choice of all panels with what they tell.",
           lambda c, n: c.choose_panel(), footer="add panel"),
    Action("move", "Panels", ("less_than_sign", "greater_than_sign"), "Move the panel back or forward", "Changes "
           "places with its neighbour; the arrangement is remembered for terminals of this size.",
           lambda c, n: c.move_panel((-1, 1)[n]), also=(),
           each=("Move the panel one place back", "Move the panel one place forward")),
    Action("page", "Panels", ("left_parenthesis", "right_parenthesis"), "Page of panels before or after", "What does "
           "not fit on the screen is on further pages.", lambda c, n: c.turn_page((-1, 1)[n]),
           each=("Page of panels before", "Page of panels after")),
    Action("quantity", "Panels", ("w",), "Quantity of waterfall and spectrum", "Spectra of x0, of the noise, of the "
           "velocity, and of signal to noise, in turn.", lambda c, n: c.next_quantity(), HAS_STEPS),
    Action("compare-with", "Panels", ("c",), "Compare with another run …", "A choice of the runs in the folder; both "
           "are then under one cursor.", lambda c, n: c.compare_with(), HAS_STEPS),
    Action("reset", "Panels", ("0",), "Panels as they were at first", "Forgets how the panels of this preset were "
           "hidden, shown and moved.", lambda c, n: c.reset_panels()),
    Action("export", "Panels", ("e",), "Panel's data to a CSV file", "Writes what the chosen panel shows; says where, "
           "and never overwrites a file.", lambda c, n: c.export_panel(), HAS_STEPS),
    Action("axis", "Axis", ("u", "U"), "Axis: step, σ, SNR, seconds, evaluations, run", "What lies along the x axis of "
           "all panels; σ runs from high to low, and `run` goes through the steps of all stages.",
           lambda c, n: c.deck.next_axis((1, -1)[n]), HAS_STEPS, "axis", each=("Next x axis", "X axis before")),
    Action("zoom", "Axis", ("up", "down"), "Zoom in or out", "Around the cursor; the y axes follow what is in the "
           "window.", lambda c, n: c.deck.zoom((1, -1)[n]), HAS_STEPS, "zoom", each=("Zoom in", "Zoom out")),
    Action("pan", "Axis", ("H", "L"), "Window to the left or right", "By a quarter of what is shown; live it then "
           "stays while the run goes on.", lambda c, n: c.deck.pan((-1, 1)[n]),
           Condition(lambda deck: deck.zoomed, "the whole axis is shown"),
           each=("Move the window to the left", "Move the window to the right")),
    Action("whole", "Axis", ("equals_sign",), "The whole axis", "Ends the zoom.", lambda c, n: c.deck.zoom_reset(),
           Condition(lambda deck: deck.zoomed, "the whole axis is shown")),
    Action("log", "Axis", ("o",), "Logarithmic y axis", "In charts of powers and other positive quantities; values of "
           "0 and less are left out.", lambda c, n: c.deck.toggle_log(), HAS_STEPS),
)  # fmt: skip
