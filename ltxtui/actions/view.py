"""Actions on the panels of the run screen and on how everything is drawn."""

from __future__ import annotations

from typing import Final

from ltxtui.actions.registry import HAS_STEPS, Action, Condition, RunControls
from ltxtui.viewmodel.layout import PRESETS

ACTIONS: Final[tuple[Action[RunControls], ...]] = (
    Action("preset", "Panels", tuple(p.key for p in PRESETS), "Panels of a preset", "Shows a set of panels: "
           + ", ".join(f"{p.key} {p.name}" for p in PRESETS) + ".", lambda c, n: c.preset(n), footer="panels",
           each=tuple(f"Panels: {p.name}" for p in PRESETS)),
    Action("focus", "Panels", ("tab", "shift+tab"), "Next/previous panel", "Maximise, hide, move and export act on "
           "the selected panel.", lambda c, n: c.focus_panel((1, -1)[n]),
           each=("Select the next panel", "Select the previous panel")),
    Action("maximise", "Panels", ("m",), "Maximise the panel", "Fills the screen; again to restore.",
           lambda c, n: c.maximise(), footer="maximise"),
    Action("enter", "Panels", ("enter",), "Maximise the panel; go to the finding", "In the findings panel, puts the "
           "cursor where the selected finding begins; in others, as `m`.", lambda c, n: c.enter()),
    Action("hide", "Panels", ("h",), "Hide the panel", "Makes room for the others; `a` shows it again.",
           lambda c, n: c.hide_panel(), also=("delete",)),
    Action("add", "Panels", ("a",), "Show a panel …", "A list of all panels with their descriptions.",
           lambda c, n: c.choose_panel(), footer="add panel"),
    Action("move", "Panels", ("less_than_sign", "greater_than_sign"), "Move the panel back or forward", "Changes "
           "places with its neighbour; the arrangement is remembered for terminals of this size.",
           lambda c, n: c.move_panel((-1, 1)[n]), also=(),
           each=("Move the panel one place back", "Move the panel one place forward")),
    Action("page", "Panels", ("left_parenthesis", "right_parenthesis"), "Previous/next page of panels", "Panels "
           "that do not fit on the screen are on further pages.", lambda c, n: c.turn_page((-1, 1)[n]),
           each=("Previous page of panels", "Next page of panels")),
    Action("quantity", "Panels", ("w",), "Quantity of waterfall and spectrum", "Spectra of x0, of the noise, of the "
           "velocity, and of signal to noise, in turn.", lambda c, n: c.next_quantity(), HAS_STEPS),
    Action("frame-quantity", "Panels", ("W",), "Quantity of frames over steps", "Identity, coherence, motion and "
           "jerk of every latent frame, in turn.", lambda c, n: c.next_frame_quantity(), HAS_STEPS),
    Action("compare-with", "Panels", ("c",), "Compare with another run …", "A list of the runs in the folder; both "
           "runs are then shown under one cursor.", lambda c, n: c.compare_with(), HAS_STEPS),
    Action("reset", "Panels", ("0",), "Reset panels", "Discards the changes to this preset: hidden, added and "
           "moved panels.", lambda c, n: c.reset_panels()),
    Action("export", "Panels", ("e",), "Save panel data as CSV", "Writes what the selected panel shows to a new "
           "file, and says where.", lambda c, n: c.export_panel(), HAS_STEPS, changes=True),
    Action("axis", "Axis", ("u", "U"), "Axis: step, σ, SNR, seconds, evaluations, run", "What lies along the x axis of "
           "all panels; σ runs from high to low, and `run` goes through the steps of all stages.",
           lambda c, n: c.deck.next_axis((1, -1)[n]), HAS_STEPS, "axis", each=("Next x axis", "Previous x axis")),
    Action("zoom", "Axis", ("up", "down"), "Zoom in or out", "Around the cursor; the y axes follow what is in the "
           "window. In the findings panel, selects a finding.", lambda c, n: c.up_or_down((1, -1)[n]), HAS_STEPS,
           "zoom", each=("Zoom in", "Zoom out")),
    Action("pan", "Axis", ("H", "L"), "Pan left/right", "By a quarter of the window; the window then stays while a "
           "live run grows.", lambda c, n: c.deck.pan((-1, 1)[n]),
           Condition(lambda deck: deck.zoomed, "the whole axis is shown"),
           each=("Pan left", "Pan right")),
    Action("whole", "Axis", ("equals_sign",), "Reset zoom", "Shows the whole axis.", lambda c, n: c.deck.zoom_reset(),
           Condition(lambda deck: deck.zoomed, "the whole axis is shown")),
    Action("log", "Axis", ("o",), "Logarithmic y axis", "In charts of powers and other positive quantities; values of "
           "0 and less are not drawn.", lambda c, n: c.deck.toggle_log(), HAS_STEPS),
)  # fmt: skip
