"""Set-ups on the command line: schedules, samplers, guidance, recipes; and every published one of docs/recipes.md."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save_file

from ltxtui.cli import cli
from recorder import nano
from recorder.nano import components
from recorder.recipes.loading import read_lora
from recorder.recipes.native_schedule import planned
from recorder.recipes.recipe_file import builtin_names
from recorder.recipes.request import Request
from replay.sources.open import load

ROOT = Path(__file__).parents[2]
SIZE = ["--height", "64", "--width", "64", "--frames", "9"]
TWO = ["--recipe", "two-stage", "--steps", "4", "--guidance-scale", "1"]
SHOCK = ["--shock", "restart:sigma=0.8,db=3,stage=2"]


def published() -> list[list[str]]:
    """The words behind `ltxtui record` of every set-up of the page."""
    text = (ROOT / "docs" / "recipes.md").read_text("utf-8")
    return [shlex.split(command)[2:] for command in re.findall(r"^\|.*\| `(ltxtui record .*)` \|$", text, re.MULTILINE)]


def run(*words: str) -> Result:
    return CliRunner().invoke(cli, words)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the page names."""
    folder = tmp_path_factory.mktemp("files")
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    PIL.Image.fromarray(noise).save(folder / "fox.png")
    (folder / "docs").symlink_to(ROOT / "docs")
    return folder


