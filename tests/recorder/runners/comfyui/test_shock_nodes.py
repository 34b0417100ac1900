"""LTX Shock, LTX Shock Sigmas, and shocks that a viewer sends: exact and recorded, or refused with a reason."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from recorder.format import sigma_math
from recorder.runners.comfyui import shocked_sampler
from recorder.runners.comfyui.nodes import LTXShock, LTXShockSigmas
from recorder.shocks import noise
from recorder.shocks.noise import TokenInfo
from recorder.shocks.plan import plan
from recorder.shocks.spec import Shock
from tests.recorder.runners.comfyui.conftest import Bench
from tests.recorder.runners.comfyui.fakes import KSAMPLER, VIDEO, ModelPatcher, flat, levels
from tests.recorder.runners.comfyui.test_contract import column
from tests.recorder.runners.comfyui.test_endings import Paused, texts

RESTART = Shock("restart", at=0.8, strength_db=6.0, seed=7)


def shock(
    sampler: Any, kind: str = "restart", sigma: float = 0.8, db: float = 6.0, seed: int = 7, more: str = ""
) -> Any:
    return LTXShock().shock(sampler, kind, sigma, db, seed, more)[0]


@pytest.mark.parametrize("name", ["euler", "euler_ancestral", "heun", "dpm_2"])
def test_a_restart_is_planned_as_everywhere_and_recorded(bench: Bench, name: str) -> None:
    without = flat(bench.sample(ModelPatcher(), name))
    unrecorded = flat(bench.sample(ModelPatcher(), shock(bench.sampler(name))))
    with bench.comfyui.prompt():
        recorded = flat(bench.sample(bench.model(), shock(bench.sampler(name))))
    assert torch.equal(unrecorded, recorded)
    assert not torch.equal(without, recorded)
    run = bench.run()
    planned = plan(levels().tolist()[:-1], [RESTART])
    assert len(planned.sigmas) == 6
    for stream in ("video", "audio"):
        assert column(run, "sigma", stream=stream).tolist() == pytest.approx(list(planned.sigmas))
        added = column(run, "noise_injected", stream=stream)
        row = planned.actions[0].position - 1
        _, beta = sigma_math.renoise_coefficients(planned.actions[0].sigma_down, planned.actions[0].sigma_up)
        assert added[row] == pytest.approx(beta**2, rel=0.3)
        assert column(run, "sigma_down", stream=stream)[row] == pytest.approx(planned.actions[0].sigma_down)
    (event,) = [e for e in run.events if e["kind"] == "shock"]
    assert event["step"] == row and event["payload"]["shock"] == RESTART.as_dict()
    assert run.stages[0].metadata["shocks"]["shocks"] == [RESTART.as_dict()]


def test_eulers_shock_is_that_of_the_other_runners(bench: Bench) -> None:
    """From the sample and the velocity of the step, with the noise that diffusers would get."""
    seen: list[Any] = []
    reports = lambda i, x0, x, n: seen.append((x.clone(), x0.clone()))  # noqa: E731
    bench.sample(ModelPatcher(), shock(bench.sampler("euler")), audio=False, callback=reports)
    action = plan(levels().tolist()[:-1], [RESTART]).actions[0]
    row = action.position - 1
    x, x0 = (shocked_sampler.as_tokens(t, "video") for t in seen[row])
    sigma = float(levels()[row])
    expected, _ = noise.apply(action, "video", x, (x - x0) / sigma, sigma, TokenInfo(VIDEO[2:], None))
    found = shocked_sampler.as_tokens(seen[row + 1][0], "video")
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("kind", ["renoise", "predict_perturb", "additive"])
@pytest.mark.parametrize("name", ["euler", "euler_ancestral"])
def test_every_kind_keeps_the_levels(bench: Bench, name: str, kind: str) -> None:
    with bench.comfyui.prompt():
        bench.sample(bench.model(), shock(bench.sampler(name), kind))
    run = bench.run()
    assert column(run, "sigma").tolist() == pytest.approx(levels().tolist()[:-1])
    row = plan(levels().tolist()[:-1], [RESTART]).actions[0].position - 1
    assert column(run, "noise_injected")[row] > 0.01
    assert run.standing == "complete"


def test_shocks_as_text_and_one_after_the_other(bench: Bench) -> None:
    twice = shock(shock(bench.sampler("euler"), sigma=0.9), kind="renoise", sigma=0.5, db=3)
    with bench.comfyui.prompt("twice"):
        bench.sample(bench.model(name="a"), twice)
    text = shock(bench.sampler("euler"), more="restart:sigma=0.9,db=6,seed=7 renoise:sigma=0.5,db=3,seed=7")
    with bench.comfyui.prompt("text"):
        bench.sample(bench.model(name="b"), text)
    one, two = bench.runs()
    assert column(one, "sigma").tolist() == column(two, "sigma").tolist()
    np.testing.assert_array_equal(
        one.stages[0].streams["video"].values("std"), two.stages[0].streams["video"].values("std")
    )
    assert len([e for e in one.events if e["kind"] == "shock"]) == 2


def test_a_given_frame_gets_no_noise(bench: Bench) -> None:
    mask = torch.ones(1, 1, VIDEO[2], 1, 1)
    mask[:, :, 0] = 0
    seen: list[Any] = []
    reports = lambda i, x0, x, n: seen.append((x.clone(), x0.clone()))  # noqa: E731
    bench.sample(ModelPatcher(), shock(bench.sampler("euler")), audio=False, mask=mask, callback=reports)
    action = plan(levels().tolist()[:-1], [RESTART]).actions[0]
    row, sigma = action.position - 1, float(levels()[action.position - 1])
    x, x0 = seen[row]
    without = x + (action.sigma_up - sigma) * (x - x0) / sigma
    torch.testing.assert_close(seen[row + 1][0][:, :, 0], without[:, :, 0])
    assert not torch.allclose(seen[row + 1][0][:, :, 1:], without[:, :, 1:], atol=0.05)


def test_one_stream_and_a_band_in_euler(bench: Bench) -> None:
    sampler = shock(bench.sampler("euler"), more="renoise:sigma=0.8,db=6,shape=low,streams=video")
    plain = flat(bench.sample(ModelPatcher()))
    with bench.comfyui.prompt():
        changed = flat(bench.sample(bench.model(), sampler))
    count = int(np.prod(VIDEO))
    assert torch.equal(plain[count:], changed[count:])  # the toy's streams do not see each other
    assert not torch.equal(plain[:count], changed[:count])
    assert column(bench.run(), "noise_injected", stream="audio").tolist() == [0, 0, 0, 0, 0]


def test_a_shock_beyond_the_levels_is_left_out_with_an_event(bench: Bench) -> None:
    plain = flat(bench.sample(ModelPatcher(), sigmas=levels()[2:]))
    with bench.comfyui.prompt():
        result = flat(bench.sample(bench.model(), shock(bench.sampler("euler"), sigma=0.99), sigmas=levels()[2:]))
    assert torch.equal(plain, result)
    assert "beyond the schedule" in " ".join(texts(bench.run(), "warning"))


def elsewhere(model: Any, x: Any, sigmas: Any, **_: Any) -> Any:
    """A sampler of another program."""
    return x


@pytest.mark.parametrize(
    ("function", "more", "reason"),
    [
        (elsewhere, "", "choose euler"),
        (None, "", "no sampler function"),
        ("euler_ancestral", "renoise:sigma=0.8,db=6,streams=video", "only euler"),
        ("euler_ancestral", "restart:at=critical", "only euler"),
        ("heun", "sigma_bump:sigma=0.8,db=1", "only euler"),
    ],
)
def test_what_cannot_be_exact_is_refused_before_sampling(bench: Bench, function: Any, more: str, reason: str) -> None:
    sampler = bench.sampler(function) if isinstance(function, str) else KSAMPLER(function)
    with pytest.raises(ValueError, match=reason):
        shock(sampler, more=more)


def test_live_shocks_in_euler_and_nowhere_else(bench: Bench) -> None:
    live = Paused(bench, 1, "shock", shock=Shock("restart", strength_db=6.0, seed=3))
    with bench.comfyui.prompt("euler"):
        bench.sample(bench.model(name="a"), "euler", callback=live)
    live.thread.join()
    assert live.answers[0].accepted, live.answers
    refused = Paused(bench, 1, "shock", shock=Shock("restart", strength_db=6.0, seed=3))
    plain = flat(bench.sample(ModelPatcher(), "heun"))
    with bench.comfyui.prompt("heun"):
        assert torch.equal(plain, flat(bench.sample(bench.model(name="b"), "heun", callback=refused)))
    refused.thread.join()
    assert not refused.answers[0].accepted and "Euler" in refused.answers[0].reason
    one, _ = bench.runs()
    (event,) = [e for e in one.events if e["kind"] == "shock"]
    assert event["payload"]["live"] is True
    sigmas = column(one, "sigma").tolist()
    assert len(sigmas) == 5 and sigmas[2] > levels()[2]
    assert one.stages[0].sigmas == pytest.approx(sigmas)


def test_levels_with_an_up_step(bench: Bench) -> None:
    (bumped,) = LTXShockSigmas().bump(levels(), 0.8, 1.0)
    assert len(bumped) == len(levels()) + 2
    assert (bumped.diff() > 0).sum() == 1 and bumped[-1] == 0
    assert LTXShockSigmas().bump(levels(), 0.8, 0.0)[0] is not bumped
    with pytest.raises(ValueError, match="beyond the schedule"):
        LTXShockSigmas().bump(levels()[2:], 0.99, 1.0)
    with bench.comfyui.prompt():
        bench.sample(bench.model(), "euler", sigmas=bumped)
    run = bench.run()
    assert column(run, "sigma").tolist() == pytest.approx(bumped.tolist()[:-1])
    assert "rises" in " ".join(texts(run, "warning"))
