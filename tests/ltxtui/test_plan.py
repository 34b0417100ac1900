"""`ltxtui plan`: the planned levels are those of the model's calls, and the user is warned beforehand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ltxtui.cli import cli
from recorder.generate import CannotGenerate, Request, generate
from recorder.recipes.named_schedule import DISTILLED as DISTILLED_SIGMAS
from recorder.recipes.native_schedule import Native, native, planned
from recorder.shocks.parse import parse_shock
from recorder.shocks.plan import plan
from recorder.shocks.schedules import ancestral
from replay.sources.open import load

SMALL: dict[str, Any] = {"height": 64, "width": 96, "frames": 17, "guidance_scale": 1.0}
"""A clip of 3 latent frames of 2×3."""


def request(**more: Any) -> Request:
    return Request(**{"model": "nano", "prompt": "a red ball moving left", "steps": 6, **SMALL, **more})


@pytest.fixture
def loaded(nano_pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nano pipeline is loaded once for all; `generate` still gives it the scheduler of its request."""
    from recorder import nano
    from recorder.nano import components

    def load_again(**given: Any) -> Any:
        nano_pipe.scheduler = components.scheduler()
        return nano_pipe

    monkeypatch.setattr(nano, "load", load_again)


def ltxtui(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(cli, arguments, env={"LC_ALL": "C.UTF-8", "TERM": "xterm", **environment})


def problem(*arguments: str) -> str:
    result = ltxtui(*arguments)
    assert result.exit_code == 1, result.output
    lines = result.stderr.strip().splitlines()
    assert lines[-1].startswith("ltxtui: ") and "Traceback" not in result.output
    return lines[-1]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"shocks": (parse_shock("restart:sigma=0.9,db=6"), parse_shock("renoise:step=5,db=3"))},
        {"shocks": (parse_shock("restart:step=2,respace"), parse_shock("sigma_bump:step=4,db=2")), "width": 160},
        {"sigmas": (1.0, 0.97, 0.9, 0.95, 0.4), "shocks": tuple(ancestral(0.5))},
        {"distilled": True, "shocks": (parse_shock("restart:step=6,to=0.9"),)},
    ],
    ids=["smooth", "restart", "respaced", "free", "distilled"],
)
def test_what_is_planned_is_what_is_recorded(more: dict[str, Any], loaded: None, tmp_path: Path) -> None:
    wanted = request(**more, runs_dir=tmp_path)
    ((found, made),) = planned(wanted)
    run = load(generate(wanted, lambda done, total: None).archive)
    (stage,) = run.stages
    assert stage.sigmas == made.sigmas
    for stream in stage.streams.values():
        assert stream.series("sigma").tolist() == list(made.sigmas), "the levels the model was really called at"
    if wanted.shocks:
        told = stage.metadata["shocks"]
        assert told["native"] == list(made.native) and told["warnings"] == list(made.warnings)
        assert told["actions"] == [a.as_dict() for a in made.actions]
        assert len(made.actions) == len([e for e in run.events if e["kind"] == "shock"]) > 0
    else:
        assert made.sigmas == made.native == found.sigmas
    if "video" in stage.streams and found.grid is not None:
        assert stage.streams["video"].grid == found.grid


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "stochastic", "dpmpp_2m"])
def test_a_plan_warns_of_rising_levels_as_its_run_does(sampler: str, loaded: None, tmp_path: Path) -> None:
    wanted = request(sigmas=(0.9, 0.95, 0.5), sampler=sampler, runs_dir=tmp_path)
    ((_, made),) = planned(wanted)
    run = load(generate(wanted, lambda done, total: None).archive)
    assert [e["text"] for e in run.events if "rises" in e["text"]] == list(made.warnings)
    assert [("Euler" in w, "leaves the level" in w) for w in made.warnings] == {
        "euler": [(True, False)],
        "euler_ancestral": [(False, True)],
        "stochastic": [],
    }.get(sampler, [(False, False)])


def test_the_distilled_levels_are_neither_shifted_nor_stretched() -> None:
    assert native(request(distilled=True)).sigmas == pytest.approx(DISTILLED_SIGMAS, abs=1e-7)


