"""`python -m benchmarks.detector`: how often the critical-phase detector is right, on rates with a known peak.

Rates with no peak, one and two, on random shifted schedules of 8 to 200 steps and on the distilled list, with a jitter
of 0, 1 and 5 % on every rate; and the rates of a stochastic sampler, simulated on data of two modes, whose truth is
the mean of many runs. `--nano` adds runs of the nano model.

Right is within a tenth of the run, and at least one step. Online that is from the largest peak up to the step at which
the detector fires; afterwards from the largest peak of the complete run.
"""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import options
from recorder.format import sigma_math
from recorder.metrics.critical_phase import CriticalPhaseDetector

Values = NDArray[np.float64]

STEPS = (8, 12, 20, 40, 100, 200)
JITTERS = (0.0, 0.01, 0.05)
DISTILLED = np.array([1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875])
EDGE = 2
"""Steps between two peaks, and from a peak to either end, at least: anything closer is not a separate peak."""


@dataclass
class Score:
    """Answers of a detector for some runs: how many, how often it fired, and how often it was right."""

    runs: int = 0
    peaks: int = 0
    fired: int = 0
    right: int = 0
    marked: int = 0
    largest: int = 0

    def row(self, *names: str) -> str:
        """A line of the Markdown table."""
        share = [
            f"{self.fired / self.runs:.1%}",
            f"{self.right / self.fired:.1%}" if self.peaks and self.fired else "–",
            f"{self.marked / self.runs:.1%}",
            f"{self.largest / self.marked:.1%}" if self.peaks and self.marked else "–",
        ]
        return f"| {' | '.join([*names, str(self.runs), *share])} |"


HEAD = "| rate | jitter | steps | runs | fires | right | marks | right |\n| --- | --- | --- |" + " ---: |" * 5


def detected(rates: Sequence[float] | Values, sigmas: Sequence[float] | Values) -> tuple[int, int, float, int]:
    """Step fired at, step named, confidence, and the largest peak afterwards; −1 where the detector does not fire."""
    phase = CriticalPhaseDetector()
    at = named = largest = -1
    confidence = math.nan
    for step, (sigma, rate) in enumerate(zip(sigmas, rates, strict=True)):
        for found in phase.take(step, float(sigma), float(rate)):
            if found.notion == "x0_rate_peak":
                at, named, confidence = step, found.step, found.confidence
    for found in phase.finish():
        largest = found.step
    return at, named, confidence, largest


def largest_peak(rates: Values) -> int | None:
    """The highest place above its neighbours on both sides, of rates without noise; None if there is none."""
    inside = [
        i
        for i in range(1, len(rates) - 1)
        if np.isfinite(rates[i - 1]) and rates[i - 1] < rates[i] >= rates[i + 1] and rates[i:].min() < rates[i]
    ]
    return max(inside, key=lambda i: float(rates[i]), default=None)


def score(total: Score, seen: Values, truth: Values, sigmas: Values) -> None:
    """Add one run: rates with their jitter, and without it."""
    at, named, _, largest = detected(seen, sigmas)
    reach = max(1.0, 0.1 * len(sigmas))
    total.runs += 1
    total.fired += at >= 0
    total.marked += largest >= 0
    best = largest_peak(truth)
    if best is None:
        return
    total.peaks += 1
    total.largest += largest >= 0 and abs(largest - best) <= reach
    so_far = largest_peak(truth[: at + 1]) if at >= 0 else None
    total.right += so_far is not None and abs(named - so_far) <= reach


def schedule(rng: np.random.Generator, steps: int) -> Values:
    """A schedule that is shifted by one of three factors, down to .1 or to its own last step."""
    shift = rng.choice([1.0, 3.0, 8.0])
    times = np.linspace(1, 1 / steps if rng.random() < 0.5 else 0.1, steps)
    return np.asarray(shift * times / (1 + (shift - 1) * times))


def places(sigmas: Values) -> Values:
    """Log SNR in the middle of the step that leads to each row; NaN where it has none."""
    log_snr = sigma_math.log_snr_of(sigmas)
    middle = np.concatenate([[np.nan], (log_snr[1:] + log_snr[:-1]) / 2])
    return np.where(np.isfinite(middle), middle, np.nan)


