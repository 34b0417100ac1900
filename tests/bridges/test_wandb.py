"""Weights & Biases offline: no account, no network, and all of it in the file that `wandb sync` sends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.peers.record_files import leveldb_records
from tests.bridges.conftest import Exported
from tests.replay import exported
from tests.waiting import until

wandb = pytest.importorskip("wandb", reason="needs the extra wandb: make bridges")
Image = pytest.importorskip("PIL.Image", reason="needs the extra wandb: make bridges")


def number(value: Any) -> Any:
    """What W&B reads of a value that JSON lacks."""
    return [number(v) for v in value] if isinstance(value, list) else float(value)


def test_history_config_pictures_events_and_summary(
    export: Exported, archive: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pb = pytest.importorskip("wandb.proto.wandb_internal_pb2")
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    printed = export("--to", "wandb", "--offline", "--project", "drift", "-o", ".")
    folder = Path(printed.strip())
    assert folder.name.startswith("offline-run-")
    history: dict[int, dict[str, Any]] = {}
    config: dict[str, Any] = {}
    summary: dict[str, Any] = {}
    exits: list[int] = []
    (file,) = folder.glob("*.wandb")

    def records() -> list[Any]:
        """All of them, once the last one is there: the file is written by a process of W&B's own."""
        found = [pb.Record.FromString(data) for data in leveldb_records(file.read_bytes())]
        return found if found[-1].WhichOneof("record_type") == "exit" else []

    for record in until(records):
        kind = record.WhichOneof("record_type")
        if kind == "history":
            items = {i.key or "/".join(i.nested_key): json.loads(i.value_json) for i in record.history.item}
            history.setdefault(record.history.step.num or int(items.get("_step", 0)), {}).update(items)
        elif kind in ("run", "config"):
            of = record.run.config if kind == "run" else record.config
            config |= {u.key or "/".join(u.nested_key): json.loads(u.value_json) for u in of.update}
            if kind == "run":
                assert record.run.project == "drift" and record.run.display_name == exported.NAME
        elif kind == "summary":
            summary |= {u.key or "/".join(u.nested_key): json.loads(u.value_json) for u in record.summary.update}
        elif kind == "exit":
            exits.append(record.exit.exit_code)
    run, expected = exported.expected(archive)
    for step, row in expected.items():
        for tag, wanted in row.items():
            given = np.float32(np.atleast_1d(number(history[step][tag])))
            np.testing.assert_array_equal(given, wanted, err_msg=f"{tag} {step}")
        assert history[step]["_timestamp"] == pytest.approx(exported.times(run)[step])
    for step in exported.PICTURES:
        picture = {key: history[6 + step][f"video/x0/{key}"] for key in ("caption", "path")}
        assert f"step {step}" in picture["caption"]
        np.testing.assert_array_equal(
            np.asarray(Image.open(folder / "files" / picture["path"])), exported.strip(run, 1, step)
        )
    assert config["host"] == "gpu-box" and config["seed"] == 0 and config["stage_1"]["seed"] == 0
    assert config["prompt"] == 'a "red" ball,\nσ ≤ 1'
    assert summary["status"] == "complete" and summary["summary/video/content_drift/1"] == 0.4
    events = json.loads((folder / "files" / history[11]["events/path"]).read_text())
    kinds = events["columns"].index("kind")
    assert [row[kinds] for row in events["data"]] == [e["kind"] for e in run.events]
    assert exits == [0] and {"load/process_cpu", "load/gpu_power"} <= history[3].keys()


def test_without_an_account_the_way_out_is_named(
    export: Exported, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # no server is asked
    said = export("--to", "wandb", "-o", ".", status=1).splitlines()[-1]
    assert said.startswith("ltxtui: wandb failed: ") and said.endswith("without an account use --offline")
