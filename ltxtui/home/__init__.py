"""The list of runs as a model: filter, order, marks and what each column says. Knows nothing of Textual."""

from typing import Final

MOST_COMPARED: Final = 8
"""Runs that can be compared at once."""
