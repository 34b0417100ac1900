"""Baselines: the usual range at equal σ, what leaves it and since when, and the files they are kept in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ltxtui.cli import cli
from recorder import record
from replay import baseline_store
from replay.baseline import (
    FEWEST,
    LEVELS,
    Baseline,
    OtherBaseline,
    band,
    curves_of,
    model_of,
    notes,
    outside,
    size_of,
    streams_of,
)
from replay.model.run import Run
from replay.sources.open import load
from tests.conftest import UNGUIDED, nano_call

FALLING = [{"rms": np.linspace(0, 1, len(LEVELS)) + 0.1 * n} for n in range(11)]
USUAL = Baseline("nano", "video 5×4×5", {f"run-{n}": [curves] for n, curves in enumerate(FALLING)})


def test_the_band_goes_from_the_tenth_to_the_ninetieth_percentile_at_equal_sigma() -> None:
    sigmas = np.array([LEVELS[-1], 0.5, 1.0, 0.001])
    found = band(USUAL, "rms", sigmas)
    at = np.interp(sigmas, LEVELS[::-1], FALLING[0]["rms"][::-1])
    np.testing.assert_allclose(found.low[:3], at[:3] + 0.1)
    np.testing.assert_allclose(found.high[:3], at[:3] + 0.9)
    assert np.isnan(found.low[3]) and found.count == 11
    assert band(USUAL, "unknown", sigmas).count == 0


@pytest.mark.parametrize(("more", "said"), [({"model": "ltx"}, "of the model nano"), ({"size": "a"}, "of the size")])
def test_a_band_of_another_model_or_size_is_refused(more: dict[str, str], said: str) -> None:
    with pytest.raises(OtherBaseline, match=said):
        band(USUAL, "rms", LEVELS, **more)
    assert band(USUAL, "rms", LEVELS, model="nano", size="video 5×4×5").count == 11


def test_leaving_takes_three_rows_and_more_than_a_width() -> None:
    usual = band(USUAL, "rms", np.full(8, 0.5))
    middle, width = (usual.low + usual.high) / 2, usual.high - usual.low
    assert outside(middle, usual) is None
    assert outside(middle + 1.9 * width, usual) is None
    beyond = middle + np.where(np.arange(8) >= 4, 3.0, 0) * width
    place = outside(beyond, usual)
    assert place is not None and place[0] == 4 and place[1] == pytest.approx(2.5)
    alone = middle + np.where(np.arange(8) == 4, 9.0, 0) * width
    assert outside(alone, usual) is None
    assert outside(np.full(8, np.nan), usual) is None


def made(pipe: Any, folder: Path, seed: int, *, steps: int = 8, **more: Any) -> Path:
    with record(pipe, runs_dir=folder, name=f"seed-{seed}", previews=False) as run:
        pipe(**nano_call(steps, seed, **{**UNGUIDED, **more}))
    return run.path


@pytest.fixture(scope="module")
def good(nano_pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("good")
    return [made(nano_pipe, folder, seed) for seed in range(6)]


@pytest.fixture(scope="module")
def odd(nano_pipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Something shrinks the latents after the fourth step."""

    def change(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        return {"latents": tensors["latents"] * (0.3 if step == 3 else 1.0)}

    more = {"callback_on_step_end": change, "callback_on_step_end_tensor_inputs": ["latents"]}
    return made(nano_pipe, tmp_path_factory.mktemp("odd"), 77, **more)


def baselines(runs: list[Run]) -> dict[str, Baseline]:
    found: dict[str, dict[str, Any]] = {}
    for run in runs:
        for _, stream in streams_of(run):
            found.setdefault(size_of(stream), {})[run.name] = curves_of(stream)
    return {size: Baseline("nano", size, curves) for size, curves in found.items()}


def test_what_leaves_the_baseline_is_noted_with_the_step(good: list[Path], odd: Path) -> None:
    known = baselines([load(path) for path in good])
    assert set(known) == {"video 5×4×5", next(size for size in known if size.startswith("audio"))}
    run = load(odd)
    assert model_of(run) == "nano"
    found = notes(run, known)
    assert found and all((f.id, f.severity, f.stage) == ("outside-baseline", "note", 0) for f in found)
    assert {f.step for f in found if f.text.startswith("energy_high_noise is ")} == {4}
    assert all(not f.evidence["low"] <= f.evidence["value"] <= f.evidence["high"] for f in found)  # type: ignore[operator]
    assert notes(load(good[2]), known) == []


def test_few_curves_or_another_size_give_no_note(good: list[Path], odd: Path) -> None:
    known = baselines([load(path) for path in good[: FEWEST - 1]])
    assert notes(load(odd), known) == [] and notes(load(odd), {}) == []


# -- as commands


def baseline(*words: object) -> Any:
    return CliRunner().invoke(cli, ["baseline", *map(str, words)])


def test_add_show_explain_clear(good: list[Path], odd: Path) -> None:
    before = CliRunner().invoke(cli, ["explain", str(odd), "--json"])
    assert "outside-baseline" not in before.output
    added = baseline("add", *good)
    assert added.exit_code == 0 and "nano, video 5×4×5: 6 runs, 6 curves" in added.output
    known = json.loads(baseline("show", "--json").stdout)
    assert known["baseline"] == 1 and known["baselines"][0]["runs"] == [path.stem for path in good]
    assert "σ 0.5: " in baseline("show", odd).output
    after = json.loads(CliRunner().invoke(cli, ["explain", str(odd), "--json"]).stdout)
    notes_of = [f for f in after["findings"] if f["id"] == "outside-baseline"]
    assert notes_of and after["verdict"] == json.loads(before.stdout)["verdict"]
    assert all(set(f) == {"id", "severity", "stage", "stream", "clip", "step", "frames", "text", "evidence", "advice"}
               for f in notes_of)  # fmt: skip
    assert "from step" in CliRunner().invoke(cli, ["explain", str(odd)]).output
    assert f"removed: {good[0].stem}" in baseline("clear", good[0]).output
    assert "5 runs" in baseline("show").output
    assert baseline("clear", "--all").exit_code == 0
    assert not baseline_store.path_of("nano").exists()
    assert "no baseline" in baseline("show").output


def test_a_run_that_is_added_again_is_replaced(good: list[Path]) -> None:
    baseline("add", good[0], good[1])
    assert "2 runs, 2 curves" in baseline("add", good[1]).output


def test_what_does_not_belong_is_refused_and_changes_nothing(
    good: list[Path], nano_pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    larger = made(nano_pipe, tmp_path, 3, steps=2, num_frames=41)
    refused = baseline("add", good[0], larger)
    assert refused.exit_code == 1
    assert "has the sizes video 6×4×5" in refused.output and "add them apart" in refused.output
    other = baseline("show", larger)
    assert other.exit_code == 1 and "no baseline for" in other.output
    assert baseline_store.read("nano") == {}
    monkeypatch.setattr(baseline_store, "model_of", lambda run: run.name)
    assert "is of the model" in baseline("add", good[0], good[1]).output


def test_a_run_that_is_not_complete_is_refused(nano_pipe: Any, tmp_path: Path) -> None:
    def stop(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        made(nano_pipe, tmp_path, 1, callback_on_step_end=stop)
    refused = baseline("add", next(tmp_path.glob("*.zarr")))
    assert refused.exit_code == 1 and "is failed; a baseline is made of complete runs" in refused.output


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"baseline": 9}', '{"baseline": 1, "levels": [1]}'])
def test_a_file_that_is_no_baseline_is_said_and_explain_works(text: str, good: list[Path]) -> None:
    path = baseline_store.path_of("nano")
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert baseline("show").exit_code == 1
    done = CliRunner().invoke(cli, ["explain", str(good[0]), "--json"])
    assert done.exit_code == 0 and "is not a baseline of this version; remove it" in done.stderr
    assert json.loads(done.stdout)["explain"] == 1


def test_clear_wants_runs_or_all() -> None:
    assert baseline("clear").exit_code == 2 and baseline("clear", "a", "--all").exit_code == 2
    assert baseline("clear", "nothing").exit_code == 0