def test_the_schedule_is_shifted_by_the_size_and_sizes_default_to_the_pipelines_own(tmp_path: Path) -> None:
    config = {"use_dynamic_shifting": True, "base_shift": 0.95, "max_shift": 2.05, "base_image_seq_len": 1024}
    config |= {"max_image_seq_len": 4096, "shift_terminal": 0.1, "_class_name": "FlowMatchEulerDiscreteScheduler"}
    found = native(Request(model="any", prompt="", steps=20, scheduler=config))
    assert (found.size, found.grid, found.tokens) == ((512, 768, 121), (16, 16, 24), 6144)
    mu = 0.95 + (2.05 - 0.95) * (6144 - 1024) / (4096 - 1024)
    even = np.linspace(1, 1 / 20, 20)
    shifted = np.exp(mu) / (np.exp(mu) + 1 / even - 1)
    stretched = 1 - (1 - shifted) * (1 - 0.1) / (1 - shifted[-1])
    np.testing.assert_allclose(found.sigmas, stretched, atol=2e-6)
    small = native(Request(model="any", prompt="", steps=20, scheduler=config, height=256, width=256, frames=33))
    assert small.tokens == 320 and max(np.array(found.sigmas) - np.array(small.sigmas)) > 0.05


def test_plan_draws_the_curve_and_tells_of_every_shock() -> None:
    result = ltxtui("plan", "--steps", "30", "--shock", "restart:sigma=0.93,db=6", "--shock", "additive:step=20,db=3")
    assert result.exit_code == 0, result.output
    text = result.stdout
    assert "nano: 30 steps for 384×320, 65 frames: 9×10×12 = 1,080 tokens" in text
    assert "31 model evaluations, 1 more than the 30 without shocks" in text
    rows = {kind: row.split() for row in text.splitlines() for kind in ("restart", "additive") if f"  {kind}  " in row}
    made = planned(Request(model="nano", prompt="", shocks=(parse_shock("restart:sigma=0.93,db=6"),)))[0][1]
    (action,) = made.actions
    assert action.sigma_down <= 0.93 < made.native[action.step - 1], "the first native level at or below σ"
    assert rows["restart"][2:6] == [
        str(action.position - 1), str(action.step), f"{action.sigma_down:.4f}", f"{action.sigma_up:.4f}"
    ]  # fmt: skip
    assert rows["restart"][6] == "+6.00" and rows["restart"][-1] == "on" and rows["additive"][-1] == "off"
    assert float(rows["restart"][7]) - float(rows["restart"][8]) == pytest.approx(6, abs=0.02)
    said = [line for line in text.splitlines() if line.startswith("warning: ")]
    assert any("churn cap" in w for w in said) and any("off the marginal" in w for w in said)
    assert any("\u2801" <= c <= "\u28ff" for c in text), "the curve is drawn in braille"
    assert "\x1b" not in text and max(len(line) for line in text.splitlines() if "┤" in line or "│" in line) <= 100


def test_the_curve_shows_down_and_up_and_numbers_stand_below_their_places() -> None:
    from ltxtui.reports.plan_text import _substeps, _under_the_curve

    made = plan([1.0, 0.9, 0.8, 0.7, 0.6], [parse_shock("restart:step=2,to=0.95"), parse_shock("renoise:step=4,to=.4")])
    assert made.sigmas == pytest.approx([1, 0.9, 0.95, 0.8, 0.7, 0.6])
    assert _substeps(made) == pytest.approx([1, 0.95, 0.9, 0.8, 0.95, 0.875, 0.8, 0.75, 0.7, 0.4, 0.6])
    under = _under_the_curve([(Native(made.native), made)], made, 80).splitlines()[-1]
    inner = 80 - 7 - 8 - 1
    assert [m.start() - 7 for m in re.finditer(r"\d", under)] == [round(3 / 10 * inner), round(9 / 10 * inner)]


def test_plan_is_ascii_without_utf8_and_a_shock_at_every_step_is_said_briefly() -> None:
    result = ltxtui("plan", "--steps", "30", "--shock", "ancestral:eta=0.5", LC_ALL="C")
    assert result.exit_code == 0 and result.stdout.isascii()
    assert result.stdout.count("  renoise  ") == 3 and "26 more places" in result.stdout


def test_a_critical_shock_is_decided_online_and_its_evaluations_are_kept() -> None:
    text = ltxtui("plan", "--shock", "restart:at=critical").stdout
    assert "1 of them kept for the critical phase" in text and "decided in the run" in text
    told = json.loads(ltxtui("plan", "--shock", "restart:at=critical", "--json").stdout)
    assert told["waiting"]["spare_evaluations"] == 1 and told["shocks"] == []
    assert told["evaluations"] == told["native_evaluations"] + 1 == len(told["sigmas"])


