"""`python -m benchmarks.marginal`: how far from the data whole loops with a shock end.

Data of two modes, x0 = ±1 with standard deviation .25, whose exact velocity is known. A loop starts from noise at σ = 1
and takes Euler steps on an even schedule to 0, with one shock as the scheduler applies it. The table holds the
Kolmogorov–Smirnov distance of the result to the data, and in brackets by how much it exceeds that of the same loop
without a shock. With 100,000 samples, chance alone gives a distance of .005 once in a hundred times.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from benchmarks import options
from recorder.format import sigma_math
from recorder.shocks.plan import plan
from recorder.shocks.schedules import ancestral
from recorder.shocks.spec import Kind, Shock

Values = NDArray[np.float64]

SPREAD = 0.25
SIGMAS = (0.8, 0.5, 0.3)
STEPS = (20, 50, 100)
STRENGTHS = (1, 2, 3, 4, 5, 6, 8, 10, 14, 20)
KINDS: tuple[Kind, ...] = ("restart", "renoise")
SAMPLES = 100_000


def velocity(x: Values, sigma: float) -> Values:
    """(x − E[x0 | x])/σ of the data."""
    signal = 1 - sigma
    variance = (signal * SPREAD) ** 2 + sigma**2
    mean = np.tanh(signal * x / variance)
    return (x - mean - signal * SPREAD**2 / variance * (x - signal * mean)) / sigma


def distance(x: Values) -> float:
    """Kolmogorov–Smirnov distance of samples [n] to the data."""
    grid = np.linspace(-4, 4, 4001)
    scale = SPREAD * math.sqrt(2)
    truth = [0.5 + 0.25 * (math.erf((v - 1) / scale) + math.erf((v + 1) / scale)) for v in grid]
    at = np.interp(np.sort(x), grid, truth)
    places = np.arange(len(x) + 1) / len(x)
    return float(max(np.max(places[1:] - at), np.max(at - places[:-1])))


def loop(steps: int, shocks: Sequence[Shock], samples: int = SAMPLES, seed: int = 0) -> float:
    """The distance at the end of a loop with these shocks."""
    made = plan(np.linspace(1, 1 / steps, steps).tolist(), shocks)
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(samples)
    for row, (sigma, after) in enumerate(zip(made.sigmas, [*made.sigmas[1:], 0.0], strict=True)):
        here = velocity(x, sigma)
        action = next((a for a in made.at(row + 1) if a.shock.kind != "sigma_bump"), None)
        if action is None:
            x = x + (after - sigma) * here
            continue
        keep, fresh = sigma_math.renoise_coefficients(action.sigma_down, action.sigma_up)
        noise = fresh * rng.standard_normal(samples)
        if action.shock.kind == "additive":
            x = x + (action.sigma_up - sigma) * here + noise
        else:
            x = keep * (x + (action.sigma_down - sigma) * here) + noise
    return distance(x)


@lru_cache(maxsize=32)
def smooth(steps: int, samples: int = SAMPLES) -> float:
    """The distance at the end of the loop without shocks: what Euler's steps themselves cost."""
    return loop(steps, (), samples)


def added(kind: Kind, sigma: float, db: float, steps: int, samples: int = SAMPLES) -> float:
    """How much farther from the data a loop ends because of one shock."""
    return loop(steps, [Shock(kind, at=sigma, strength_db=db)], samples) - smooth(steps, samples)


def lines(samples: int, steps: Sequence[int] = STEPS, strengths: Sequence[float] = STRENGTHS) -> Iterator[str]:
    """The table: a line per place, number of steps and kind."""
    yield f"| σ | steps | without | kind | {' | '.join(f'{db:g} dB' for db in strengths)} |"
    yield f"| ---: | ---: | ---: | --- |{' ---: |' * len(strengths)}"
    for sigma in SIGMAS:
        for count in steps:
            for kind in (*KINDS, "additive"):
                base = smooth(count, samples)
                more = [added(kind, sigma, db, count, samples) for db in strengths]
                cells = " | ".join(f"{base + m:.3f} ({m:+.3f})" for m in more)
                yield f"| {sigma:g} | {count} | {base:.3f} | {kind} | {cells} |"


def others(samples: int, steps: Sequence[int] = STEPS) -> Iterator[str]:
    """Lines of what takes many steps instead of a long one: small shocks at every step, and respaced restarts."""
    for count in steps:
        base = smooth(count, samples)
        every = [f"η {eta:g} {loop(count, ancestral(eta), samples) - base:+.3f}" for eta in (0.5, 1.0)]
        respaced = [Shock("restart", at=s, strength_db=db, respace=True) for s in (0.5, 0.3) for db in (6, 10)]
        spread = [f"{s.at}, {s.strength_db} dB {loop(count, [s], samples) - base:+.3f}" for s in respaced]
        yield f"{count} steps: renoise at every step {', '.join(every)}; respaced restart at σ {'; '.join(spread)}"


def main() -> None:
    parser = options.parser("benchmarks.marginal", __doc__, "", "--samples 10000")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="samples per loop [100,000]")
    asked = parser.parse_args()
    for line in (*lines(asked.samples), *others(asked.samples)):
        print(line, flush=True)


if __name__ == "__main__":
    main()
