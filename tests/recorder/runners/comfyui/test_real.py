"""Against a real ComfyUI: `LTXTUI_COMFYUI=PATH pytest tests/recorder/runners/comfyui`, or `make interop`.

`LTXTUI_COMFYUI` names the checkout, `LTXTUI_COMFYUI_PYTHON` the interpreter that has what ComfyUI needs; by default it
is that of the tests. Nothing of the checkout is changed. Without LTXAV, as before 0.7, the model is one of video alone.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recorder.format import sigma_math
from replay.integrity.check import check
from replay.sources.open import load
from tests.recorder.runners.comfyui.real.cases import CASES
from tests.recorder.runners.comfyui.real.starting import has_ltxav
from tests.recorder.runners.comfyui.server import COMFYUI, PYTHON, REASON, ROOT, environment

EVALUATIONS = {
    "heun": 2, "heunpp2": 3, "dpm_2": 2, "dpm_2_ancestral": 2, "dpmpp_sde": 2, "seeds_2": 2, "seeds_3": 3,
    "dpmpp_2s_ancestral": 2, "dpmpp_2s_ancestral_cfg_pp": 2, "exp_heun_2_x0": 2, "exp_heun_2_x0_sde": 2,
    "sa_solver_pece": 2,
}  # fmt: skip
"""Most in a step, of samplers that evaluate more than once."""

NAMES = [" ".join(case) for case in CASES]
STREAMS = {"video", "audio"} if has_ltxav(COMFYUI) else {"video"}

pytestmark = pytest.mark.skipif(not COMFYUI, reason=REASON)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Any:
    runs = tmp_path_factory.mktemp("runs")
    command = [PYTHON, "-m", "tests.recorder.runners.comfyui.real.cases", COMFYUI]
    done = subprocess.run(command, cwd=ROOT, env=environment(runs), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


def reported(report: Any, name: str) -> Any:
    if name not in report["cases"]:
        pytest.skip(f"ComfyUI {report['version']} has no such sampler")
    return report["cases"][name]


def test_there_are_enough_cases(report: Any) -> None:
    assert len(report["cases"]) >= 24


@pytest.mark.parametrize("name", NAMES)
def test_recording_changes_no_bit(report: Any, name: str) -> None:
    case = reported(report, name)
    assert case["finite"] and case["node"] and case["setting"], case


@pytest.mark.parametrize("name", NAMES)
def test_rows_are_the_steps(report: Any, name: str) -> None:
    kind, sampler, *more = name.split()
    for path in reported(report, name)["runs"]:
        run = load(Path(path))
        assert not check(Path(path)).problems
        assert not [e for e in run.events if e["kind"] == "error"]
        streams = run.stages[0].streams
        assert set(streams) == ({"video"} if "video" in more else STREAMS)
        sigma, sigma_next = (streams["video"].series(name) for name in ("sigma", "sigma_next"))
        np.testing.assert_array_equal(sigma[1:], sigma_next[:-1])
        gaps = streams["video"].series("guidance_gap_cfg")
        unguided = "cfg1" in more and "cfg_pp" not in sampler
        assert np.isfinite(gaps).all() != unguided
        if sampler in ("dpm_fast", "dpm_adaptive"):  # they choose their levels, and end at the lowest one of the list
            assert run.standing == "complete" and sigma_next[-1] > 0.5
            continue
        assert run.standing == ("complete, 80 % noise left" if kind == "split" else "complete")
        if kind == "shock":
            assert sigma.tolist() == pytest.approx([1, 0.95, sigma_math.raised(0.8, 6), 0.8, 0.5])
            assert streams["video"].series("sigma_down")[1] == pytest.approx(0.8)
            assert [e["step"] for e in run.events if e["kind"] == "shock"] == [1]
            continue
        assert run.stages[0].steps == (2 if kind == "split" else 4)
        assert streams["video"].series("evaluations").max() == EVALUATIONS.get(sampler, 1)
        assert np.all(np.diff(sigma) < 0)
        assert sigma_next[-1] == (pytest.approx(0.8) if kind == "split" else 0)


def test_neither_diffusers_nor_textual_is_needed(report: Any) -> None:
    assert report["loaded"] == []
    assert report["model"] == ("LTXAV" if "audio" in STREAMS else "LTXV")


def test_node_and_setting_record_once(report: Any) -> None:
    assert report["both"]
    split = sum(name.startswith("split") for name in report["cases"])
    assert report["count"] == 2 * len(report["cases"]) + 1 + 2 * split
