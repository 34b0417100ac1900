"""The shock dialog: what to inject, and the σ curve with and without it, before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import ClassVar, Final

import numpy as np
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Input, Static

from ltxtui.panels.view import View
from ltxtui.plot.line_plot import Style, draw
from ltxtui.plot.model import Curve, Mark, Plot
from ltxtui.plot.rows import TextRow
from ltxtui.screens.dialog import QUITS, Dialog
from ltxtui.viewmodel.deck import Deck
from recorder.format.protocol import Message
from recorder.shocks.action import ShockAction
from recorder.shocks.parse import parse_shock
from recorder.shocks.plan import Plan, PlanError
from recorder.shocks.replan import fired, settled
from recorder.shocks.spec import Shock, check_live
from replay.model.run import StageData

FIRST: Final = "restart:db=3"
HINT: Final = "renoise:db=3   restart:db=3   additive:db=3   predict_perturb"


@dataclass(frozen=True)
class ShockPreview:
    """What a shock would do: the levels that are planned now and those after it, and one line about it."""

    said: str
    shock: Shock | None = None
    before: Sequence[float] = ()
    after: Sequence[float] = ()
    position: int = 0
    down: float = float("nan")


def plan_of(stage: StageData, events: Sequence[Message]) -> Plan:
    """The present plan of a stage: its levels and shocks, those sent live included."""
    known = stage.metadata.get("shocks")
    known = known if isinstance(known, dict) else {}
    sent = [e["payload"] for e in events if e.get("kind") == "shock" and e.get("stage") == stage.index]
    actions: dict[tuple[int, int], ShockAction] = {}
    for found in (*known.get("actions", ()), *sent):
        try:
            shock = Shock.from_dict(found["shock"])
            made = ShockAction(
                found["number"], shock, found["step"], found["row"] + 1, found["sigma_down"], found["sigma_up"]
            )
        except (KeyError, TypeError, ValueError):
            continue  # another recorder's format; the preview leaves it out
        actions[made.number, made.position] = made
    return Plan(tuple(known.get("native") or stage.sigmas), stage.sigmas, tuple(actions.values()))


def preview(text: str, made: Plan, arrived: int) -> ShockPreview:
    """What a shock, as it is typed, would do if it acted on arrival at a row; without a `shock` if it cannot be sent.

    Args:
        text: the shock as `ltxtui control` takes it, without a place.
        made: what is planned now.
        arrived: rows that are done, so the number of the row that comes next.
    """
    planned = made.sigmas
    try:
        shock = parse_shock(text.strip())
        check_live(shock)
    except ValueError as error:
        return ShockPreview(str(error), before=planned)
    # The current step is row `arrived`; a shock sent now acts on arrival at the next.
    position = arrived + 1
    number = 1 + max((action.number for action in made.actions), default=-1)
    try:
        changed = fired(made, position, settled(shock, made.native_step(position)), number, None)
    except (PlanError, ValueError) as error:
        return ShockPreview(f"cannot act now: {error}", before=planned)
    action = next(a for a in changed.actions if a.number == number)
    return ShockPreview(action.describe(), shock, planned, changed.sigmas, position, action.sigma_down)


class PreviewView(View):
    """The planned σ curve, faint, and over it the one with the shock."""

    def __init__(self, deck: Deck, style: Style) -> None:
        super().__init__(deck, style, id="preview")
        self.found = ShockPreview("")

    def rows(self, width: int, height: int) -> list[TextRow]:
        found = self.found
        steps = max(len(found.before), len(found.after))
        curves = []
        if found.after:
            down = np.full(steps, np.nan)
            down[found.position - 1] = found.down
            curves = [Curve("with the shock", np.asarray(found.after), Mark.FIRST), Curve("down", down, Mark.SECOND)]
        curves.append(Curve("planned", np.asarray(found.before), Mark.GHOST))
        legend = self.row(width).add("  ")
        for curve in curves:
            legend.add(f"{curve.sample(self.drawing)} {curve.label}   ", curve.mark.role)
        plot = Plot(curves, steps, include=(0.0, 1.0), cursor=found.position if found.after else None)
        return [legend.filled(), *draw(plot, width, max(1, height - 1), self.drawing)]


class ShockScreen(Dialog[Shock | None]):
    """Gives the shock to be sent, or None. The picture follows the run."""

    CSS_PATH: ClassVar[list[str | PurePath]] = ["confirm.tcss", "shock.tcss"]
    BINDINGS: ClassVar[list[BindingType]] = [("escape", "cancel", ""), *QUITS]

    def __init__(self, deck: Deck, drawing: Style, text: str = FIRST) -> None:
        super().__init__(drawing)
        self._deck = deck
        self._text = text
        self._arrived = -1

    def compose(self) -> ComposeResult:
        with Vertical(id="shock", classes="dialog"):
            yield Static(Content(self.plain("Shock at the next step: KIND:KEY=VALUE,…")), classes="asked")
            yield Input(self._text, placeholder=HINT, id="answer")
            yield PreviewView(self._deck, self.drawing)
            yield Static(id="said")
            yield Static(Content("Enter: send    Esc: cancel"), classes="answers")

    def on_mount(self) -> None:
        self.query_one(Input).focus()
        self._look()
        self.set_interval(0.5, self._follow)

    def _follow(self) -> None:
        """The run continues while the dialog is open, so the step that the shock would hit changes."""
        if self._deck.stage is not None and self._deck.stage.steps != self._arrived:
            self._look()

    def on_input_changed(self) -> None:
        self._look()

    def _look(self) -> ShockPreview:
        stages = self._deck.run.stages
        made = plan_of(stages[-1], self._deck.run.events) if stages else Plan((), ())
        self._arrived = stages[-1].steps if stages else 0
        found = preview(self.query_one(Input).value, made, self._arrived)
        view = self.query_one(PreviewView)
        view.found = found
        view.changed()
        self.query_one("#said", Static).update(Content(self.plain(found.said)))
        return found

    def on_input_submitted(self) -> None:
        found = self._look()
        if found.shock is not None:
            self.dismiss(found.shock)

    def action_cancel(self) -> None:
        self.dismiss(None)
