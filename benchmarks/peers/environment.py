"""The environment of the processes that are measured."""

from __future__ import annotations

import os
from pathlib import Path


def quiet_environment(home: Path) -> dict[str, str]:
    """An environment in which no tool sends anything or writes outside the folder `home`."""
    return {
        **os.environ,
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_CONFIG_DIR": str(home / "wandb"),
        "WANDB_CACHE_DIR": str(home / "wandb"),
        "WANDB_DATA_DIR": str(home / "wandb"),
        "OMP_NUM_THREADS": "1",
    }
