"""The libraries that exports need, by the name of the target, which is that of the extra."""

from __future__ import annotations

LIBRARIES = {
    "parquet": "pyarrow",
    "tensorboard": "tensorboardX",
    "wandb": "wandb",
    "trackio": "trackio",
    "rerun": "rerun",
}
