"""What pieces of text mean. Style sheets give each role a colour; panels never name one."""

from __future__ import annotations

from typing import Final

from replay.comparison import MAX_RUNS

ROLES: Final = (
    "title", "label", "dim", "key", "live", "replay", "alert", "axis", "tick", "ref", "band", "ghost", "s1", "s2", "s3",
    "cursor", "here", "chosen", "good", "warning", "error",
)  # fmt: skip
"""`chosen` is the title of the panel that has the focus; `good`, `warning` and `error` are verdicts."""
RUN_ROLES: Final = tuple(f"run{n}" for n in range(1, MAX_RUNS + 1))
"""One for each run in a plot."""


def component(role: str) -> str:
    """A role's class in style sheets."""
    return f"view--{role}"


COMPONENTS: Final = {component(role) for role in (*ROLES, *RUN_ROLES)}
