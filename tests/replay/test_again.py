"""Repeating a recorded run: bit for bit, with changes, and refused where the run does not record enough."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from ltxtui.cli import cli
from ltxtui.cli.rerun import merge
from recorder.format import protocol
from recorder.format.events import MAX_ITEMS, MAX_TEXT
from recorder.generate import Request, generate
from recorder.sampling import metadata as run_metadata
from recorder.shocks.parse import parse_shock
from replay.model.run import Run
from replay.rerun import CannotRepeat, request_of
from replay.sources.open import load
from tests.conftest import UNGUIDED, nano_call

SIZE = ["--height", "64", "--width", "96", "--frames", "17", "--guidance-scale", "1"]
OF_THE_MACHINE = {"step_seconds", "recorder_seconds", "gpu_ms", "vram_peak"}


@pytest.fixture
def loaded(nano_pipe: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The nano pipeline is loaded once for all; `generate` still gives it the scheduler of its request."""
    from recorder import nano
    from recorder.nano import components

    def load_again(**given: Any) -> Any:
        nano_pipe.scheduler = components.scheduler()
        return nano_pipe

    monkeypatch.setattr(nano, "load", load_again)
    return load_again()


def ltxtui(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def recorded(*arguments: str) -> tuple[Run, Path, str]:
    """A run made by `ltxtui record`, its archive, and what was said on standard error."""
    result = ltxtui("record", *arguments, "--json")
    assert result.exit_code == 0, result.output
    archive = Path(json.loads(result.stdout)["archive"])
    return load(archive), archive, result.stderr


def problem(*arguments: str) -> str:
    result = ltxtui(*arguments)
    assert result.exit_code == 1, result.output
    return result.stderr.strip().splitlines()[-1]


def assert_same(a: Run, b: Run) -> None:
    """Every metric of every stream has the same bits, but for times and memory."""
    assert len(a.stages) == len(b.stages)
    for one, other in zip(a.stages, b.stages, strict=True):
        assert one.sigmas == other.sigmas and list(one.streams) == list(other.streams)
        for name, stream in one.streams.items():
            assert stream.rows == other.streams[name].rows > 0
            for metric in stream.metrics.keys() - OF_THE_MACHINE:
                np.testing.assert_array_equal(stream.values(metric), other.streams[name].values(metric), metric)


def changes(run: Run) -> list[float]:
    values: list[float] = run.stages[0].streams["video"].series("x0_change_rms").tolist()
    return values


def test_a_run_is_repeated_bit_for_bit_and_with_changes(loaded: Any, tmp_path: Path) -> None:
    runs = ["--runs-dir", str(tmp_path)]
    shocks = ["--shock", "restart:step=3,db=3", "--shock", "renoise:step=4,db=2,seed=7"]
    asked = ["--model", "nano", "--prompt", "a blue box moving up", "--steps", "6", "--seed", "3", *SIZE, *shocks]
    first, archive, said = recorded(*asked, "--name", "first", *runs)
    assert said.count("warning: ") == 0 and first.steps == 7
    kept = first.metadata["user"]["request"]
    assert not {"runs_dir", "name", "output", "device", "allow_control"} & set(kept)
    assert Request.from_dict(kept).as_dict() == kept

    # Named as `ltxtui runs` names it.
    twin, _, said = recorded("--like", archive.stem, *runs)
    assert "warning" not in said and "note" not in said
    assert_same(first, twin)
    assert request_of(twin) == request_of(first)

    smooth, _, _ = recorded("--like", str(archive), "--shock", "none", *runs)
    assert smooth.steps == 6 and not [e for e in smooth.events if e["kind"] == "shock"]
    stage = smooth.stages[0]
    assert stage.metadata["prompt"] == "a blue box moving up" and stage.metadata["seed"] == 3
    assert list(stage.sigmas) == first.stages[0].metadata["shocks"]["native"]
    assert changes(smooth)[1:3] == changes(first)[1:3], "the same clip up to the first shock"

    other, _, _ = recorded(
        "--like", str(archive), "--seed", "4", "--sigmas", "1,.9,.95,.6,.3", "--shock", "none", *runs
    )
    assert other.steps == 5 and other.stages[0].metadata["seed"] == 4
    assert other.stages[0].sigmas == pytest.approx([1, 0.9, 0.95, 0.6, 0.3])
    assert request_of(other)["sigmas"] == [1, 0.9, 0.95, 0.6, 0.3]


def test_live_shocks_of_a_script_are_repeated_by_the_command(loaded: Any, tmp_path: Path) -> None:
    from recorder import record

    answers: list[bool] = []
    calls = 0

    with record(loaded, runs_dir=tmp_path, allow_control=True, shocks=[parse_shock("renoise:step=2,db=3")]) as run:

        def send(*_: Any) -> None:
            nonlocal calls
            calls += 1
            live = {3: {"kind": "restart", "strength_db": 4.0}, 5: {"kind": "renoise", "strength_db": 2.0, "seed": 5}}
            if calls in live:
                message = {"t": protocol.CONTROL, "id": str(calls), "command": "shock", "shock": live[calls]}
                answers.append(run.control.take(message))

        hook = loaded.transformer.register_forward_pre_hook(send)
        loaded(**nano_call(7, height=64, width=96, num_frames=17, **UNGUIDED))
        hook.remove()
    first = load(run.path)
    assert answers == [True, True]
    live = [e["payload"] for e in first.events if e["kind"] == "shock" and e["payload"].get("live")]
    assert [p["shock"]["kind"] for p in live] == ["restart", "renoise"]
    asked = request_of(first)
    assert [s["kind"] for s in asked["shocks"]] == ["renoise", "restart", "renoise"]
    assert asked["model"] == "nano" and asked["steps"] == 7 and asked["height"] == 64
    assert asked["arguments"]["stg_scale"] == 0.0 and "sigmas" not in asked["arguments"]

    twin, _, said = recorded("--like", str(run.path), "--runs-dir", str(tmp_path))
    assert "note: rebuilt from the recorded call" in said and "warning: this cannot" not in said
    assert_same(first, twin)


def test_a_distilled_run_is_repeated(loaded: Any, tmp_path: Path) -> None:
    request = Request(
        model="nano", prompt="a red ball moving left", height=64, width=96, frames=17, distilled=True, runs_dir=tmp_path
    )
    first = load(generate(request, lambda done, total: None).archive)
    twin, _, _ = recorded("--like", first.name, "--runs-dir", str(tmp_path))
    assert_same(first, twin)


def test_plan_problems_come_before_the_weights_and_warnings_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recorder import nano

    def never(**given: Any) -> None:
        raise AssertionError("the weights were loaded")

    monkeypatch.setattr(nano, "load", never)
    asked = ["record", "--model", "nano", "--runs-dir", str(tmp_path)]
    assert "beyond the schedule" in problem(*asked, "--shock", "restart:sigma=0.01")
    assert "act on arrival at the same step" in problem(
        *asked, "--shock", "restart:step=3", "--shock", "renoise:step=3"
    )
    assert list(tmp_path.glob("*.zarr")) == []
    result = ltxtui(*asked, "--shock", "additive:step=3,db=6")
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: additive at step 3")]
    assert len(warnings) == 2 and "the weights were loaded" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "--model nano.*--like"),
        (["--like", "nothing"], "does not exist.*ltxtui runs"),
        (["--model", "nano", "--shock", "jolt"], "kind must be one of"),
        (["--model", "nano", "--sigmas", "1,0.5", "--steps", "2"], "remove --steps"),
    ],
)
def test_record_refuses_what_cannot_work(arguments: list[str], says: str, tmp_path: Path) -> None:
    assert re.search(says, line := problem("record", *arguments, "--runs-dir", str(tmp_path))), line