def test_json_has_the_levels_and_null_for_what_is_infinite() -> None:
    shocks = ["--shock", "predict_perturb:step=2", "--shock", "restart:step=3,db=3"]
    result = ltxtui("plan", "--sigmas", "1,.9,.7,.5,.2", *shocks, "--json")
    told = json.loads(result.stdout)
    assert told["native"] == pytest.approx([1, 0.9, 0.7, 0.5, 0.2]) and told["tokens"] is None
    perturb, restart = told["shocks"]
    assert perturb["snr_down_db"] is None and perturb["strength_db"] is None and perturb["marginal"] == "off"
    assert told["sigmas"][restart["row"] + 1] == restart["sigma_up"] and restart["marginal"] == "on"
    assert restart["shock"] == {"kind": "restart", "at": 3, "strength_db": 3.0}


def test_a_saved_shock_scheduler_brings_its_shocks(tmp_path: Path) -> None:
    from recorder.nano import components
    from recorder.shocks.scheduler import ShockScheduler

    scheduler = ShockScheduler.from_config(components.scheduler().config, shocks=[parse_shock("restart:step=3")])
    scheduler.save_config(tmp_path)
    file = str(tmp_path / "scheduler_config.json")
    told = json.loads(ltxtui("plan", "--config", file, "--steps", "8", "--json").stdout)
    assert [s["step"] for s in told["shocks"]] == [3] and told["evaluations"] == 9
    assert told["native"] == list(native(Request(model="nano", prompt="", steps=8)).sigmas)
    told = json.loads(ltxtui("plan", "--config", file, "--steps", "8", "--shock", "renoise:step=2", "--json").stdout)
    assert [s["shock"]["kind"] for s in told["shocks"]] == ["renoise"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--shock", "restart:sigma=0.01"], "beyond the schedule.*choose a σ from"),
        (["--shock", "jolt:sigma=0.9"], "kind must be one of renoise, restart"),
        (["--shock", "restart:sigma=high"], "cannot be read"),
        (["--shock", "restart"], "needs a place"),
        (["--shock", "none", "--shock", "restart:step=2"], "cannot be combined"),
        (["--sigmas", "1,0.9,fast"], "--sigmas '1,0.9,fast'.*look like"),
        (["--sigmas", "1,1.2"], "at most 1"),
        (["--sigmas", "1,0.5", "--steps", "4"], "remove --steps"),
        (["--steps", "0"], "--steps must be at least 1"),
        (["--height", "500"], "multiple of 32"),
        (["--model", "no/such-model"], "cannot be loaded.*--config"),
    ],
)
def test_plan_refuses_what_cannot_work(arguments: list[str], says: str) -> None:
    assert re.search(says, line := problem("plan", *arguments)), line


@pytest.mark.parametrize("command", ["plan", "record"])
def test_help_names_every_key_of_a_shock(command: str) -> None:
    said = ltxtui(command, "--help").stdout
    told = said[said.index("Keys of a shock:") :]
    assert not [k for k in ("sigma", "at", "step", "snr", "db", "to", "eta", "shape", "streams", "frames", "respace",
                            "seed") if not re.search(rf"\b{k}\b", told)]  # fmt: skip


def test_a_wrong_configuration_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "scheduler_config.json"
    for content, says in (
        ("{", "cannot be read as JSON"),
        ("[1]", "holds a list"),
        ('{"shocks": [{"kind": "jolt"}]}', "invalid shocks"),
        ('{"_class_name": "LTXEulerAncestralRFScheduler"}', "not known beforehand"),
    ):
        file.write_text(content)
        assert re.search(says, line := problem("plan", "--config", str(file))), line


def test_a_model_that_chooses_its_length_needs_one(tmp_path: Path) -> None:
    from recorder.nano import components

    components.scheduler().save_config(tmp_path / "scheduler")
    index = {"_class_name": "LTX2Pipeline", "duration_head": ["ltx2", "LTX2DurationHead"]}
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(CannotGenerate, match="--frames"):
        native(Request(model=str(tmp_path), prompt=""))
    assert native(Request(model=str(tmp_path), prompt="", frames=33)).tokens == 5 * 16 * 24
    (tmp_path / "model_index.json").write_text(json.dumps({**index, "duration_head": [None, None]}))
    assert native(Request(model=str(tmp_path), prompt="")).tokens == 6144
