"""`python -m ltxtui.actions`: the table of keys in Markdown, as README has it."""

from __future__ import annotations

from ltxtui.actions.markdown import table

print(table())
