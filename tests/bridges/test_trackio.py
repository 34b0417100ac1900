"""Trackio's local database, read back by trackio."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.replay import exported

pytest.importorskip("trackio", reason="needs the extra trackio: make bridges")
Image = pytest.importorskip("PIL.Image", reason="needs the extra trackio: make bridges")

READ = """
import json, sys
from trackio.sqlite_storage import SQLiteStorage
run = sys.argv[1]
print(json.dumps({"config": SQLiteStorage.get_run_config("drift", run), "logs": SQLiteStorage.get_logs("drift", run)}))
"""


def started(code: list[str], folder: Path, **more: str) -> str:
    done = subprocess.run(
        [sys.executable, *code], cwd=folder, env={**os.environ, **more}, capture_output=True, text=True, check=True
    )
    return done.stdout


def test_history_config_pictures_and_summary(archive: Path, tmp_path: Path) -> None:
    # In processes of their own: trackio reads where its data is when it is imported.
    words = ["export", str(archive), "--to", "trackio", "--project", "drift", "-o", "data"]
    env = {"PYTHONPATH": str(Path(__file__).parents[2])}
    assert started(["-m", "ltxtui", *words], tmp_path, **env) == "trackio show --project drift\n"
    read: dict[str, Any] = json.loads(
        started(["-c", READ, exported.NAME], tmp_path, TRACKIO_DIR=str(tmp_path / "data"))
    )
    history: dict[int, dict[str, Any]] = {}
    for row in read["logs"]:
        history.setdefault(row["step"], {}).update(row)
    run, expected = exported.expected(archive)
    for step, values in expected.items():
        for tag, wanted in values.items():
            given = np.float32([float(v) for v in np.atleast_1d(history[step][tag])])
            np.testing.assert_array_equal(given, wanted, err_msg=f"{tag} {step}")
    for step in exported.PICTURES:
        picture = history[6 + step]["video/x0"]
        path = next((tmp_path / "data" / "media").rglob(Path(picture["file_path"]).name))
        np.testing.assert_array_equal(np.asarray(Image.open(path))[..., :3], exported.strip(run, 1, step))
    assert read["config"]["host"] == "gpu-box" and read["config"]["prompt"] == 'a "red" ball,\nσ ≤ 1'
    assert history[11]["status"] == "complete" and history[11]["summary/video/content_drift/1"] == 0.4
    assert [row["kind"] for row in history[11]["events"]["_value"]] == [e["kind"] for e in run.events]
