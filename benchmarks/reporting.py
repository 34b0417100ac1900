"""Figures as text: titled tables, and medians with their range."""

from __future__ import annotations

import statistics


def table(title: str, rows: list[tuple[str, str]]) -> None:
    """Print one titled block of figures."""
    print(f"\n{title}")
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"  {name.ljust(width)}  {value}", flush=True)


def ms(seconds: float) -> str:
    """Seconds as milliseconds."""
    return f"{seconds * 1000:.2f} ms"


def quantile(values: list[float], share: float) -> float:
    """The smallest of the values that is not below that share of them."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def median(values: list[float]) -> str:
    """Median, range and number of the seconds measured."""
    return f"{ms(statistics.median(values))}   ({ms(min(values))} to {ms(max(values))}, {len(values)} runs)"
