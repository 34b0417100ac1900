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
from tests.interop import checkouts

torch = pytest.importorskip("torch")
checkouts.use_ltx2()
pytest.importorskip(
    "ltx_core", reason="Lightricks' code is not here: `make interop`, or LTXTUI_LTX2=PATH of a checkout with its needs"
)

from tests.interop import lightricks_code  # noqa: E402

SIZE = {"height": 192, "width": 224, "num_frames": 25}
GRID = (4, 6, 7)
STEPS = 8
RELATIVE = 1e-4
NEAR_ZERO_DB = 1e-3
"""Allowed difference of a signal-to-noise ratio in dB, which has no relative one near 0 dB."""
OF_PASSES = ("guidance_gap_", "velocity_conditional_rms")
"""What needs the guidance passes, which a recorded loop of one's own does not give: they are computed here.

The settings of guidance are no measurements.
"""
NOT_THE_MODEL = {"time", "step_seconds", "gpu_ms", "vram_peak", "recorder_seconds", "noise_injected", "sigma_down"}
"""Clocks, and what is only known of a scheduler of diffusers."""


def recorded(pipe: Any, runs: Path, guidance: dict[str, Any]) -> tuple[Path, lightricks_code.Call]:
    """A recorded diffusers run, and what its denoising began with."""
    calls: list[dict[str, Any]] = []

    def keep(_: Any, __: Any, arguments: dict[str, Any]) -> None:
        calls.append(arguments)

    hook = pipe.transformer.register_forward_pre_hook(keep, with_kwargs=True)
    try:
        with record(pipe, runs_dir=runs, name="diffusers") as run:
            pipe(
                prompt="a red ball moving right",
                num_inference_steps=STEPS,
                generator=torch.Generator().manual_seed(5),
                output_type="latent",
                **SIZE,
                **nano.CALL,
                **guidance,
            )
    finally:
        hook.remove()
    first = calls[0]
    return run.path, lightricks_code.Call(
        first["hidden_states"][:1].float(),
        first["audio_hidden_states"][:1].float(),
        pipe.scheduler.sigmas.float(),
        first["encoder_hidden_states"],
        first["audio_encoder_hidden_states"],
    )


def metrics(path: Path, stream: str) -> dict[str, Any]:
    """Every metric of a stream's only stage."""
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(str(path), mode="r")[f"stage_0/{stream}"]
    return {name: group[name][:] for name in group.array_keys() if group[name].dtype.kind == "f"}


def difference(name: str, ours: Any, theirs: Any) -> float:
    """The worst difference of a metric, relative to the bound that holds for it: 1 is as much as is allowed."""
    assert ours.shape == theirs.shape, name
    if not np.array_equal(np.isnan(ours), np.isnan(theirs)):
        return np.inf
    held = np.isfinite(ours)
    assert np.array_equal(ours[~held], theirs[~held], equal_nan=True), name
    apart, size = np.abs(ours[held] - theirs[held]), np.abs(ours[held])
    allowed = RELATIVE * size
    if name == "snr_spectrum_db":
        allowed = np.where(size < 10, NEAR_ZERO_DB, allowed)
    # What is next to nothing among the metric's values, as a mean that crosses 0, is rounding.
    allowed = np.maximum(allowed, 5e-6 * (size.max() if size.size else 0))
    with np.errstate(invalid="ignore"):
        return float(np.nan_to_num(apart / allowed).max()) if apart.size else 0.0


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
    diffusers_run, call = recorded(pipe, tmp_path, guidance)
    model, _, _ = lightricks_code.transformer(checkpoint)
    with record(runs_dir=tmp_path, name="ltx-core") as recording:
        gaps = lightricks_code.run(model, call, GRID, guidance, recording, nano.CALL["frame_rate"])
    worst: dict[str, float] = {}
    for stream in ("video", "audio"):
        ours, theirs = metrics(diffusers_run, stream), metrics(recording.path, stream)
        for name in sorted((ours.keys() & theirs.keys()) - NOT_THE_MODEL):
            if name.startswith(OF_PASSES) or name in nano.GUIDED:
                continue
            worst[f"{stream}/{name}"] = difference(name, ours[name], theirs[name])
        found = {"velocity_conditional_rms": gaps[stream].pop("conditional")}
        found |= {f"guidance_gap_{name}": values for name, values in gaps[stream].items()}
        for name, values in found.items():
            if guided:
                own = ours[name].reshape(STEPS, -1)[:, 0]
                worst[f"{stream}/{name}"] = difference(name, own, np.array(values, dtype=own.dtype))
    record_property("worst", max(worst.values()))
    print(f"\n{len(worst)} metrics agree ({checkouts.LTX2 or 'ltx-core as installed'}); nearest to its bound:", end=" ")
    print(", ".join(f"{n} {w:.2f}" for n, w in sorted(worst.items(), key=lambda item: -item[1])[:3]))
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
