"""The scheduler of diffusers' form: levels, repeatability, configuration, critical phase; on the nano LTX 2.3."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from recorder import Shock, ShockScheduler, ancestral
from recorder.format import sigma_math
from recorder.sampling.guidance_presets import UNGUIDED
from recorder.shocks.conductor import Conductor
from tests.conftest import nano_call
from tests.recorder.shocks.calls import levels_of_calls

STEPS = 6


def shocked(pipe: Any, shocks: Any, **more: Any) -> Any:
    pipe.scheduler = ShockScheduler.from_config(pipe.scheduler.config, shocks=shocks, **more)
    return pipe


def run(pipe: Any, steps: int = STEPS, seed: int = 0, **more: Any) -> tuple[torch.Tensor, torch.Tensor]:
    result = pipe(**nano_call(steps, seed, **UNGUIDED, **more))
    return result.frames, result.audio


@pytest.fixture(scope="module")
def smooth(nano_pipe: Any) -> Any:
    from recorder.nano import components

    nano_pipe.scheduler = components.scheduler()
    return run(nano_pipe)


def test_without_a_shock_it_is_its_parent_bit_for_bit(pipe: Any, smooth: Any) -> None:
    for shocks in ([], [Shock("restart", at=0.9, strength_db=0), Shock("renoise", at="every", eta=0)]):
        video, audio = run(shocked(pipe, shocks))
        assert torch.equal(video, smooth[0]) and torch.equal(audio, smooth[1])


KINDS = [
    Shock("restart", at=0.9, strength_db=6),
    Shock("restart", at=0.9, respace=True),
    Shock("restart", at="critical"),
    Shock("renoise", at=2),
    Shock("renoise", at=2, streams=("audio",)),
    Shock("additive", at_snr_db=-3),
    Shock("predict_perturb", at=3),
    Shock("sigma_bump", at=0.9),
    *ancestral(0.5),
]


@pytest.mark.parametrize("shock", KINDS, ids=Shock.describe)
def test_runs_repeat_bit_for_bit_and_levels_are_those_of_the_calls(pipe: Any, smooth: Any, shock: Shock) -> None:
    shocked(pipe, [shock])
    with levels_of_calls(pipe) as called:
        first = run(pipe)
    again = run(pipe)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert called == pipe.scheduler.sigmas.tolist()[:-1] == list(pipe.scheduler.shock_plan.sigmas)
    if shock.streams == ("audio",):
        assert not torch.equal(first[1], smooth[1])
    else:
        assert not torch.equal(first[0], smooth[0])
    assert first[0].isfinite().all() and first[1].isfinite().all()


def test_another_seed_is_another_run(pipe: Any) -> None:
    one = run(shocked(pipe, [Shock("restart", at=0.9, seed=1)]))
    two = run(shocked(pipe, [Shock("restart", at=0.9, seed=2)]))
    assert not torch.equal(one[0], two[0])


def test_configuration_there_and_back(pipe: Any, tmp_path: Path) -> None:
    shocks = [Shock("restart", at=0.9, strength_db=3), Shock("renoise", at=4, frames=(1, 2), streams=("video",))]
    made = ShockScheduler.from_config(pipe.scheduler.config, shocks=shocks, free_sigmas=[1, 0.9, 0.95, 0.5, 0.3])
    made.save_config(tmp_path)
    read = ShockScheduler.from_pretrained(tmp_path)
    again = ShockScheduler.from_config(read.config)
    for scheduler in (read, again):
        scheduler.set_timesteps(5, mu=1.0)
        made.set_timesteps(5, mu=1.0)
        assert scheduler.shock_plan == made.shock_plan
        assert scheduler.config.shift == pipe.scheduler.config.shift
    plain = FlowMatchEulerDiscreteScheduler.from_config(read.config)
    assert plain.config.use_dynamic_shifting == pipe.scheduler.config.use_dynamic_shifting


def test_a_pipeline_that_was_saved_with_its_shocks_has_them_when_it_is_loaded(pipe: Any, tmp_path: Path) -> None:
    shocked(pipe, [KINDS[0]])
    pipe.save_pretrained(tmp_path)
    loaded = type(pipe).from_pretrained(tmp_path)
    assert type(loaded.scheduler) is ShockScheduler
    for scheduler in (loaded.scheduler, pipe.scheduler):
        scheduler.set_timesteps(5, mu=1.0)
    assert loaded.scheduler.shock_plan == pipe.scheduler.shock_plan and len(loaded.scheduler.shock_plan.actions) == 1


def test_a_list_of_levels_is_used_as_it_is(pipe: Any) -> None:
    wanted = [1.0, 0.9, 0.95, 0.5, 0.3]
    run(shocked(pipe, [], free_sigmas=wanted), steps=30)
    assert pipe.scheduler.sigmas.tolist() == pytest.approx([*wanted, 0.0])


def test_shocks_are_exact_only_with_plain_euler_steps() -> None:
    for option in ("stochastic_sampling", "invert_sigmas"):
        with pytest.raises(ValueError, match=option):
            ShockScheduler(shocks=[Shock("renoise", at=2)], **{option: True})


def test_per_token_levels_are_refused() -> None:
    scheduler = ShockScheduler(shocks=[Shock("renoise", at=2)])
    scheduler.set_timesteps(4)
    x = torch.randn(1, 6, 2)
    with pytest.raises(ValueError, match="level of its own"):
        scheduler.step(x, scheduler.timesteps[0], x, per_token_timesteps=torch.full((1, 6), 999.0))


def test_a_restart_up_to_the_first_level_does_not_confuse_the_first_step() -> None:
    """Without set_begin_index diffusers takes the second place of a repeated level; the first is meant."""
    scheduler = ShockScheduler(shocks=[Shock("restart", at=1, to=0.8)], free_sigmas=[0.8, 0.5, 0.2])
    scheduler.set_timesteps(3)
    x = torch.randn(1, 6, 2)
    scheduler.step(x, scheduler.timesteps[0], x)
    assert scheduler.step_index == 1
    assert scheduler.applied is not None and scheduler.applied.action.sigma_down == pytest.approx(0.5)


def test_beyond_the_schedule_is_an_error_in_the_first_loop_and_a_notice_later() -> None:
    scheduler = ShockScheduler(shocks=[Shock("restart", at=0.99)], shift=1.0)
    with pytest.raises(ValueError, match="beyond the schedule"):
        scheduler.set_timesteps(sigmas=[0.9, 0.5, 0.2])
    conductor = Conductor([Shock("restart", at=0.93), Shock("renoise", at=0.5)])
    said: list[str] = []
    conductor.notice = said.append
    conductor.begin([1.0, 0.9, 0.4], "video")
    conductor.arriving(0, "video", torch.zeros(1, 2, 2), torch.zeros(1, 2, 2))
    made = conductor.begin([0.9, 0.4], "video")
    assert [a.shock.kind for a in made.actions] == ["renoise"]
    assert len(said) == 1 and "beyond" in said[0]


def test_both_streams_share_levels() -> None:
    conductor = Conductor([Shock("renoise", at=0.5)])
    conductor.begin([0.9, 0.4], "audio")
    assert conductor.begin([0.9, 0.4], "video") is conductor.plan
    conductor.begin([0.9, 0.4], "audio")
    with pytest.raises(ValueError, match="different schedules"):
        conductor.begin([0.8, 0.4], "video")


# -- the critical phase


def loop(velocities: Any, shock: Shock, levels_: list[float]) -> tuple[ShockScheduler, list[str]]:
    """A made-up path through the scheduler; what it said."""
    video = ShockScheduler(shocks=[shock], free_sigmas=levels_)
    said: list[str] = []
    video._shocked.conductor.notice = said.append
    video.set_timesteps(len(levels_))
    audio = copy.deepcopy(video)
    audio.set_timesteps(len(levels_))
    x, y = torch.randn(1, 64, 4), torch.randn(1, 16, 4)
    for i in range(len(video.timesteps)):
        sigma = float(video.sigmas[i])
        assert float(video.timesteps[i]) == pytest.approx(1000 * sigma)
        x = video.step(velocities(x, sigma, i), video.timesteps[i], x, return_dict=False)[0]
        y = audio.step(velocities(y, sigma, i), audio.timesteps[i], y, return_dict=False)[0]
        assert torch.equal(video.sigmas, audio.sigmas)
    return video, said


LEVELS = [sigma_math.of_snr_db(db) for db in range(-20, 20, 4)]


def towards(target: Any) -> Any:
    """Velocities of a model whose predicted clean sample is `target(i)` everywhere, in its i-th call."""
    return lambda x, sigma, i: (x - target(i)) / sigma


def test_critical_fires_once_the_peak_is_confirmed() -> None:
    path = [0, 0.5, 1.2, 2.2, 4.2, 9, 11, 12, 12.5, 13, 13.5, 14, 14.5]  # changes fastest into call 5
    shock = Shock("restart", at="critical")
    scheduler, said = loop(towards(lambda i: path[i]), shock, LEVELS)
    (action,) = scheduler.shock_plan.actions
    assert said == []
    assert scheduler._shocked.conductor.critical_sigma == pytest.approx(LEVELS[5])
    assert 0.97 < scheduler._shocked.conductor.critical_confidence < 1
    # Two lower rates confirm it in row 7, so it arrives at native level 8 and goes back up to where the peak was.
    assert (action.position, action.sigma_down) == (8, pytest.approx(LEVELS[8]))
    assert action.sigma_up == pytest.approx(LEVELS[5])
    assert scheduler.sigmas.tolist() == pytest.approx([*LEVELS[:8], LEVELS[5], *LEVELS[8:], 0])


@pytest.mark.parametrize("kind", ["renoise", "additive", "predict_perturb", "sigma_bump"])
def test_every_kind_can_wait_for_the_critical_phase(kind: Any) -> None:
    path = [0, 0.5, 1.2, 2.2, 4.2, 9, 11, 12, 12.5, 13, 13.5, 14, 14.5]
    scheduler, _ = loop(towards(lambda i: path[i]), Shock(kind, at="critical"), LEVELS)
    (action,) = scheduler.shock_plan.actions
    assert action.position == (9 if kind == "sigma_bump" else 8)
    assert len(scheduler.sigmas) == len(LEVELS) + 1 + (2 if kind == "sigma_bump" else 0)


@pytest.mark.parametrize("path", ["rising", "falling", "still"])
def test_without_a_peak_it_fires_nowhere_and_says_so(path: str) -> None:
    target = {"rising": lambda i: 1.3**i, "falling": lambda i: -(0.7**i), "still": lambda i: 0.0}[path]
    scheduler, said = loop(towards(target), Shock("restart", at="critical"), LEVELS)
    assert scheduler.shock_plan.actions == ()
    assert len(said) == 1 and "did not fire" in said[0] and "no peak" in said[0] and "spare" in said[0]
    assert scheduler.sigmas.tolist()[:-2] == pytest.approx(LEVELS)


def test_audio_before_video_cannot_decide() -> None:
    conductor = Conductor([Shock("renoise", at="critical")])
    said: list[str] = []
    conductor.notice = said.append
    conductor.begin(LEVELS, "video")
    x = torch.zeros(1, 2, 2)
    conductor.arriving(0, "audio", x, x)
    conductor.arriving(0, "video", x, x)
    assert said and "audio before video" in said[0]
