"""The three notions of the critical phase: each found where it is, once, and nowhere on paths that have none."""

from __future__ import annotations

import math

import pytest

from recorder.critical import CriticalPhase, speciation_sigma


def follow(rates: list[float], sigmas: list[float] | None = None, eigenvalue: float | None = None) -> dict:
    phase = CriticalPhase(eigenvalue)
    levels = sigmas or [1 - i / len(rates) for i in range(len(rates))]
    found = [(i, f) for i, rate in enumerate(rates) for f in phase.take(i, levels[i], rate)]
    assert len({f.notion for _, f in found}) == len(found)
    return {f.notion: (seen, f.step, f.sigma) for seen, f in found} | {"missing": phase.missing}


def test_a_peak_is_confirmed_one_step_later_and_reported_at_its_own_step() -> None:
    found = follow([math.nan, 0, 1, 2, 5, 4, 3, 9, 1])
    assert found["x0_rate_peak"] == (5, 4, pytest.approx(1 - 4 / 9))


@pytest.mark.parametrize("rates", [[math.nan, 0, 9, 8, 7, 6], [math.nan, 0, 1, 2, 3, 4], [math.nan, 0, 2, 2, 2, 2], []])
def test_a_path_without_a_peak_has_none(rates: list[float]) -> None:
    found = follow(rates)
    assert "x0_rate_peak" not in found and "x0_rate_peak" in found["missing"]


def test_zero_db_is_at_half_and_speciation_only_where_it_is_known() -> None:
    sigmas = [1.0, 0.9, 0.7, 0.5, 0.3]
    assert follow([1.0] * 5, sigmas)["zero_db"] == (3, 3, 0.5)
    assert "speciation" not in follow([1.0] * 5, sigmas)
    assert follow([1.0] * 5, sigmas, eigenvalue=9.0)["speciation"] == (2, 2, 0.7)  # σ_c = .75


def test_speciation_sigma() -> None:
    assert speciation_sigma(1.0) == 0.5
    assert speciation_sigma(170.0) == pytest.approx(0.93, abs=0.005)
    with pytest.raises(ValueError, match="positive"):
        speciation_sigma(0.0)
