"""Shocks do to a sample what their formulas say, and to its distribution what their kinds promise."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from recorder import Shock, ShockScheduler
from recorder.format import sigma_math
from recorder.shocks import noise
from recorder.shocks.action import ShockAction

N = 40_000
NOISE_FLOOR = 1.63 / math.sqrt(N)
"""Kolmogorov–Smirnov distance that samples of the truth itself exceed once in a hundred times."""
MODES, SPREAD = (-1.0, 1.0), 0.25
"""Data of two modes: x0 is −1 or 1 with equal chance, blurred by a little."""


def truth(sigma: float, count: int = N, seed: int = 0) -> Tensor:
    """Samples of the true marginal at σ."""
    rng = torch.Generator().manual_seed(seed)
    x0 = torch.randint(0, 2, (count,), generator=rng) * 2.0 - 1 + SPREAD * torch.randn(count, generator=rng)
    return (1 - sigma) * x0 + sigma * torch.randn(count, generator=rng)


def velocity(x: Tensor, sigma: float) -> Tensor:
    """The exact velocity (x − E[x0 | x])/σ of this data."""
    x = x.double()
    variance = ((1 - sigma) * SPREAD) ** 2 + sigma**2
    logits = torch.stack([-((x - (1 - sigma) * m) ** 2) / (2 * variance) for m in MODES])
    weights = torch.softmax(logits, dim=0)
    gain = (1 - sigma) * SPREAD**2 / variance
    expected = sum(w * (m + gain * (x - (1 - sigma) * m)) for w, m in zip(weights, MODES, strict=True))
    return ((x - expected) / sigma).float()


def distance(x: Tensor, sigma: float) -> float:
    """Kolmogorov–Smirnov distance between samples and the true marginal at σ."""
    values = np.sort(x.double().flatten().numpy())
    scale = math.sqrt(((1 - sigma) * SPREAD) ** 2 + sigma**2) * math.sqrt(2)
    cdf = sum(0.5 * torch.special.erf(torch.from_numpy((values - (1 - sigma) * m) / scale)) for m in MODES) / 2 + 0.5
    empirical = np.arange(1, len(values) + 1) / len(values)
    return float(np.max(np.abs(np.asarray(cdf) - empirical)))


def walk(shock: Shock, sigmas: list[float], calls: int) -> tuple[Tensor, float]:
    """Samples of the truth at the first level taken so many steps through the scheduler; and the level they are at."""
    scheduler = ShockScheduler(shocks=[shock], free_sigmas=sigmas)
    scheduler.set_timesteps(len(sigmas))
    scheduler.set_begin_index(0)
    x = truth(sigmas[0])[None, :, None]
    for i in range(calls):
        sigma = float(scheduler.sigmas[i])
        x = scheduler.step(velocity(x, sigma), scheduler.timesteps[i], x, return_dict=False)[0]
    return x, float(scheduler.sigmas[calls])


def flow(x: Tensor, sigma: float, down: float, steps: int = 24) -> Tensor:
    """The velocity with which one Euler step to `down` is without error: that of the whole flow down there."""
    levels_ = np.linspace(sigma, down, steps + 1)
    end = x
    for here, there in itertools.pairwise(levels_):
        middle = end + (there - here) / 2 * velocity(end, here)
        end = end + (there - here) * velocity(middle, (here + there) / 2)
    return (end - x) / (down - sigma)


@pytest.mark.parametrize(("sigma", "db"), [(0.9, 6.0), (0.6, 3.0), (0.6, 12.0), (0.3, 6.0)])
def test_strong_shocks_where_the_model_makes_no_error(sigma: float, db: float) -> None:
    """Of equal strength at one place: renoise and restart keep the marginal, the naive noise and the bump do not.

    The step down is exact here, so that nothing but the shock itself can move the marginal.
    """
    before = sigma + 0.05
    for shock in (Shock("renoise", at=1, strength_db=db), Shock("restart", at=1, strength_db=db)):
        scheduler = ShockScheduler(shocks=[shock], free_sigmas=[before, sigma, sigma / 2])
        scheduler.set_timesteps(3)
        (action,) = scheduler.shock_plan.actions
        x = truth(before)[None, :, None]
        v = flow(x, before, action.sigma_down)
        x = scheduler.step(v, scheduler.timesteps[0], x, return_dict=False)[0]
        assert distance(x, float(scheduler.sigmas[1])) < NOISE_FLOOR, shock.describe()
    x, level = walk(Shock("additive", at=1, strength_db=db), [sigma + 0.001, sigma, sigma / 2], 1)
    assert level == pytest.approx(sigma) and distance(x, level) > 2 * NOISE_FLOOR
    if db >= 12:  # a bump leaves the marginal by how coarse it is: see also `test_a_fine_bump_stays`
        down = sigma_math.raised(sigma, -db)
        x, level = walk(Shock("sigma_bump", at=1, to=sigma), [down + 0.001, down, down / 2], 2)
        assert level == pytest.approx(sigma) and distance(x, level) > 2 * NOISE_FLOOR


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("shock", "sigmas", "calls"),
    [
        (Shock("renoise", at=1, strength_db=0.5), [0.61, 0.6, 0.3], 1),
        (Shock("renoise", at=1, strength_db=1.5), [0.95, 0.94, 0.3], 1),
        (Shock("restart", at=1, to=0.9), [0.605, 0.6, 0.3], 1),
        (Shock("restart", at=1, strength_db=6), [0.305, 0.3, 0.1], 1),
        (Shock("restart", at=1, strength_db=20, respace=True), [0.505, 0.5, 0.1], 1),
    ],
    ids=lambda value: value.describe() if isinstance(value, Shock) else None,
)
def test_kinds_that_keep_the_marginal(shock: Shock, sigmas: list[float], calls: int, seed: int) -> None:
    from dataclasses import replace

    x, sigma = walk(replace(shock, seed=seed), sigmas, calls)
    assert distance(x, sigma) < NOISE_FLOOR


@pytest.mark.parametrize(
    ("shock", "sigmas", "calls"),
    [
        (Shock("additive", at=1, strength_db=6), [0.605, 0.6, 0.3], 1),
        (Shock("additive", at=1, strength_db=3), [0.305, 0.3, 0.1], 1),
        (Shock("sigma_bump", at=1, strength_db=12), [0.305, 0.3, 0.1], 2),
        (Shock("predict_perturb", at=1), [0.605, 0.6, 0.3], 1),
    ],
    ids=lambda value: value.describe() if isinstance(value, Shock) else None,
)
def test_kinds_that_leave_the_marginal(shock: Shock, sigmas: list[float], calls: int) -> None:
    x, sigma = walk(shock, sigmas, calls)
    assert distance(x, sigma) > 2 * NOISE_FLOOR


def test_a_fine_bump_stays() -> None:
    """What leaves the marginal is how coarse the up-step is, not that it goes up."""
    up = np.linspace(0.3, 0.6, 60).tolist()
    scheduler = ShockScheduler(free_sigmas=[*up, 0.5])
    scheduler.set_timesteps(len(up) + 1)
    x = truth(0.3)[None, :, None]
    for i in range(len(up) - 1):
        x = scheduler.step(velocity(x, up[i]), scheduler.timesteps[i], x, return_dict=False)[0]
    assert distance(x, 0.6) < 2 * NOISE_FLOOR


@given(lo=st.floats(0.01, 0.97), share=st.floats(0.01, 1.0))
def test_mean_and_variance_for_a_known_sample(lo: float, share: float) -> None:
    """x_lo of known x0 and ε: the re-noised sample has mean (1−σ_hi)·x0 + α·σ_lo·ε and standard deviation β."""
    hi = lo + (0.99 - lo) * share
    x0, epsilon = 1.7, -0.6
    x_lo = torch.full((1, 20_000, 1), (1 - lo) * x0 + lo * epsilon)
    xi = noise.fresh_noise(Shock("restart", at=1, seed=3), 0, "video", x_lo)
    x_hi, fresh = noise.renoised(x_lo, lo, hi, xi)
    alpha = (1 - hi) / (1 - lo)
    beta = math.sqrt(max(0.0, hi**2 - (alpha * lo) ** 2))
    error = beta / math.sqrt(xi.numel())
    assert abs(float(x_hi.double().mean()) - ((1 - hi) * x0 + alpha * lo * epsilon)) < 5 * error + 1e-5
    assert float(x_hi.double().std()) == pytest.approx(beta, rel=0.03, abs=1e-4)
    assert float(fresh.square().mean().sqrt()) == pytest.approx(beta, rel=0.03, abs=1e-4)


@given(lo=st.floats(0, 0.98), hi=st.floats(0, 1))
def test_coefficients_keep_the_noise_level(lo: float, hi: float) -> None:
    """(1−σ_lo)·α = 1−σ_hi and (α·σ_lo)² + β² = σ_hi²: signal and noise are those of the new level."""
    if hi < lo:
        with pytest.raises(ValueError, match="from a lower"):
            sigma_math.renoise_coefficients(lo, hi)
        return
    alpha, beta = sigma_math.renoise_coefficients(lo, hi)
    assert alpha * (1 - lo) == pytest.approx(1 - hi)
    assert (alpha * lo) ** 2 + beta**2 == pytest.approx(hi**2)


@given(sigma=st.floats(0.01, 0.99), db=st.floats(-40, 40))
def test_decibels_there_and_back(sigma: float, db: float) -> None:
    other = sigma_math.raised(sigma, db)
    assert sigma_math.strength_db(sigma, other) == pytest.approx(db, abs=1e-6)
    assert sigma_math.of_snr_db(sigma_math.snr_db(sigma)) == pytest.approx(sigma)
    assert sigma_math.snr_db(other) == pytest.approx(sigma_math.snr_db(sigma) - db, abs=1e-6)


def action(shock: Shock, down: float, up: float) -> ShockAction:
    return ShockAction(0, shock, 1, 1, down, up)


def test_conditioned_tokens() -> None:
    """A token with conditioning strength m lives at σ·(1−m): m = 1 stays as it is, m = ½ is re-noised at its level."""
    x, v = torch.randn(1, 30_000, 1), torch.randn(1, 30_000, 1)
    free = torch.cat([torch.zeros(1, 10_000, 1), torch.full((1, 10_000, 1), 0.5), torch.ones(1, 10_000, 1)], dim=1)
    v[:, :10_000] = 0
    shock = Shock("restart", at=1, to=0.9)
    for where in (noise.TokenInfo(free=free), noise.TokenInfo()):
        after, fresh = noise.apply(action(shock, 0.6, 0.9), "video", x, v, 0.65, where)
        assert torch.equal(after[:, :10_000], x[:, :10_000])
        assert not fresh[:, :10_000].any()
    after, fresh = noise.apply(action(shock, 0.6, 0.9), "video", x, v, 0.65, noise.TokenInfo(free=free))
    alpha, beta = sigma_math.renoise_coefficients(0.3, 0.45)
    half = slice(10_000, 20_000)
    x_lo = x[:, half] + (0.6 - 0.65) * v[:, half]
    torch.testing.assert_close(after[:, half], alpha * x_lo + fresh[:, half])
    assert float(fresh[:, half].std()) == pytest.approx(beta, rel=0.03)


GRID = (3, 8, 10)


@pytest.mark.parametrize("kind", ["renoise", "restart", "predict_perturb", "additive"])
@pytest.mark.parametrize("layout", ["packed", "latents"])
def test_noise_is_fresh_only_where_it_should_be(kind: Any, layout: str) -> None:
    """Outside of its band, frames and mask a shocked sample is what an Euler step to the same level gives."""
    packed = layout == "packed"
    shape = (2, math.prod(GRID) + 7, 4) if packed else (2, 4, *GRID)
    x, v = torch.randn(shape), torch.randn(shape)
    where = noise.TokenInfo(GRID if packed else None)
    plain = noise.euler(x, v, 0.7, 0.8)

    def change(**more: Any) -> tuple[Tensor, Tensor]:
        shock = Shock(kind, at=1, **more)
        after, fresh = noise.apply(action(shock, 0.6, 0.8), "video", x, v, 0.7, where)
        both = torch.stack([after - plain, fresh])
        if packed:
            assert not (both[:, :, math.prod(GRID) :].any() and more)
            both = both[:, :, : math.prod(GRID)].unflatten(2, GRID).movedim(-1, 2)
        return both[0], both[1]

    whole, fresh = change()
    for frames in ((1,), (0, 2)):
        part, part_fresh = change(frames=frames)
        others = [f for f in range(GRID[0]) if f not in frames]
        assert not part[:, :, others].any() and not part_fresh[:, :, others].any()
        torch.testing.assert_close(part[:, :, list(frames)], whole[:, :, list(frames)])
        torch.testing.assert_close(part_fresh[:, :, list(frames)], fresh[:, :, list(frames)])
    mask = torch.zeros(GRID[1:], dtype=torch.int)
    mask[:4] = 1
    part, _ = change(mask=mask)
    assert not part[..., 4:, :].any()
    torch.testing.assert_close(part[..., :4, :], whole[..., :4, :])
    bands = [change(shape=band)[0] for band in ("low", "mid", "high")]
    torch.testing.assert_close(sum(bands), whole, rtol=1e-4, atol=1e-5)
    radius = (np.fft.fftfreq(8)[:, None] ** 2 + np.fft.fftfreq(10)[None] ** 2) ** 0.5 / 0.5
    low = torch.fft.fft2(bands[0]).abs()
    assert float(low[..., torch.from_numpy(radius >= 0.25)].max()) < 1e-4 * float(low.max())


def test_what_needs_the_grid_says_so() -> None:
    x = torch.randn(1, 240, 4)
    shock = Shock("renoise", at=1, shape="low")
    with pytest.raises(ValueError, match="latent grid"):
        noise.apply(action(shock, 0.6, 0.8), "video", x, x, 0.7, noise.TokenInfo())
    with pytest.raises(ValueError, match="do not fill"):
        noise.apply(action(shock, 0.6, 0.8), "video", x, x, 0.7, noise.TokenInfo((9, 9, 9)))
    with pytest.raises(ValueError, match="no latent frame 3"):
        noise.apply(action(Shock("renoise", at=1, frames=[3]), 0.6, 0.8), "video", x, x, 0.7, noise.TokenInfo(GRID))
    with pytest.raises(ValueError, match="mask of"):
        noise.apply(action(Shock("renoise", at=1, mask=[[1]]), 0.6, 0.8), "video", x, x, 0.7, noise.TokenInfo(GRID))


def test_audio_bands_lie_along_time() -> None:
    x, v = torch.randn(1, 64, 4), torch.randn(1, 64, 4)
    after, _ = noise.apply(action(Shock("renoise", at=1, shape="low"), 0.6, 0.8), "audio", x, v, 0.7, noise.TokenInfo())
    spectrum = torch.fft.fft(after - noise.euler(x, v, 0.7, 0.8), dim=1).abs()
    assert float(spectrum[:, 8:-7].max()) < 1e-3 * float(spectrum.max())


def test_noise_belongs_to_the_shock() -> None:
    """Same seed, same noise; every shock, stream and seed has its own; the global generator is left alone."""
    x = torch.zeros(1, 1000, 4)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    found = {
        (seed, number, stream): noise.fresh_noise(Shock("renoise", at=1, seed=seed), number, stream, x)
        for seed in (0, 1, 2**62)
        for number in (0, 1)
        for stream in ("video", "audio")
    }
    assert torch.equal(before, torch.get_rng_state())
    again = noise.fresh_noise(Shock("renoise", at=1, seed=1), 1, "audio", x)
    assert torch.equal(found[1, 1, "audio"], again)
    flat = torch.stack([f.flatten() for f in found.values()])
    correlation = torch.corrcoef(flat) - torch.eye(len(found))
    assert float(correlation.abs().max()) < 5 / math.sqrt(4000)


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_noise_at_every_step_keeps_the_marginal_and_is_never_the_same(eta: float) -> None:
    """Ancestral sampling from the truth at σ = .9 down to .3: what is injected at one step must not come again."""
    sigmas = np.linspace(0.9, 0.3, 61).tolist()
    scheduler = ShockScheduler(shocks=[Shock("renoise", at="every", eta=eta)], free_sigmas=[*sigmas, 0.29])
    scheduler.set_timesteps(len(sigmas) + 1)
    x = truth(0.9)[None, :, None]
    injected = []
    for i in range(len(sigmas) - 1):
        x = scheduler.step(velocity(x, sigmas[i]), scheduler.timesteps[i], x, return_dict=False)[0]
        assert scheduler.applied is not None and scheduler.applied.fresh is not None
        injected.append(scheduler.applied.fresh.flatten())
    correlation = torch.corrcoef(torch.stack(injected)) - torch.eye(len(injected))
    assert float(correlation.abs().max()) < 6 / math.sqrt(N)
    assert distance(x, 0.3) < 2.5 * NOISE_FLOOR
