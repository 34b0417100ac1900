"""Recordings of rerun, read back by its own reader."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.bridges.conftest import Exported
from tests.replay import exported

chunk = pytest.importorskip("rerun.chunk", reason="needs the extra rerun: make bridges")


def read(path: str) -> dict[str, dict[int, dict[str, Any]]]:
    """By entity and step, the components."""
    found: dict[str, dict[int, dict[str, Any]]] = defaultdict(dict)
    for one in chunk.RrdReader(path).stream():
        batch = one.to_record_batch().to_pydict()
        steps = batch.pop("step", None)
        for row in range(one.num_rows):
            at = -1 if steps is None else int(steps[row])
            components = {name.rpartition(":")[2]: values[row] for name, values in batch.items() if ":" in name}
            found[str(one.entity_path).strip("/")].setdefault(at, {}).update(components)
    return found


def test_scalars_spectra_pictures_events_and_settings(export: Exported, archive: Path) -> None:
    assert export("--to", "rerun") == f"{exported.NAME}.rrd\n"
    found = read(f"{exported.NAME}.rrd")
    run, expected = exported.expected(archive)
    for step, row in expected.items():
        for tag, wanted in row.items():
            shown = found[tag][step]
            given = shown["scalars"] if "scalars" in shown else values_of(shown["values"])
            np.testing.assert_array_equal(np.float32(given), wanted, err_msg=f"{tag} {step}")
    for step in exported.PICTURES:
        buffer = np.asarray(found["video/x0"][6 + step]["buffer"][0], np.uint8)
        np.testing.assert_array_equal(buffer.reshape(2, 12, 3), exported.strip(run, 1, step))
    events = [shown for entity, rows in found.items() if entity.startswith("events/") for shown in rows.values()]
    assert any("renoise" in event["text"][0] for event in events)
    assert '"prompt"' in found["settings"][-1]["text"][0]
    assert found["load/process_cpu"]


def values_of(tensor: Any) -> Any:
    """The numbers of a bar chart's tensor."""
    return tensor[0]["buffer"]


def test_several_runs_are_several_files(export: Exported, archive: Path) -> None:
    printed = export("--to", "rerun", "-o", "recordings", runs=(archive, archive))
    assert printed.splitlines() == [f"recordings/{exported.NAME}.rrd", f"recordings/{exported.NAME}-2.rrd"]
    assert "exists" in export("--to", "rerun", "-o", "recordings", status=1)
