"""Actions that every screen has."""

from __future__ import annotations

from typing import Final

from ltxtui.actions.registry import Action, Controls

EVERYWHERE: Final = ("home", "run", "compare")

ACTIONS: Final[tuple[Action[Controls], ...]] = (
    Action("drawing", "Looks", ("d",), "Drawing: braille, block or ASCII", "ASCII works in every terminal and font.",
           lambda c, n: c.next_drawing(), screens=EVERYWHERE),
    Action("theme", "Looks", ("t",), "Theme: dark, light or colour-blind safe", "Lines differ by their pattern, not "
           "only by colour.", lambda c, n: c.next_theme(), screens=EVERYWHERE),
    Action("copy", "General", ("y",), "Copy the command", "Copies the command line that shows this screen again, and "
           "shows it.", lambda c, n: c.copy_command(), screens=EVERYWHERE),
    Action("screenshot", "General", ("ctrl+s",), "Save screenshot as SVG", "Writes the screen to a file that "
           "browsers show.", lambda c, n: c.take_screenshot(), screens=EVERYWHERE, changes=True),
    Action("tour", "General", ("f2",), "Tour of the screen", "Explains the parts of the screen.",
           lambda c, n: c.show_tour(), screens=EVERYWHERE),
    Action("palette", "General", ("colon",), "Command palette", "Finds every action by a part of its name.",
           lambda c, n: c.show_palette(), footer="actions", also=("ctrl+p",), screens=EVERYWHERE),
    Action("help", "General", ("question_mark",), "Help", "Opens and closes the list of keys.",
           lambda c, n: c.show_help(), footer="help", also=("f1",), screens=EVERYWHERE),
    Action("redraw", "General", ("ctrl+l",), "Redraw", "For when another program has written over the screen.",
           lambda c, n: c.redraw(), screens=EVERYWHERE),
    Action("suspend", "General", ("ctrl+z",), "Suspend", "Back to the shell; `fg` resumes the dashboard.",
           lambda c, n: c.suspend(), screens=EVERYWHERE),
    Action("close", "General", ("escape",), "Close", "Restores a maximised panel, clears a selection, or goes back; "
           "does not quit.", lambda c, n: c.close(), screens=EVERYWHERE),
    Action("back", "General", ("q",), "Back (quits from the first screen)", "To the previous screen. A run that is "
           "being recorded continues; a demo ends.", lambda c, n: c.back(), footer="quit", screens=EVERYWHERE),
    Action("quit", "General", ("ctrl+q",), "Quit", "Closes the dashboard from any screen.",
           lambda c, n: c.leave(), also=("ctrl+c",), screens=EVERYWHERE),
)  # fmt: skip
