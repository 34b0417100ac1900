"""`python -m benchmarks.power`: how often a sweep finds the difference that it states as detectable.

Each line simulates 1,000 sweeps of normal paired differences without an effect. Each sweep states the difference that
it detects with 80 % power. That difference is added to one of its arms, and the arm is tested again: alone at .05, and
among several arms at the strictest threshold of the correction, .05 divided by the number of arms.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from benchmarks import options
from replay.sweep.power import smallest_seen
from replay.sweep.statistics import LEVEL, sign_flip_p
from replay.sweep.verdict_text import POWER

PAIRS = (8, 12, 32)
ARMS = (1, 6)


def measured(pairs: int, arms: int, sweeps: int, seed: int = 0) -> tuple[float, float]:
    """Share of sweeps that find the promised difference, and the same for 2.8 standard errors or what replaces them.

    The second is the normal approximation: z(1 − level/2) + z(.8) standard errors of the median arm.
    """
    from statistics import NormalDist

    level = LEVEL / arms
    z = NormalDist()
    by_normal = z.inv_cdf(1 - level / 2) + z.inv_cdf(POWER)
    rng = np.random.default_rng(seed)
    found = np.zeros(2)
    for _ in range(sweeps):
        differences = rng.normal(0, 1, (arms, pairs))
        errors = differences.std(axis=1, ddof=1) / math.sqrt(pairs)
        promised = smallest_seen(errors.tolist(), [pairs] * arms, level, POWER)
        sizes = (promised, by_normal * float(np.median(errors)))
        found += [sign_flip_p(differences[0] + size) < level for size in sizes]
    one, other = found / sweeps
    return float(one), float(other)


def lines(sweeps: int, pairs: tuple[int, ...] = PAIRS) -> Iterator[str]:
    """The table's lines."""
    for count in pairs:
        for arms in ARMS:
            power, normal = measured(count, arms, sweeps)
            yield f"| {count} | {arms} | {POWER:.0%} | {power:.1%} | {normal:.1%} |"


def main() -> None:
    parser = options.parser("benchmarks.power", __doc__, "--sweeps 200")
    parser.add_argument("--sweeps", type=int, default=1000, help="simulated sweeps per line [1000]")
    asked = parser.parse_args()
    print("| pairs | arms | promised | measured | by the normal approximation |\n| ---: | ---: | ---: | ---: | ---: |")
    for line in lines(asked.sweeps):
        print(line, flush=True)


if __name__ == "__main__":
    main()
