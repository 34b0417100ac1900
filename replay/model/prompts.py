"""Prompts as people read them: a batch has a list of them."""

from __future__ import annotations


def prompt_text(given: object) -> str:
    """A recorded prompt as one text; of several the first one, and how many more there are. Empty if there is none."""
    if isinstance(given, list | tuple):
        more = f" and {len(given) - 1} more" if len(given) > 1 else ""
        return prompt_text(given[0]) + more if given else ""
    return "" if given is None else str(given)
