"""Actions that every screen has."""

from __future__ import annotations

from typing import Final

from ltxtui.actions.registry import Action, Controls

EVERYWHERE: Final = ("home", "run", "compare")

ACTIONS: Final[tuple[Action[Controls], ...]] = (
    Action("drawing", "Looks", ("d",), "Drawing: braille, block or ASCII", "ASCII works in every terminal and font.",
           lambda c, n: c.next_drawing(), screens=EVERYWHERE),
    Action("theme", "Looks", ("t",), "Theme: dark, light or colour-blind safe", "Lines differ by their pattern too, "
           "not by colour alone.", lambda c, n: c.next_theme(), screens=EVERYWHERE),
    Action("copy", "General", ("y",), "Copy the command", "The line that brings back what is on the screen, to the "
           "clipboard and into a notice.", lambda c, n: c.copy_command(), screens=EVERYWHERE),
    Action("screenshot", "General", ("ctrl+s",), "Screenshot to an SVG file", "The screen as it is, in a file "
           "that browsers and most editors show.", lambda c, n: c.take_screenshot(), screens=EVERYWHERE),
    Action("tour", "General", ("f2",), "Tour of the screen", "What is where, in one picture.",
           lambda c, n: c.show_tour(), screens=EVERYWHERE),
    Action("palette", "General", ("colon",), "Every action, by name", "Type a part of what it does.",
           lambda c, n: c.show_palette(), footer="actions", also=("ctrl+p",), screens=EVERYWHERE),
    Action("help", "General", ("question_mark",), "This help", "Opens and closes the list of keys.",
           lambda c, n: c.show_help(), footer="help", also=("f1",), screens=EVERYWHERE),
    Action("redraw", "General", ("ctrl+l",), "Draw the screen anew", "If something else has written over it.",
           lambda c, n: c.redraw(), screens=EVERYWHERE),
    Action("suspend", "General", ("ctrl+z",), "Back to the shell for a while", "`fg` brings the dashboard back.",
           lambda c, n: c.suspend(), screens=EVERYWHERE),
    Action("close", "General", ("escape",), "Close", "Ends a maximised panel or a selection, else goes back; never "
           "quits.", lambda c, n: c.close(), screens=EVERYWHERE),
    Action("back", "General", ("q",), "Back, at last quit", "To the screen before; from the first one out. A recorded "
           "run goes on, only a demo ends.", lambda c, n: c.back(), footer="quit", screens=EVERYWHERE),
    Action("quit", "General", ("ctrl+q",), "Quit", "Closes the dashboard from wherever you are.",
           lambda c, n: c.leave(), also=("ctrl+c",), screens=EVERYWHERE),
)  # fmt: skip
