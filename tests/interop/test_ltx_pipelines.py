"""Lightricks' pipelines at toy size, with and without the recorder: `make interop` makes the environment.

`LTXTUI_LTX2=PATH` tests with a checkout of Lightricks/LTX-2 instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from recorder import nano, record  # noqa: E402
from replay.findings import RunFindings  # noqa: E402
from replay.sources.open import load  # noqa: E402
from tests.interop import agreement, checkouts, diffusers_run  # noqa: E402
from tests.interop import lightricks_pipelines as theirs  # noqa: E402

checkouts.use_ltx2()
pytest.importorskip(
    "ltx_pipelines.utils.samplers",
    reason="ltx-pipelines is not here: `make interop`, or LTXTUI_LTX2=PATH of a checkout with what it needs",
    exc_type=ImportError,
)

NAME = "ltx-pipelines"
CASES = {
    # Name: rows by stage, evaluations by row of the first stage.
    "distilled": ([8, 3], 1),
    "distilled ancestral": ([8, 3], 1),
    "one stage, guided": ([4], 1),
    "two stages, guided": ([4, 3], 1),
    "HQ, res_2s": ([5, 4], 2),
    "keyframe interpolation": ([4, 3], 1),
    "gradient estimation": ([3], 1),
    "CFG++": ([3], 1),
    "ancestral": ([3], 1),
    "res_2s, guided": ([4], 2),
    "Euler, guided": ([3], 1),
    "first frame given": ([3], 1),
    "first frame at strength .5": ([3], 1),
    "appended keyframe": ([3], 1),
    "video alone": ([3], 1),
    "audio given": ([3], 1),
    "skipped steps": ([3], 1),
}
GUIDED = {"one stage, guided", "two stages, guided", "HQ, res_2s", "res_2s, guided", "Euler, guided", "CFG++"}
Cases = dict[str, tuple[Any, Callable[[], Any]]]


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch, torch.inference_mode():
        if theirs.is_new():
            yield theirs.NewPipelines(tmp_path_factory.mktemp("toy"))
        else:
            yield theirs.OldPipelines(tmp_path_factory.mktemp("toy"), patch.setattr)
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def cases(toy: Any) -> Cases:
    return toy.cases()  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", list(CASES))
def test_a_recorded_call_gives_the_same_bits(cases: Cases, name: str, tmp_path: Path) -> None:
    if name not in cases:
        pytest.skip("this interface of ltx-pipelines has no such case")
    pipe, call = cases[name]
    with torch.inference_mode():
        plain = call()
        with record(pipe or NAME, runs_dir=tmp_path) as run:
            seen = call()
    for one, other in zip(plain, seen, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)
    read = load(run.path)
    assert not [e["text"] for e in read.events if e["kind"] == "error"]
    rows, first = CASES[name]
    video = [stage.streams["video"] for stage in read.stages]
    assert [v.rows for v in video] == rows
    halved = pipe is not None and len(rows) == 2
    assert video[0].grid == ((3, 2, 3) if halved else (3, 4, 6))
    for stage in read.stages:
        for stream in stage.streams.values():
            np.testing.assert_array_equal(stream.series("sigma_next")[:-1], stream.series("sigma")[1:])
            assert stream.series("sigma_next")[-1] == 0 and np.isfinite(stream.values("velocity_rms")).all()
            counted = stream.series("evaluations")
            assert (counted[:-1] == first).all() or name == "skipped steps"
    heard = set(read.stages[0].streams)
    assert heard == ({"video"} if name in ("video alone", "audio given") else {"video", "audio"})
    if name in GUIDED:
        for gap in ("cfg", "stg", "modality"):
            assert (video[0].values(f"guidance_gap_{gap}") > 0).all()
        assert (video[0].series("guidance_scale") == 3).all()
    if name == "skipped steps":
        assert 0 in video[0].series("evaluations").tolist()
    if name.startswith("first frame"):
        assert np.isnan(video[0].values("frame_identity")[:, 0, 0]).all()
    if pipe is not None:
        kept = read.stages[0].metadata
        assert (kept["prompt"], kept["seed"], kept["pipeline"]) == ("a fox", 3, type(pipe).__name__)


def test_a_restart_acts_in_the_distilled_pipeline(cases: Cases, tmp_path: Path) -> None:
    pipe, call = cases["distilled"]
    shock = {"kind": "restart", "at": 0.95, "strength_db": 6.0, "seed": 1}
    found = []
    with torch.inference_mode():
        plain = call()
        for name in ("a", "b"):
            with record(pipe, runs_dir=tmp_path / name, shocks=[shock]) as run:
                found.append(call())
    read = load(run.path)
    assert torch.equal(found[0][0], found[1][0]) and not torch.equal(found[0][0], plain[0])
    assert [s.streams["video"].rows for s in read.stages] == [9, 3]
    assert [e["kind"] for e in read.events].count("shock") == 1


def test_a_restart_has_the_levels_of_diffusers(toy: Any, pipe: Any, tmp_path: Path) -> None:
    _, begun = diffusers_run.recorded(pipe, tmp_path, nano.UNGUIDED)
    ours, _ = diffusers_run.recorded(pipe, tmp_path, nano.UNGUIDED, "restart", [diffusers_run.RESTART])
    call = toy.euler(begun.sigmas.tolist())
    with torch.inference_mode(), record(NAME, runs_dir=tmp_path, shocks=[diffusers_run.RESTART]) as run:
        call()
    agreement.assert_same_levels(ours, run.path, diffusers_run.STEPS + 1)


FAULTS: dict[str, tuple[dict[str, Any], set[str]]] = {
    # Name: what is wrong with a call of the loop, and the findings that name it.
    "not a number": ({"text": theirs.broken()}, {"not-finite"}),
    "dead guidance": ({"against": theirs.contexts()}, {"pass-without-effect"}),
    "noise that is left": ({"levels": theirs.LEVELS[:-1]}, {"noise-left"}),
    "a start that is not noise": ({"noiser": theirs.NoNoise()}, {"start-noise-power", "noise-repeated"}),
}


def named(runs: Path, call: Callable[[], Any]) -> dict[str, str]:
    """Severities by id of what is found in a recorded call."""
    with torch.inference_mode(), record(NAME, runs_dir=runs) as run:
        call()
    return {finding.id: finding.severity for finding in RunFindings(load(run.path)).update()}


@pytest.fixture(scope="module")
def healthy(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return named(tmp_path_factory.mktemp("healthy"), toy.euler())


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_fault_is_named(toy: Any, healthy: dict[str, str], fault: str, tmp_path: Path) -> None:
    wrong, ids = FAULTS[fault]
    found = named(tmp_path, toy.euler(**wrong))
    assert ids <= found.keys(), found
    assert not ids & healthy.keys(), healthy
