"""The nano model in Lightricks' own code: the same weights by its own loader, the same run, the same metrics.

Independent codes agree, or one of them is wrong. `make interop` makes the environment and runs
this in it; `LTXTUI_LTX2=PATH` tests with a checkout of Lightricks/LTX-2 instead.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recorder import nano, record
from tests.interop import agreement, checkouts
from tests.interop.diffusers_run import GRID, STEPS, recorded

torch = pytest.importorskip("torch")
checkouts.use_ltx2()
pytest.importorskip(
    "ltx_core", reason="Lightricks' code is not here: `make interop`, or LTXTUI_LTX2=PATH of a checkout with its needs"
)

from tests.interop import lightricks_code  # noqa: E402

OF_PASSES = ("guidance_gap_", "velocity_conditional_rms")
"""What needs the guidance passes, which a recorded loop of one's own does not give: they are computed here."""
NOT_THE_MODEL = {*agreement.CLOCKS, "noise_injected", "sigma_down"}
"""Clocks, and what is only known of a scheduler of diffusers."""


def test_no_weight_is_missing_or_unexpected(checkpoint: Path) -> None:
    _, missing, unexpected = lightricks_code.transformer(checkpoint)
    assert (missing, unexpected) == ([], [])
    for stream in ("video", "audio"):
        _, missing, unexpected = lightricks_code.connector(checkpoint, stream)
        assert (missing, unexpected) == ([], []), stream


@pytest.mark.parametrize("guided", [False, True], ids=["unguided", "guided"])
def test_the_same_run_has_the_same_metrics(
    pipe: Any, checkpoint: Path, tmp_path: Path, guided: bool, record_property: Any
) -> None:
    guidance = nano.GUIDED if guided else nano.UNGUIDED
    ours, call = recorded(pipe, tmp_path, guidance)
    model, _, _ = lightricks_code.transformer(checkpoint)
    with record(runs_dir=tmp_path, name="ltx-core") as recording:
        gaps = lightricks_code.run(model, call, GRID, guidance, recording, nano.CALL["frame_rate"])
    worst = agreement.differences(ours, recording.path, NOT_THE_MODEL)
    worst = {name: value for name, value in worst.items() if not name.partition("/")[2].startswith(OF_PASSES)}
    for stream in ("video", "audio"):
        found = {"velocity_conditional_rms": gaps[stream].pop("conditional")}
        found |= {f"guidance_gap_{name}": values for name, values in gaps[stream].items()}
        kept = agreement.metrics(ours, stream)
        for name, values in found.items():
            if guided:
                own = kept[name].reshape(STEPS, -1)[:, 0]
                worst[f"{stream}/{name}"] = agreement.difference(name, own, np.array(values, dtype=own.dtype))
    record_property("worst", max(worst.values()))
    print(agreement.told(worst, checkouts.LTX2 or "ltx-core as installed"))
    assert len(worst) > 60
    assert {name: value for name, value in worst.items() if value > 1} == {}


@pytest.mark.parametrize("stream", ["video", "audio"])
def test_a_connector_of_lightricks_makes_the_same_context(pipe: Any, checkpoint: Path, stream: str) -> None:
    theirs, _, _ = lightricks_code.connector(checkpoint, stream)
    ours = getattr(pipe.connectors, f"{stream}_connector")
    features = torch.randn(1, 128, ours.inner_dim, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(1, 1, 1, 128)
    mask[..., :122] = torch.finfo(torch.float32).min  # padding comes first
    with torch.no_grad():
        expected = ours(features, mask)[0]
        if lightricks_code.connectors_want_padding_last():
            features, mask = features.roll(6, dims=1), mask.roll(6, dims=-1)
        assert torch.allclose(theirs(features, mask)[0], expected, atol=1e-5)
