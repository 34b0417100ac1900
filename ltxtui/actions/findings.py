"""Actions on the findings of a run."""

from __future__ import annotations

from typing import Final

from ltxtui.actions.registry import HAS_FINDINGS, Action, RunControls

ACTIONS: Final[tuple[Action[RunControls], ...]] = (
    Action("finding", "Findings", ("f", "F"), "Next/previous finding", "Worst first: selects it, and puts the cursor "
           "on the stage, stream, clip and step at which it begins, with the reference mark.",
           lambda c, n: c.next_finding((1, -1)[n]), HAS_FINDINGS, "finding",
           each=("Next finding", "Previous finding")),
    Action("explain", "Findings", ("i",), "Explain the finding", "Where it is, what to try, the numbers behind it, and "
           "the rule with its formula and bound; `?` in the findings panel does the same.",
           lambda c, n: c.explain_finding(), HAS_FINDINGS),
)  # fmt: skip
