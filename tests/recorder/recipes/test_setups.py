"""Schedules by name, samplers and guidance by step, held against diffusers and against their definitions."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, LTXEulerAncestralRFScheduler
from hypothesis import given
from hypothesis import strategies as st

from recorder.nano import components
from recorder.recipes import curves
from recorder.recipes.guidance import call_values, read_value
from recorder.recipes.levels import read_levels
from recorder.recipes.named_schedule import NAMES, read_schedule
from recorder.recipes.sampler_name import SAMPLER_NAMES, read_sampler
from recorder.recipes.sampler_steps import SAMPLERS
from recorder.recipes.step_scheduler import StepScheduler, StreamNoise
from recorder.sampling.scheduler_noise import drift_of

LEVELS = (1.0, 0.9, 0.5)


@pytest.mark.parametrize(
    "text",
    [
        "1,0.9,0.5",
        "[1.0, 0.9, 0.5, 0.0]",
        "(1 .9 .5)",
        "1.; 0.9; .5; 0",
        "tensor([1.0000, 0.9000, 0.5000, 0.])",
        "[1, 0.9, 0.5,]",
    ],
)
def test_a_list_is_read_in_any_usual_writing(text: str) -> None:
    assert read_levels(text) == LEVELS
    assert read_schedule(text).sigmas(30, 100) == (LEVELS, 0.0)


def test_ltx_schedule_is_that_of_the_models_scheduler() -> None:
    scheduler = components.scheduler()
    for tokens in (1080, 4096, 6144):
        mu = 0.95 + (2.05 - 0.95) / 3072 * (tokens - 1024)
        scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 20, 20), num_inference_steps=20, mu=mu)
        np.testing.assert_allclose(curves.ltx(20, tokens), scheduler.sigmas[:-1], rtol=1e-5)
        for name in ("karras", "exponential"):
            made = FlowMatchEulerDiscreteScheduler.from_config(scheduler.config, **{f"use_{name}_sigmas": True})
            made.set_timesteps(sigmas=np.linspace(1, 1 / 20, 20), num_inference_steps=20, mu=mu)
            found, _ = read_schedule(f"diffusers_{name}").sigmas(20, tokens)
            np.testing.assert_allclose(found, made.sigmas[:-1], rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_named_schedule_falls_within_its_range(name: str) -> None:
    for steps in (1, 2, 9, 30) if name != "diffusers_beta" else (2, 9, 30):
        found, closing = read_schedule(name).sigmas(steps, 2000)
        assert closing == 0 and found[-1] > 0 and found[0] <= 1
        assert all(a > b for a, b in itertools.pairwise(found)), found
    part, closing = read_schedule(f"{name}[1:2]").sigmas(9, 2000)
    whole, _ = read_schedule(name).sigmas(9, 2000)
    assert part == whole[1:2] and closing == (whole[2] if len(whole) > 2 else 0.0)


def test_quantiles_of_the_beta_distribution() -> None:
    x = np.linspace(0, 1, 2_000_001)[1:-1]
    density = x**-0.4 * (1 - x) ** -0.4
    cumulative = np.cumsum(density) / density.sum()
    for share in (0.02, 0.3, 0.5, 0.77):
        assert curves.quantile(share, 0.6, 0.6) == pytest.approx(np.interp(share, cumulative, x), abs=2e-4)


def stepped(scheduler: Any, sigmas: list[float], velocities: torch.Tensor, seed: int | None = None) -> torch.Tensor:
    """A sample after the steps of a list of levels."""
    kwargs = {} if seed is None else {"generator": torch.Generator().manual_seed(seed)}
    scheduler.set_timesteps(sigmas=sigmas, num_inference_steps=len(velocities))
    scheduler.set_begin_index(0)
    x = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(9))
    for t, velocity in zip(scheduler.timesteps, velocities, strict=False):
        x = scheduler.step(velocity, t, x, return_dict=False, **kwargs)[0]
    return x


def test_samplers_are_those_of_diffusers_and_repeat_with_their_seed() -> None:
    assert set(SAMPLERS) == set(SAMPLER_NAMES)
    v = torch.randn(4, 1, 6, 4, generator=torch.Generator().manual_seed(1))
    levels = [1.0, 0.9, 0.6, 0.3]
    ancestral = stepped(LTXEulerAncestralRFScheduler(eta=0.7), [*levels, 0.0], v, 3)
    torch.testing.assert_close(stepped(StepScheduler(sampler="euler_ancestral:eta=0.7", seed=3), levels, v), ancestral)
    plain = FlowMatchEulerDiscreteScheduler(stochastic_sampling=True)
    torch.testing.assert_close(stepped(StepScheduler(sampler="lcm", seed=3), levels, v), stepped(plain, levels, v, 3))
    euler = stepped(FlowMatchEulerDiscreteScheduler(), levels, v)
    torch.testing.assert_close(stepped(StepScheduler(), levels, v), euler)
    # On a constant velocity, every sampler without noise takes the straight line.
    straight = v[:1].expand_as(v)
    line = stepped(FlowMatchEulerDiscreteScheduler(), levels, straight)
    for name in ("gradient_estimation",):
        torch.testing.assert_close(stepped(StepScheduler(sampler=name), levels, straight), line)


@pytest.mark.parametrize("name", ["dpmpp_2m", "res_multistep"])
def test_multistep_samplers_are_of_second_order(name: str) -> None:
    """Data of one Gaussian N(0, s²): x0 = x·(1 − σ)s²/((1 − σ)²s² + σ²), whose path has a closed form."""
    s = 0.5

    def error(steps: int, sampler: str) -> float:
        scheduler = StepScheduler(sampler=sampler)
        levels = np.linspace(0.9, 0.3, steps).tolist()
        scheduler.set_timesteps(sigmas=[*levels], num_inference_steps=steps)
        scheduler.set_begin_index(0)
        x = torch.ones(1, 1, 1, dtype=torch.float32)
        for t, sigma in zip(scheduler.timesteps[:-1], levels[:-1], strict=True):
            power = (1 - sigma) ** 2 * s**2 + sigma**2
            x0 = x * (1 - sigma) * s**2 / power
            x = scheduler.step((x - x0) / sigma, t, x, return_dict=False)[0]

        def spread(sigma: float) -> float:
            return math.sqrt((1 - sigma) ** 2 * s**2 + sigma**2)

        return abs(float(x) - spread(levels[-1]) / spread(levels[0]))

    assert error(40, name) < 0.3 * error(40, "euler")
    assert error(80, name) < 0.35 * error(40, name)


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m", "res_multistep", "gradient_estimation"])
def test_a_repeated_level_changes_nothing(name: str) -> None:
    def after(levels: list[float]) -> torch.Tensor:
        scheduler = StepScheduler(sampler=name)
        scheduler.set_timesteps(sigmas=levels, num_inference_steps=len(levels))
        scheduler.set_begin_index(0)
        x = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(9))
        for t, sigma in zip(scheduler.timesteps, levels, strict=True):
            x = scheduler.step(torch.tanh(x + sigma), t, x, return_dict=False)[0]
        return x

    once = after([1.0, 0.9, 0.5, 0.2])
    torch.testing.assert_close(after([1.0, 1.0, 0.9, 0.9, 0.9, 0.5, 0.2, 0.2]), once)


@pytest.mark.parametrize("name", SAMPLER_NAMES)
@given(st.lists(st.sampled_from([1.0, 0.97, 0.5, 0.02]) | st.floats(0.001, 1.0), min_size=1, max_size=6))
def test_every_sampler_takes_every_list_of_levels(name: str, levels: list[float]) -> None:
    """Levels may repeat, rise, and return to 1."""
    scheduler = StepScheduler(sampler=name)
    scheduler.set_timesteps(sigmas=levels, num_inference_steps=len(levels))
    scheduler.set_begin_index(0)
    x = torch.randn(1, 6, 4, generator=torch.Generator().manual_seed(9))
    for t in scheduler.timesteps:
        scheduler.stream_noise.uncond = torch.sin(x)
        x = scheduler.step(torch.tanh(x), t, x, return_dict=False)[0]
        assert x.isfinite().all()


def test_cfg_pp_takes_the_noise_of_the_unconditional_pass() -> None:
    scheduler = StepScheduler(sampler="euler_cfg_pp")
    scheduler.set_timesteps(sigmas=[0.8, 0.4], num_inference_steps=2)
    scheduler.set_begin_index(0)
    x, v, uncond = torch.randn(3, 1, 6, 4).unbind()
    with pytest.raises(ValueError, match="unconditional pass"):
        scheduler.step(v, scheduler.timesteps[0], x)
    scheduler.stream_noise.uncond = uncond
    after = scheduler.step(v, scheduler.timesteps[0], x, return_dict=False)[0]
    noise = (x - 0.2 * uncond) / 0.8
    torch.testing.assert_close(after, 0.6 * (x - 0.8 * v) + 0.4 * noise)


@pytest.mark.parametrize(
    ("name", "fresh"), [("euler_ancestral", math.sqrt(0.6**2 - (0.4 * 0.4 / 0.6) ** 2)), ("lcm", 0.6)]
)
def test_what_is_measured_as_fresh_noise_is_what_the_sampler_added(name: str, fresh: float) -> None:
    scheduler = StepScheduler(sampler=name, seed=4)
    scheduler.set_timesteps(sigmas=[0.9, 0.6], num_inference_steps=2)
    scheduler.set_begin_index(0)
    x, v = torch.randn(2, 1, 6, 4, generator=torch.Generator().manual_seed(1)).unbind()
    after = scheduler.step(v, scheduler.timesteps[0], x, return_dict=False)[0]
    drift = drift_of(scheduler, 0.9, 0.6)
    assert drift is not None
    torch.testing.assert_close(
        after - drift.keep * x - drift.move * v, fresh * StreamNoise(4).like(x), atol=1e-5, rtol=1e-4
    )
    assert drift_of(StepScheduler(sampler="dpmpp_2m"), 0.9, 0.6) is None, "it adds none"


def test_audio_has_noise_of_its_own() -> None:
    video = StepScheduler(sampler="stochastic", seed=5)
    audio = copy.deepcopy(video)
    sample = torch.zeros(2, 3)
    assert not torch.equal(video.stream_noise.like(sample), audio.stream_noise.like(sample))


def test_guidance_by_step_and_by_level() -> None:
    assert [read_value("cfg", "4,3,1").at(i, 0.5) for i in range(5)] == [4, 3, 1, 1, 1]
    assert [read_value("cfg", "4@0-2,1").at(i, 0.5) for i in (0, 2, 3)] == [4, 4, 1]
    assert [read_value("cfg", "4@1.0-0.9,1").at(0, s) for s in (1.0, 0.9, 0.89)] == [4, 4, 1]
    off = call_values({"cfg": "1,4", "audio_cfg": 1, "stg": 0}, {}, 0, 1.0)
    assert off["guidance_scale"] > 1 and off["guidance_scale"] - 1 < 1e-15, "the pass is prepared, and weighs nothing"
    assert call_values({"cfg": 4}, {}, 0, 1.0) == {"guidance_scale": 4}
    apart = call_values({"audio_stg": 0}, {"stg_scale": 1.0}, 0, 1.0)["audio_stg_scale"]
    assert 0 < apart < 1e-300, "0 would mean the value of the video"


def test_samplers_that_a_pipeline_cannot_take_are_named() -> None:
    with pytest.raises(ValueError, match="more than once a step"):
        read_sampler("res_2s")
    assert read_sampler("euler_ancestral:eta=0.5").eta == 0.5
