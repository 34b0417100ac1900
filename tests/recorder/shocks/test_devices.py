"""Shocks on devices that are not at hand: without float64 as MPS, and where tensors are made elsewhere by default."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from recorder import Shock
from recorder.shocks import noise
from recorder.shocks.action import ShockAction

FREE = torch.tensor([1.0, 1.0, 0.75, 0.3, 0.01, 0.0])[None, :, None]


@pytest.fixture
def without_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """As MPS refuses it."""
    to = Tensor.to

    def refuse(*_: Any) -> Any:
        raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64.")

    def checked(self: Tensor, *arguments: Any, **more: Any) -> Tensor:
        if torch.float64 in (*arguments, *more.values()):
            refuse()
        return to(self, *arguments, **more)

    monkeypatch.setattr(Tensor, "double", refuse)
    monkeypatch.setattr(Tensor, "to", checked)
    monkeypatch.setattr(noise, "exact_dtype", lambda device: torch.float32)


def sample(seed: int) -> Tensor:
    return torch.randn((1, 6, 5000), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("lo", "hi"), [(0.0, 0.2), (0.5, 0.5004), (0.9, 0.95), (0.999, 0.9995), (0.3, 1.0)])
def test_coefficients_per_token_are_right_without_float64(lo: float, hi: float, without_float64: None) -> None:
    ones = torch.ones(1, 6, 1)
    alphas, _ = noise.renoised(ones, lo, hi, 0 * ones, FREE)
    _, betas = noise.renoised(0 * ones, lo, hi, ones, FREE)
    for i, free in enumerate(FREE.flatten().tolist()):
        alpha = (1 - hi * free) / (1 - lo * free)
        beta = max(0.0, (hi * free) ** 2 - (alpha * lo * free) ** 2) ** 0.5
        assert float(alphas[0, i, 0]) == pytest.approx(alpha, rel=1e-6, abs=1e-7)
        assert float(betas[0, i, 0]) == pytest.approx(beta, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("kind", ["restart", "renoise", "additive", "predict_perturb"])
@pytest.mark.parametrize("free", [None, FREE])
def test_every_shock_of_packed_latents_works_without_float64(
    kind: str, free: Tensor | None, request: pytest.FixtureRequest
) -> None:
    action = ShockAction(0, Shock(kind, at=0.7, seed=1), 1, 1, 0.6, 0.75)  # type: ignore[arg-type]
    x, v = sample(0), sample(1)
    v[:, 5] = 0
    expected = noise.apply(action, "video", x, v, 0.8, noise.TokenInfo(free=free))
    request.getfixturevalue("without_float64")
    found = noise.apply(action, "video", x, v, 0.8, noise.TokenInfo(free=free))
    for got, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)


def test_noise_is_the_same_whatever_the_default_device_is(monkeypatch: pytest.MonkeyPatch) -> None:
    shock, x = Shock("restart", at=0.7, seed=3), sample(0)
    plain = noise.fresh_noise(shock, 0, "video", x)
    with torch.device("meta"):
        elsewhere = noise.fresh_noise(shock, 0, "video", x)
    assert elsewhere.device.type == "cpu" and torch.equal(plain, elsewhere)
    action = ShockAction(0, Shock("restart", at=0.7, seed=1, frames=(1,)), 1, 1, 0.6, 0.75)
    where = noise.TokenInfo((2, 3, 1))
    wanted, _ = noise.apply(action, "video", x, x, 0.8, where)
    with torch.device("meta"):
        found, _ = noise.apply(action, "video", x, x, 0.8, where)
    assert torch.equal(wanted, found)


def test_noise_is_what_recorded_runs_were_made_with() -> None:
    """A seed gives the numbers of `torch.randn`, wherever they are drawn: recorded runs can be repeated."""
    found = noise.fresh_noise(Shock("restart", at=0.7, seed=3), 0, "video", torch.zeros(2, 3))
    assert found[0].tolist() == pytest.approx([0.3294865787, -0.8419119120, 0.1044253185])
