"""Names of the targets and tables of an export. Imports nothing, so that a command can list them at once."""

from __future__ import annotations

from typing import Final

TO: Final = ("csv", "parquet", "tensorboard", "wandb", "trackio", "rerun")
"""The targets."""
TABLES: Final = ("steps", "stages", "summaries", "events", "load", "runs")
ALL: Final = "all"
"""Every table."""