def without_peak(rng: np.random.Generator, sigmas: Values) -> Values:
    """Flat, falling, rising, falling and then rising, or with an edge."""
    where = places(sigmas)
    along = (where - np.nanmin(where)) / np.ptp(where[np.isfinite(where)])
    kind = rng.integers(5)
    if kind == 0:
        return np.where(np.isfinite(along), 1.0, np.nan)
    if kind < 3:
        return np.asarray(np.exp((-1) ** kind * rng.uniform(0.2, 4) * along))
    if kind == 3:
        return np.asarray(np.exp(rng.uniform(0.8, 4) * (along - rng.uniform(0.2, 0.8)) ** 2))
    return np.asarray(0.02 + 1 / (1 + np.exp(8 * (along - rng.uniform(0.3, 0.7)))))


def with_peaks(rng: np.random.Generator, sigmas: Values, peaks: int) -> Values:
    """One Gaussian peak, or two of which either may be larger, by a quarter to one and a half, over a floor."""
    where = places(sigmas)
    rows = np.flatnonzero(np.isfinite(where))
    span = np.ptp(where[rows])
    if peaks == 1:
        centre = where[rng.integers(rows[0] + EDGE, rows[-1] - EDGE + 1)]
        bump = np.exp(-0.5 * ((where - centre) / (span * rng.uniform(0.07, 0.2))) ** 2)
        return np.asarray(bump + rng.uniform(0.02, 0.5))
    gap = max(2 * EDGE, len(rows) // 3)
    first = rng.integers(rows[0] + EDGE, rows[-1] - EDGE - gap + 1)
    second = rng.integers(first + gap, rows[-1] - EDGE + 1)
    heights = rng.permutation([1.0, rng.uniform(1.25, 2.5)])
    width = (where[second] - where[first]) * rng.uniform(0.15, 0.25)
    bumps = [
        h * np.exp(-0.5 * ((where - where[i]) / width) ** 2) for h, i in zip(heights, (first, second), strict=True)
    ]
    return np.asarray(sum(bumps) + rng.uniform(0.02, 0.2))


def synthetic(runs: int, steps: Sequence[int | str] = (*STEPS, "distilled"), seed: int = 0) -> Iterator[str]:
    """The lines of the table with synthetic rates."""
    rng = np.random.default_rng(seed)
    for peaks, jitter, count in itertools.product((0, 1, 2), JITTERS, steps):
        if peaks == 2 and count in (8, "distilled"):
            continue  # too short for two
        total = Score()
        for _ in range(runs):
            sigmas = DISTILLED if isinstance(count, str) else schedule(rng, count)
            truth = with_peaks(rng, sigmas, peaks) if peaks else without_peak(rng, sigmas)
            score(total, truth * np.exp(rng.normal(0, jitter, len(sigmas))), truth, sigmas)
        yield total.row(("none", "one", "two")[peaks], f"{jitter:.0%}", str(count))


def stochastic_rates(rng: np.random.Generator, sigmas: Values, runs: int, eta: float) -> Values:
    """Rates [runs, steps] of a stochastic sampler with the exact model of independent two-mode coordinates.

    With 128 of them the rates of one run scatter by 5 to 10 % about their mean over runs.

    A step to σ′ goes down to σ′·(1 + (σ′/σ − 1)·η) and is re-noised to σ′, as ancestral samplers do.
    """
    size, spread = 128, 0.3
    x = rng.normal(size=(runs, size))
    found = np.full((runs, len(sigmas)), np.nan)
    last: Values | None = None
    for i, sigma in enumerate(sigmas):
        signal = 1 - sigma
        variance = (signal * spread) ** 2 + sigma**2
        mean = np.tanh(signal * x / variance)
        x0 = mean + signal * spread**2 / variance * (x - signal * mean)
        if last is not None and sigmas[i - 1] < 1:
            passed = abs(sigma_math.log_snr(float(sigma)) - sigma_math.log_snr(float(sigmas[i - 1])))
            found[:, i] = np.sqrt(np.mean((x0 - last) ** 2, axis=1)) / passed
        last = x0
        if i + 1 == len(sigmas):
            break
        after = sigmas[i + 1]
        down = after * (1 + (after / sigma - 1) * eta)
        x = x + (down - sigma) * (x - x0) / sigma
        keep = (1 - after) / (1 - down)
        x = keep * x + math.sqrt(max(0.0, after**2 - (keep * down) ** 2)) * rng.normal(size=x.shape)
    return found


def stochastic(runs: int, steps: Sequence[int] = STEPS, seed: int = 1) -> Iterator[str]:
    """The table's lines of stochastic samplers; the truth is the mean of 400 runs of the same sampler."""
    rng = np.random.default_rng(seed)
    for eta, count in itertools.product((0.5, 1.0), steps):
        total = Score()
        times = np.linspace(1, 1 / count, count)
        sigmas = 3 * times / (1 + 2 * times)
        truth = stochastic_rates(rng, sigmas, 400, eta).mean(axis=0)
        for seen in stochastic_rates(rng, sigmas, runs, eta):
            score(total, seen, truth, sigmas)
        yield total.row(f"stochastic, η {eta:g}", "its own", str(count))


NANO_STEPS = (8, 12, 20, 30, 60)


def nano(seeds: int) -> Iterator[str]:
    """A table of recorded nano runs, unguided: fired, fired at what is highest afterwards, marked at the end."""
    import torch

    from recorder import nano as model

    torch.set_num_threads(1)
    pipe = model.load()
    pipe.set_progress_bar_config(disable=True)
    yield f"| nano runs, unguided | {' | '.join(f'{count} steps' for count in NANO_STEPS)} |"
    yield f"| --- |{' ---: |' * len(NANO_STEPS)}"
    small = {"height": 128, "width": 160, "num_frames": 33}
    for (size, grid), eta in itertools.product((("128×160", small), ("320×384", model.HOME)), (0.0, 0.5)):
        few = seeds if grid is small else -(-seeds // 2)
        cells = [nano_cell(pipe, {**model.CALL, **grid, **model.UNGUIDED}, count, eta, few) for count in NANO_STEPS]
        yield f"| {size}, {'η .5' if eta else 'plain'} | {' | '.join(cells)} |"


def nano_cell(pipe: Any, call: dict[str, Any], count: int, eta: float, seeds: int) -> str:
    """One table cell: the shares of runs of `count` steps in which the detector fired, agreed and marked a step.

    `eta` is the share of fresh noise in each step.
    """
    import torch

    from recorder import record
    from recorder.nano import components
    from recorder.recipes.step_scheduler import StepScheduler
    from replay.sources.open import load

    fired = marked = agree = 0
    for seed in range(seeds):
        pipe.scheduler = components.scheduler()
        if eta:
            sampler = f"euler-ancestral:eta={eta:g}"
            pipe.scheduler = StepScheduler.from_config(pipe.scheduler.config, sampler=sampler, seed=seed)
        with tempfile.TemporaryDirectory() as folder:
            with record(pipe, previews=False, runs_dir=folder) as run:
                generator = torch.Generator().manual_seed(seed)
                prompt, length = "a red ball moving left", {"num_inference_steps": count, "output_type": "latent"}
                pipe(prompt=prompt, generator=generator, **call, **length)
            stream = load(run.path).stages[0].streams["video"]
            sigmas = stream.series("sigma").astype(np.float64)
            rates = stream.series("x0_change_rate").astype(np.float64).ravel()
        at, named, _, largest = detected(rates, sigmas)
        fired, marked = fired + (at >= 0), marked + (largest >= 0)
        agree += at >= 0 and abs(named - largest) <= max(1.0, 0.1 * count)
    return f"{fired} / {agree} / {marked} of {seeds}"


def main() -> None:
    parser = options.parser("benchmarks.detector", __doc__, "--runs 200", "--runs 50 --nano 4")
    parser.add_argument("--runs", type=int, default=400, help="runs per line of the table [400]")
    parser.add_argument("--nano", type=int, default=0, metavar="SEEDS", help="also record that many nano runs per line")
    asked = parser.parse_args()
    print(HEAD)
    for line in itertools.chain(synthetic(asked.runs), stochastic(asked.runs)):
        print(line, flush=True)
    if asked.nano:
        print()
        for line in nano(asked.nano):
            print(line, flush=True)


if __name__ == "__main__":
    main()