def test_demo_reads_its_shocks_before_it_starts(tmp_path: Path) -> None:
    assert "kind must be one of" in problem("demo", "--shock", "jolt", "--runs-dir", str(tmp_path))


# -- what an archive records, without a model


def made_up(
    request: dict[str, Any] | None = None, metadata: dict[str, Any] | None = None, stages: int = 1, **user: Any
) -> Run:
    run = Run()
    known = {"versions": {"torch": "0.1"}, "user": {"request": request, "request_is_whole": True, **user}}
    header = {
        "t": protocol.HEADER,
        "format": protocol.FORMAT,
        "version": protocol.FORMAT_VERSION,
        "run": "made-up",
        "time": 0.0,
    }
    run.feed({**header, "archive": "x.zarr", "metadata": known if request is not None else {}})
    for index in range(stages):
        stage = {"t": protocol.STAGE, "stage": index, "call": index, "tile": None, "time": 0.0, "sigmas": [1.0, 0.5]}
        run.feed({**stage, "metadata": metadata or {}})
    return run


def shock_event(number: Any, shock: Any, **more: Any) -> dict[str, Any]:
    payload = {"number": number, "shock": shock, "live": True, **more}
    return {
        "t": protocol.EVENT,
        "time": 0.0,
        "stage": 0,
        "step": 1,
        "stream": None,
        "kind": "shock",
        "payload": payload,
    }


