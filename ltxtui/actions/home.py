"""Actions on the list of runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from ltxtui.actions.registry import Action, Condition, Controls
from replay.comparison import MAX_RUNS

if TYPE_CHECKING:
    from ltxtui.home.model import HomeModel


class HomeControls(Controls, Protocol):
    """What the list of runs implements in addition."""

    @property
    def model(self) -> HomeModel: ...

    def open_run(self) -> None: ...

    def compare_runs(self) -> None: ...

    def ask_filter(self) -> None: ...

    def ask_name(self) -> None: ...

    def ask_tags(self) -> None: ...

    def ask_delete(self) -> None: ...

    def copy_path(self) -> None: ...


def _has_ended(test: Callable[[HomeModel], bool], needs: Condition) -> Condition:
    return Condition(test, "a live run cannot be changed; wait until it has ended", needs)


_ANY: Final = Condition(lambda model: model.current is not None, "the list is empty")
_SOME: Final = Condition(lambda model: bool(model.chosen), "the list is empty")
_RENAMED: Final = _has_ended(lambda model: model.current is None or not model.current.live, _ANY)
_CHOSEN: Final = _has_ended(lambda model: not any(run.live for run in model.chosen), _SOME)
_MARKED: Final = Condition(lambda model: bool(model.marks), "no run is marked; space marks one")
_COMPARED: Final = Condition(
    lambda model: 2 <= len(model.comparable) <= MAX_RUNS,
    f"mark two to {MAX_RUNS} runs with space first",
)
_HERE: Final = ("home",)

ACTIONS: Final[tuple[Action[HomeControls], ...]] = (
    Action("open", "Runs", ("enter",), "Open the run", "Shows the run under the cursor, live or as a "
           "replay.", lambda c, n: c.open_run(), _ANY, "open", screens=_HERE),
    Action("mark", "Runs", ("space",), "Mark the run", "Marks or unmarks the run under the cursor and moves to the "
           "next; marked runs are compared, tagged or deleted together.", lambda c, n: c.model.mark(), _ANY, "mark",
           screens=_HERE),
    Action("compare", "Runs", ("c",), "Compare the marked runs", f"Two to {MAX_RUNS} runs side by side; with one "
           "marked, that one and the one under the cursor.", lambda c, n: c.compare_runs(), _COMPARED, "compare",
           screens=_HERE),
    Action("filter", "Runs", ("slash",), "Filter the runs", "Words, #tag, -not, status:live, drift>0.2, "
           "shocks>0; Esc clears the filter.", lambda c, n: c.ask_filter(), footer="filter", screens=_HERE),
    Action("sort", "Runs", ("s", "S"), "Sort by the next or previous column", "Every column, those that do not "
           "fit on the screen included.", lambda c, n: c.model.sort_next((1, -1)[n]), footer="sort",
           screens=_HERE, each=("Sort by the next column", "Sort by the previous column")),
    Action("reverse", "Runs", ("r",), "Reverse the order", "Ascending or descending; live runs stay on "
           "top.", lambda c, n: c.model.reverse(), screens=_HERE),
    Action("run", "Runs", ("up", "down"), "Previous/next run", "Moves the cursor in the list.",
           lambda c, n: c.model.move((-1, 1)[n]), _ANY, screens=_HERE, each=("Previous run", "Next run")),
    Action("vi", "Runs", ("k", "j"), "Previous/next run (vi)", "The same on the letter keys.",
           lambda c, n: c.model.move((-1, 1)[n]), _ANY, screens=_HERE, each=("Previous run (k)", "Next run (j)")),
    Action("screenful", "Runs", ("pageup", "pagedown"), "Page up/down", "Moves the cursor by one screen.",
           lambda c, n: c.model.move((-1, 1)[n] * c.model.page), _ANY, screens=_HERE,
           each=("Page up", "Page down")),
    Action("top", "Runs", ("home",), "First run", "To the top of the list.",
           lambda c, n: c.model.move_to(0), _ANY, also=("g",), screens=_HERE),
    Action("bottom", "Runs", ("end",), "Last run", "To the end of the list.",
           lambda c, n: c.model.move_to(len(c.model.shown) - 1), _ANY, also=("G",), screens=_HERE),
    Action("mark-shown", "Runs", ("asterisk",), "Mark all shown runs", "All runs that match the filter; again to "
           "unmark them.", lambda c, n: c.model.mark_shown(), _ANY, screens=_HERE),
    Action("unmark", "Runs", ("u",), "Clear all marks", "Unmarks every run.", lambda c, n: c.model.unmark(),
           _MARKED, screens=_HERE),
    Action("rename", "Runs", ("n",), "Rename the run", "Changes the name after the start time; not of a live "
           "run.", lambda c, n: c.ask_name(), _RENAMED, screens=_HERE, changes=True),
    Action("tag", "Runs", ("number_sign",), "Tag the runs", "Sets the tags of the marked runs, or of the one under the "
           "cursor, in their archives.", lambda c, n: c.ask_tags(), _CHOSEN, footer="tag", screens=_HERE,
           changes=True),
    Action("delete", "Runs", ("x",), "Delete the runs", "Asks first; deletes archive and journal for good. Not of a "
           "live run.", lambda c, n: c.ask_delete(), _CHOSEN, also=("delete",), screens=_HERE, changes=True),
    Action("path", "Runs", ("Y",), "Copy the path", "Copies the path of the run under the cursor to the clipboard "
           "and shows it.", lambda c, n: c.copy_path(), _ANY, screens=_HERE),
)  # fmt: skip
