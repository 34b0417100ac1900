"""The model's raw velocities of every guidance pass are handed on as they were, whatever runs the model."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from recorder import record
from recorder.sampling import supported_pipelines
from recorder.sampling.guidance_presets import UNGUIDED
from recorder.sampling.hooks import watch_model
from replay.sources.open import load
from tests.pipelines import CALL, GRID, GUIDED, build, generate, modular, observe, picture

PASSES = ("conditional", "cfg", "stg", "modality")


class Forwards:
    """A transformer whose every call is kept: which pass it is, and its two outputs."""

    def __init__(self, model: Any) -> None:
        self.calls: list[tuple[str, Any, Any]] = []
        self._model = model
        self._forward = model.forward

    def __enter__(self) -> Forwards:
        @functools.wraps(self._forward)  # the modular blocks look at its parameters
        def forward(*args: Any, **kwargs: Any) -> Any:
            out = self._forward(*args, **kwargs)
            kind = "stg" if kwargs["spatio_temporal_guidance_blocks"] else "plain"
            self.calls.append(("modality" if kwargs["isolate_modalities"] else kind, out[0].clone(), out[1].clone()))
            return out

        self._model.forward = forward
        return self

    def __exit__(self, *_: Any) -> None:
        del self._model.forward

    def gap(self, step: int, name: str, stream: str, frames: slice, separate: bool) -> torch.Tensor:
        """RMS difference of the conditional pass and another, from what was captured here."""
        per_step = 4 if separate else 3
        calls = self.calls[per_step * step : per_step * (step + 1)]
        place = 1 if stream == "video" else 2
        plain = [c[place] for c in calls if c[0] == "plain"]
        without, prompted = (plain[1], plain[0]) if separate else plain[0].chunk(2)
        other = without if name == "cfg" else next(c[place] for c in calls if c[0] == name)
        difference = (prompted.float() - other.float()).unflatten(1, (-1, 20) if stream == "video" else (-1, 1))
        return difference[:, frames].square().mean().sqrt()


@pytest.mark.parametrize("name", ["LTX2Pipeline", "LTX2ImageToVideoPipeline", "modular"])
def test_passes_are_those_that_the_model_made(
    nano_pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    call: dict[str, Any] = {"num_inference_steps": 2}
    if name != "modular":
        call |= GUIDED
    if name == "LTX2ImageToVideoPipeline":
        call |= {"image": picture(), "image_crf": 0}

    def make() -> Any:
        return modular(nano_pipe) if name == "modular" else build(nano_pipe, name)

    with Forwards(nano_pipe.transformer) as forwards:
        seen = observe(make, tmp_path, monkeypatch, check_plain=False, **call)
    assert seen.errors() == []
    for stream, rows in seen.rows.items():
        frames = slice(1, None) if stream == "video" and "Image" in name else slice(None)
        for i, row in enumerate(rows):
            assert tuple(row.passes) == PASSES
            for pass_, velocity in row.passes.items():
                assert velocity.dtype == torch.float32 and velocity.shape == row.sample.shape
                if pass_ != "conditional":
                    got = (row.passes["conditional"] - velocity).square().mean().sqrt()
                    expected = forwards.gap(i, pass_, stream, frames, name == "modular")
                    assert got > 0
                    torch.testing.assert_close(got, expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (UNGUIDED, {"conditional"}),
        ({**UNGUIDED, "guidance_scale": 2.0}, {"conditional", "cfg"}),
        ({**UNGUIDED, "audio_stg_scale": 1.0, "spatio_temporal_guidance_blocks": [1]}, {"conditional", "stg"}),
        ({**UNGUIDED, "modality_scale": 2.0}, {"conditional", "modality"}),
    ],
)
def test_only_passes_that_ran_are_handed_on(
    nano_pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict, expected: set[str]
) -> None:
    call = {**settings, "num_inference_steps": 2, "prompt": ["a red ball moving left", "a blue box moving up"]}
    seen = observe(lambda: build(nano_pipe, "LTX2Pipeline"), tmp_path, monkeypatch, **call)
    for rows in seen.rows.values():
        assert [set(r.passes) for r in rows] == [expected, expected]
        assert all(v.shape == (2, *r.sample.shape[1:]) for r in rows for v in r.passes.values())


def test_a_guider_whose_passes_are_unknown_gives_none(
    nano_pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supported_pipelines, "GUIDER", "AnotherGuidance")
    seen = observe(lambda: modular(nano_pipe), tmp_path, monkeypatch, num_inference_steps=2)
    assert seen.errors() == [] and [r.passes for r in seen.rows["video"]] == [{}, {}]


class Toy(torch.nn.Module):
    """Replaces a transformer of full depth, which would take long to compile."""

    def forward(self, *, hidden_states: torch.Tensor) -> tuple[torch.Tensor]:
        return (hidden_states * 2,)


COMPILED: list[Any] = []


def _counted(graph: Any, inputs: Any) -> Any:
    COMPILED.append(graph)
    return graph


def _compiled(model: Toy) -> Any:
    return torch.compile(model, backend=_counted)


def _compiled_in_place(model: Toy) -> Any:
    model.compile(backend=_counted, fullgraph=True)
    return model


@pytest.mark.parametrize("wrap", [_compiled, _compiled_in_place, lambda model: model])
def test_calls_of_compiled_models_are_seen(wrap: Callable[[Toy], Any]) -> None:
    model = wrap(Toy())
    x = torch.ones(2)
    model(hidden_states=x)
    compiled = len(COMPILED)
    seen: list[Any] = []

    def after(kwargs: dict[str, Any], out: Any) -> None:
        out[0].tolist()  # what no compiled graph can hold
        seen.append((kwargs, out))

    end = watch_model(model, seen.append, after)
    for _ in range(2):
        assert torch.equal(model(hidden_states=x)[0], 2 * x)
    assert len(seen) == 4
    assert seen[2]["hidden_states"] is x and torch.equal(seen[3][1][0], 2 * x) and seen[3][0]["hidden_states"] is x
    end()
    model(hidden_states=x)
    assert len(COMPILED) == compiled  # watching and ceasing to watch compiles nothing again
    assert len(seen) == 4 and not model._forward_hooks and not model._forward_pre_hooks


def test_a_transformer_compiled_in_place_and_offloaded(
    nano_pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate.hooks import AlignDevicesHook, add_hook_to_module

    call = {**UNGUIDED, "guidance_scale": 3.0, "num_inference_steps": 2}
    model = copy.deepcopy(nano_pipe.transformer)
    # What offloading puts around a module, on the one device that every machine has.
    add_hook_to_module(model, AlignDevicesHook(execution_device="cpu", io_same_device=True))
    # Compiles nothing, but is called in the place where compiled code is.
    model._compiled_call_impl = model._call_impl
    seen = observe(lambda: build(nano_pipe, "LTX2Pipeline", transformer=model), tmp_path, monkeypatch, **call)
    plain = observe(lambda: build(nano_pipe, "LTX2Pipeline"), tmp_path, monkeypatch, check_plain=False, **call)
    assert seen.errors() == []
    for stream, rows in seen.rows.items():
        for row, expected in zip(rows, plain.rows[stream], strict=True):
            assert set(row.passes) == {"conditional", "cfg"}
            assert all(torch.equal(row.passes[name], expected.passes[name]) for name in row.passes)
    assert model._compiled_call_impl == model._call_impl


@pytest.mark.parametrize("mode", ["inference mode", "autocast", "bfloat16"])
def test_precision_and_inference_mode(
    nano_pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    def make() -> Any:
        pipe = build(nano_pipe, "LTX2Pipeline")
        if mode == "bfloat16":
            for name in ("transformer", "connectors", "text_encoder", "vae", "audio_vae"):
                setattr(pipe, name, copy.deepcopy(getattr(nano_pipe, name)).to(torch.bfloat16))
        return pipe

    around: Any = {
        "inference mode": torch.inference_mode(),
        "autocast": torch.autocast("cpu", dtype=torch.bfloat16),
        "bfloat16": contextlib.nullcontext(),
    }
    with around[mode]:
        seen = observe(make, tmp_path, monkeypatch, num_inference_steps=2, **GUIDED)
    assert seen.errors() == []
    for rows in seen.rows.values():
        assert len(rows) == 2 and tuple(rows[0].passes) == PASSES
        # Kept as the model gave them: half the memory while the model runs, and the same numbers.
        own = torch.float32 if mode == "inference mode" else torch.bfloat16
        assert all(v.dtype == own for v in rows[0].passes.values())


def test_an_image_costs_one_copy_to_the_host_per_stage(
    nano_pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recorder.sampling import tokens

    copies = []
    original = tokens.generated_frames
    monkeypatch.setattr(tokens, "generated_frames", lambda *a: copies.append(1) or original(*a))
    pipe = build(nano_pipe, "LTX2ImageToVideoPipeline")
    with record(pipe, runs_dir=tmp_path) as run:
        generate(pipe, image=picture(), image_crf=0, num_inference_steps=3, **GUIDED)
        assert copies == [1]
        generate(build(nano_pipe, "LTX2Pipeline"), num_inference_steps=1, **UNGUIDED)
        assert copies == [1]
    assert load(run.path).stages[0].streams["video"].grid == GRID
    assert CALL["num_frames"] == 33


def test_a_pass_that_cannot_be_read_costs_no_row(
    nano_pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recorder.sampling import guidance_passes

    def broken(result: Any) -> Any:
        raise RuntimeError("no velocities")

    monkeypatch.setattr(guidance_passes, "outputs_of", broken)
    seen = observe(lambda: build(nano_pipe, "LTX2Pipeline"), tmp_path, monkeypatch, num_inference_steps=2, **UNGUIDED)
    assert seen.errors() == ["a guidance pass could not be recorded: no velocities"]
    assert [r.passes for r in seen.rows["video"]] == [{}, {}]