ASKED = Request(model="nano", prompt="p", shocks=(parse_shock("renoise:step=1"),)).as_dict()
TOLD: dict[str, Any] = {
    "prompt": "a fox",
    "negative_prompt": None,
    "seed": 5,
    "pipeline": "LTX2Pipeline",
    "model": "some/model",
    "arguments": {
        "height": 256, "width": 384, "num_frames": None, "num_inference_steps": 12, "guidance_scale": 2.5,
        "sigmas": [1.0, 0.5], "latents": None, "generator": {"seed": 5, "device": "cpu"}, "output_type": "latent",
        "callback_on_step_end": None, "spatio_temporal_guidance_blocks": [28], "system_prompt": "Be brief.",
    },
    "scheduler": {"class": "FlowMatchEulerDiscreteScheduler", "config": {"shift": 1.0, "use_dynamic_shifting": False}},
}  # fmt: skip


def test_live_shocks_follow_the_planned_ones_once_each() -> None:
    run = made_up(ASKED)
    run.feed(shock_event(0, {"kind": "renoise", "at": 1}, live=False))
    for number, step in ((2, 9), (1, 4), (1, 4)):
        run.feed(shock_event(number, {"kind": "restart", "at": step, "respace": True}))
    shocks = request_of(run)["shocks"]
    assert [(s["kind"], s["at"]) for s in shocks] == [("renoise", 1), ("restart", 4), ("restart", 9)]
    run.feed(shock_event(7, {"kind": "restart", "at": 11}))
    with pytest.raises(CannotRepeat, match=r"numbered \[1, 2, 7\]"):
        request_of(run)


def test_a_scripts_call_becomes_a_request() -> None:
    found = request_of(made_up(metadata=TOLD))
    assert found["model"] == "some/model" and found["seed"] == 5 and found["steps"] == 12 and "frames" not in found
    arguments = {
        "guidance_scale": 2.5, "sigmas": [1.0, 0.5], "spatio_temporal_guidance_blocks": [28],
        "system_prompt": "Be brief.",
    }  # fmt: skip
    assert found["arguments"] == arguments
    assert found["scheduler"] == {"shift": 1.0, "use_dynamic_shifting": False}
    request = Request.from_dict(found)
    assert (request.height, request.width, request.frames) == (256, 384, None)
    assert Request.from_dict({"prompt": "p", "model": "nano"}) == Request(model="nano", prompt="p")


