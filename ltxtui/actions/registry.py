"""Actions, their availability, and the protocols that screens implement. The tables are in the group modules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from ltxtui.viewmodel.deck import Deck


class Controls(Protocol):
    """What every screen implements."""

    def next_drawing(self) -> None: ...

    def next_theme(self) -> None: ...

    def show_palette(self) -> None: ...

    def show_help(self) -> None: ...

    def show_tour(self) -> None: ...

    def copy_command(self) -> None: ...

    def take_screenshot(self) -> None: ...

    def redraw(self) -> None: ...

    def suspend(self) -> None: ...

    def close(self) -> None:
        """What Esc does: close what is open on the screen, else go back."""

    def back(self) -> None:
        """To the screen before; at the bottom, quit."""

    def leave(self) -> None: ...


class RunControls(Controls, Protocol):
    """What the run screen implements in addition; most actions act on its deck."""

    deck: Deck

    def go_to(self) -> None: ...

    def preset(self, number: int) -> None: ...

    def next_quantity(self) -> None: ...

    def next_frame_quantity(self) -> None: ...

    def next_finding(self, by: int) -> None:
        """Select the next finding and go to it."""

    def explain_finding(self) -> None: ...

    def enter(self) -> None:
        """What Enter does to the chosen panel: go to the finding, else maximise."""

    def up_or_down(self, by: int) -> None:
        """Zoom; in the list of findings, select."""

    def focus_panel(self, by: int) -> None: ...

    def maximise(self) -> None: ...

    def hide_panel(self) -> None: ...

    def choose_panel(self) -> None: ...

    def move_panel(self, by: int) -> None: ...

    def turn_page(self, by: int) -> None: ...

    def compare_with(self) -> None: ...

    def reset_panels(self) -> None: ...

    def export_panel(self) -> None: ...

    def ask_shock(self) -> None: ...

    def ask_stop(self) -> None: ...

    def ask_snapshot(self) -> None: ...


S = TypeVar("S")


@dataclass(frozen=True)
class Condition:
    """When an action is available; `otherwise` says in the palette why it is not.

    The test is called with the screen's model: the deck of the run screen, the list of the home screen. What it `needs`
    is tested first, and has its own reason.
    """

    test: Callable[[Any], bool]
    otherwise: str = "not now"
    needs: Condition | None = None

    def __call__(self, model: Any) -> bool:
        return not self.why_not(model)

    def why_not(self, model: Any) -> str:
        """Why the action is not available; empty if it is."""
        if self.needs is not None and (reason := self.needs.why_not(model)):
            return reason
        return "" if self.test(model) else self.otherwise


ALWAYS: Final = Condition(lambda model: True)
HAS_STEPS: Final = Condition(lambda deck: deck.total > 0, "no step has been recorded yet")
REPLAYING: Final = Condition(lambda deck: deck.replaying, "the run is live; this is for replays")
HAS_FINDINGS: Final = Condition(lambda deck: len(deck.findings.found) > 0, "nothing has been found")
CONTROLLED: Final = Condition(
    lambda deck: deck.live and deck.run.header.get("control") is True,
    "needs a live run with --allow-control",
)


@dataclass(frozen=True)
class Action(Generic[S]):
    """One thing that can be done on a screen S. `run` gets the index of the key that was pressed.

    Bindings, footer, help, palette, the keys in README and the user's keymap are all made from this.
    """

    id: str
    group: str
    keys: tuple[str, ...]
    label: str
    description: str
    run: Callable[[S, int], None]
    available: Condition = ALWAYS
    footer: str = ""
    """The word in the footer; empty if the action is in help and palette only."""
    also: tuple[str, ...] = ()
    """Additional keys with the effect of the first one."""
    screens: tuple[str, ...] = ("run",)
    each: tuple[str, ...] = ()
    """What each key does, where there are several: the lines in the palette. Without it there is one, for the first."""
    changes: bool = False
    """Whether it changes a run or writes a file, which a read-only dashboard refuses."""