@pytest.fixture
def loaded(nano_pipe: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The nano pipeline is loaded once for all."""

    def load_again(**given: Any) -> Any:
        nano_pipe.scheduler = components.scheduler()
        return nano_pipe

    monkeypatch.setattr(nano, "load", load_again)
    yield
    nano_pipe.scheduler = components.scheduler()


def with_nano(words: list[str]) -> list[str]:
    """A set-up with the nano model and a small clip; the last of two options counts. LoRAs of other models are left."""
    if "--lora" in words:
        at = words.index("--lora")
        words = words[:at] + words[at + 2 :]
    if "--stg-blocks" in words:
        words = [*words, "--stg-blocks", "2"]
    return [*words, "--model", "nano", *SIZE]


def test_every_published_set_up_is_planned(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(files)
    assert len(published()) >= 20
    for words in published():
        done = run("plan", *with_nano(words), "--json")
        assert done.exit_code == 0, (words, done.output)
        told = json.loads(done.stdout)
        for stage in told.get("stages", [told]):
            assert len(stage["sigmas"]) >= 2 and 0 < min(stage["sigmas"]) <= max(stage["sigmas"]) <= 1


@pytest.mark.slow
def test_every_published_set_up_is_recorded_as_planned(
    files: Path, loaded: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(files)
    for words in published():
        few = ["--steps", "4"] if "distilled" not in " ".join(words) else []
        line = [*with_nano(words), *few, "--runs-dir", str(tmp_path)]
        told = json.loads(run("plan", *line[:-2], "--json").stdout)
        done = run("record", *line, "--json")
        assert done.exit_code == 0, (words, done.output)
        stages = load(Path(json.loads(done.stdout)["archive"])).stages
        assert [list(s.sigmas) for s in stages] == [s["sigmas"] for s in told.get("stages", [told])], words
        assert all(len(x.series("sigma")) == len(s.sigmas) for s in stages for x in s.streams.values()), words


def test_a_recipe_is_planned_recorded_and_repeated_bit_for_bit(loaded: None, tmp_path: Path) -> None:
    folder = ["--runs-dir", str(tmp_path)]
    text = run("plan", *TWO, *SIZE, *SHOCK).stdout
    assert "└ stage 1" in text and "└ stage 2" in text and "1 more than the 7 without shocks" in text
    first = run("record", "--model", "nano", *TWO, *SIZE, *SHOCK, *folder, "--name", "two", "--save-latents")
    again = run("record", "--like", "two", *folder, "--name", "again", "--save-latents")
    assert first.exit_code == again.exit_code == 0, first.output + again.output
    one, other = (load(Path(r.stdout.strip().splitlines()[-1])) for r in (first, again))
    assert [len(s.sigmas) for s in one.stages] == [4, 4]
    for a, b in zip(one.stages, other.stages, strict=True):
        for name, stream in a.streams.items():
            for metric in ("sigma", "velocity_rms", "x0_change_rms"):
                np.testing.assert_array_equal(stream.series(metric), b.streams[name].series(metric))
    assert [e["stage"] for e in one.events if e["kind"] == "shock"] == [1]
    changed = run("record", "--like", "two", *folder, "--sampler", "dpmpp_2m", "--shock", "none")
    assert changed.exit_code == 0, changed.output


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("[[stage]]\nstepz = 4\n", 2, "did you mean steps"),
        ("[[stage]]\nsteps = 4\n\n[[stage]]\nnoise = 2\n", 5, "from 0 to 1"),
        ("[[stage]]\nsteps = = 4\n", 2, "not valid TOML"),
        ('cfg = "x"\n[[stage]]\n', 1, "looks like 3"),
        ('[[stage]]\nschedule = "karas"\n', 2, "karras"),
        ('[[stage]]\nsampler = "res_2s"\n', 2, "res_multistep"),
        ("[[stage]]\nschedule = [1.0, 1.5]\n", 2, "at most 1"),
        ('[[stage]]\nupsampler = "model"\n', 2, "later stage"),
        ("steps = 4\n", 1, "[[stage]]"),
    ],
)
def test_a_mistake_in_a_recipe_is_named_with_its_line(text: str, line: int, says: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    for command in (["plan"], ["record", "--model", "nano", "--runs-dir", str(tmp_path / "runs")]):
        done = run(*command, "--recipe", str(file))
        assert done.exit_code == 2 and f"mine.toml, line {line}:" in done.stderr and says in done.stderr, done.output
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--schedule", "karass"], "not a known schedule"),
        (["--schedule", "ltx:max=3"], "its parameters are max_shift"),
        (["--schedule", "karras", "--sigmas", "1,0.5"], "both set the noise levels"),
        (["--schedule", "karras[40:]"], "are none of the 30"),
        (["--schedule", "ltx:terminal=2"], "between 0 and 1"),
        (["--sampler", "heun"], "more than once a step"),
        (["--cfg", "4@1"], "outside of its ranges"),
        (["--sampler", "dpmpp_2m", "--shock", "restart:sigma=0.9,db=3"], "--sampler euler"),
        (["--recipe", "two-stage", "--shock", "restart:sigma=0.9,db=3,stage=3"], "there is no stage 3"),
    ],
)
def test_a_set_up_that_cannot_be_meant_is_refused(words: list[str], says: str) -> None:
    done = run("plan", *words)
    assert done.exit_code == 1 and says in done.stderr, done.output


@pytest.mark.slow
def test_a_lora_acts_in_its_stage_only(nano_pipe: Any, loaded: None, tmp_path: Path) -> None:
    pytest.importorskip("peft")
    weights = {}
    for side, shape in (("A", (4, 64)), ("B", (64, 4))):
        weights[f"transformer.transformer_blocks.0.attn1.to_q.lora_{side}.weight"] = torch.ones(shape) * 0.1
    save_file(weights, tmp_path / "lora.safetensors")
    recipe = tmp_path / "mine.toml"
    recipe.write_text('guidance = "none"\nsteps = 3\n[[stage]]\n[[stage]]\nloras = ["lora.safetensors:0.5"]\n')
    plain, line = tmp_path / "plain.toml", ["record", "--model", "nano", *SIZE, "--runs-dir", str(tmp_path), "--json"]
    plain.write_text(recipe.read_text().replace("loras", "# loras"))
    with contextlib.chdir(tmp_path):
        without = run(*line, "--recipe", str(plain))
        try:
            changed = run(*line, "--recipe", str(recipe))
        finally:
            nano_pipe.unload_lora_weights()
    assert without.exit_code == changed.exit_code == 0, without.output + changed.output
    one, other = (load(Path(json.loads(r.stdout)["archive"])).stages for r in (without, changed))
    first, second = (
        [a.streams["video"].series("velocity_rms").tolist() == b.streams["video"].series("velocity_rms").tolist()]
        for a, b in zip(one, other, strict=True)
    )
    assert first == [True] and second == [False]


def test_files_that_are_not_there_are_refused_early(tmp_path: Path) -> None:
    assert read_lora("a/b.safetensors:0.5") == ("a/b.safetensors", 0.5) and read_lora("b.safetensors")[1] == 1
    missing = run("record", "--model", "nano", "--lora", "./no.safetensors", "--runs-dir", str(tmp_path))
    assert missing.exit_code == 1 and "no.safetensors does not exist" in missing.stderr
    missing = run("record", "--model", "nano", "--image", "no.png", "--runs-dir", str(tmp_path))
    assert missing.exit_code == 1 and "no.png does not exist" in missing.stderr


def test_every_built_in_recipe_is_read_and_keeps_its_size(files: Path) -> None:
    for name in builtin_names():
        assert run("plan", "--recipe", name, *SIZE).exit_code == 0
    two = Request("nano", "", stages=({}, {"upsampler": "model"}), height=64, width=96)
    assert [(s.height, s.width) for s in two.in_stages()] == [(64, 96), (128, 192)]
    assert Request.from_dict(two.as_dict()).in_stages() == two.in_stages()
    assert planned(two)[1][0].grid == (9, 4, 6)
