"""A row of metrics as an array, and as the dictionaries that some tools take."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.peers import LENGTH, NAMES, SCALARS, VECTORS, WIDTH
from benchmarks.peers.ours import Rows


def named(row: Rows) -> dict[str, Any]:
    """A row as the dictionary that W&B and trackio take."""
    values = row.tolist()
    vectors = {f"vector_{i}": values[SCALARS + i * LENGTH : SCALARS + (i + 1) * LENGTH] for i in range(VECTORS)}
    return {**dict(zip(NAMES, values, strict=False)), **vectors}


def unnamed(metrics: dict[str, Any]) -> list[float]:
    """The values of such a dictionary, in the order of a row."""
    values = [float(metrics[name]) for name in NAMES]
    for i in range(VECTORS):
        values += metrics[f"vector_{i}"]
    return values


def stacked(rows: list[Any]) -> Rows:
    """Rows as one array [rows, WIDTH], also without any."""
    return np.array(rows, np.float32).reshape(len(rows), WIDTH)