def test_options_that_are_given_replace_what_they_mean() -> None:
    fields = request_of(made_up(metadata=TOLD))
    assert merge(fields, {}) == fields
    assert "sigmas" not in merge(fields, {"steps": 20})["arguments"] and merge(fields, {"steps": 20})["steps"] == 20
    unguided = merge(fields, {"guidance_scale": 1.0})
    assert unguided["guidance_scale"] == 1.0 and "guidance_scale" not in unguided["arguments"]
    assert merge({**fields, "sigmas": [1.0, 0.5]}, {"steps": 20})["sigmas"] is None


@pytest.mark.parametrize(
    ("place", "value", "says"),
    [
        (("arguments", "latents"), "Tensor [1, 6, 8] torch.float32", "latents, of which only the shape"),
        (("arguments", "image"), "Image (64, 64) RGB", "image = Image"),
        (("arguments", "attention_kwargs"), {"scale": "Tensor [2] float"}, "attention_kwargs"),
        (("arguments", "decode_timestep"), [0.0] * MAX_ITEMS, "decode_timestep"),
        (("arguments", "callback_on_step_end"), "report", "callback"),
        (("arguments", "generator"), {"seed": 5, "device": "cuda:0"}, "on cuda:0"),
        (("arguments", "height"), 256.5, "height = '256.5'"),
        (("arguments",), None, "arguments of its call"),
        (("prompt",), ["a fox", "a hen"], "several prompts"),
        (("prompt",), None, "without a prompt"),
        (("prompt",), "a" * MAX_TEXT + "…", "too long"),
        (("seed",), [1, 2], "several generators"),
        (("pipeline",), "LTX2ImageToVideoPipeline", "LTX2ImageToVideoPipeline; only LTX2Pipeline"),
        (("pipeline",), None, "a custom loop"),
        (("scheduler", "class"), "LTXEulerAncestralRFScheduler", "noise that was not recorded"),
        (("shocks",), {"shocks": "restart"}, "its shocks are not recorded"),
        (("shocks",), {"shocks": [{"kind": "jolt"}]}, "recorded shock cannot be read"),
    ],
)
def test_a_script_that_told_too_little_is_refused(place: tuple[str, ...], value: Any, says: str) -> None:
    told = copy.deepcopy(TOLD)
    inner = told
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    with pytest.raises(CannotRepeat, match=re.escape(says)):
        request_of(made_up(metadata=told))


def test_no_loop_or_several_are_refused_and_an_unknown_seed_or_model_is_left_open() -> None:
    with pytest.raises(CannotRepeat, match="2 denoising loops"):
        request_of(made_up(metadata=TOLD, stages=2))
    with pytest.raises(CannotRepeat, match="no denoising had begun"):
        request_of(made_up(stages=0))
    found = request_of(made_up(metadata={**TOLD, "seed": None, "model": ""}))
    assert found["seed"] is None and found["model"] == ""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model": 7}, "model = '7'"),
        ({"steps": True}, "steps = 'True'"),
        ({"offload": "everything"}, "offload"),
        ({"sigmas": [1.0, "x"]}, "sigmas"),
        ({"shocks": [{"kind": "jolt"}]}, "recorded shock cannot be read"),
        ({"tea": 1}, "tea, which this version does not support"),
    ],
)
def test_a_request_that_is_not_as_it_should_be_is_refused(change: dict[str, Any], says: str) -> None:
    with pytest.raises(CannotRepeat, match=re.escape(says)):
        request_of(made_up({**ASKED, **change}))


def test_a_request_that_was_cut_when_it_was_recorded_says_so() -> None:
    long = Request(model="nano", prompt="a" * (MAX_TEXT + 1)).as_metadata()
    assert long["request_is_whole"] is False and Request(model="nano", prompt="p").as_metadata()["request_is_whole"]
    with pytest.raises(CannotRepeat, match="too long to be kept completely"):
        request_of(made_up(**run_metadata.brief(long)))
