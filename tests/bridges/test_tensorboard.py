"""Event files, read back by TensorBoard itself."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest

from replay.sources.open import load
from tests.bridges.conftest import Exported
from tests.replay import exported

pytest.importorskip("tensorboardX", reason="needs the extra tensorboard: make bridges")
accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="needs tensorboard: make bridges"
)
Image = pytest.importorskip("PIL.Image", reason="needs pillow: make bridges")


def test_scalars_vectors_pictures_events_and_settings(export: Exported, archive: Path) -> None:
    assert export("--to", "tensorboard") == f"tensorboard/{exported.NAME}\n"
    found = accumulator.EventAccumulator(f"tensorboard/{exported.NAME}", size_guidance=dict.fromkeys(
        ("scalars", "tensors", "images", "histograms", "compressedHistograms"), 0))  # fmt: skip
    found.Reload()
    run, expected = exported.expected(archive)
    tags = found.Tags()
    scalars = {tag: {e.step: e for e in found.Scalars(tag)} for tag in tags["scalars"]}
    tensors = {tag: {e.step: e.tensor_proto for e in found.Tensors(tag)} for tag in tags["tensors"]}
    checked = 0
    for step, row in expected.items():
        for tag, wanted in row.items():
            if tag in scalars:
                given = np.float32([scalars[tag][step].value])
                assert scalars[tag][step].wall_time == pytest.approx(exported.times(run)[step])
            else:
                given = np.frombuffer(tensors[tag][step].tensor_content, "<f4")
            np.testing.assert_array_equal(given, wanted, err_msg=f"{tag} {step}")
            checked += 1
    assert checked == sum(map(len, expected.values()))
    assert [scalars["stage"][step].value for step in range(12)] == [0] * 6 + [1] * 6
    shown = {e.step: np.asarray(Image.open(io.BytesIO(e.encoded_image_string))) for e in found.Images("video/x0")}
    assert sorted(shown) == [0, 2, 5, 6, 8, 11]
    for step in exported.PICTURES:
        np.testing.assert_array_equal(shown[6 + step], exported.strip(run, 1, step))
    assert found.Images("video/decoded")[0].width == 4 * exported.DECODED
    assert [e.value for e in found.Scalars("load/process_cpu")] == [
        pytest.approx(sample["values"]["process_cpu"]) for sample in run.system
    ]
    assert scalars["summary/video/content_drift/1"][12].value == pytest.approx(0.4)
    shocks = [t.string_val[0].decode() for t in tensors["events/shock/text_summary"].values()]
    assert shocks and all(json.dumps(exported.NOISE) in text for text in shocks)
    settings = tensors["settings/run/text_summary"][0].string_val[0].decode()
    assert json.loads(settings)["status"] == "complete" and "a red" not in settings
    assert "_hparams_/session_start_info" in str(found.summary_metadata.keys())


def test_a_folder_of_a_run_is_not_mixed_with_another(export: Exported, archive: Path) -> None:
    export("--to", "tensorboard", "-o", "logs", runs=(archive, archive))
    assert sorted(p.name for p in Path("logs").iterdir()) == [exported.NAME, f"{exported.NAME}-2"]
    said = export("--to", "tensorboard", "-o", "logs", status=1)
    assert said == (
        f"ltxtui: logs/{exported.NAME} has a run; choose another folder with --output, or replace it with --overwrite\n"
    )
    export("--to", "tensorboard", "-o", "logs", "--overwrite")
    assert len(list(Path("logs", exported.NAME).iterdir())) == 1
    assert load(archive).steps == 12
