"""Runs next to each other: common axis, metrics, differences in their conditions."""

from typing import Final

MAX_RUNS: Final = 8
"""Runs that the command and the screens compare at once; more cannot be distinguished in one plot."""
