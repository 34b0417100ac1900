"""The list of runs as a model: filter, order, marks and columns. No Textual."""

from typing import Final

MOST_COMPARED: Final = 8
"""Runs that can be compared at once."""
