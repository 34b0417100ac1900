"""A hundred of the random bursts of keys and mouse events of `make keys`, on all kinds of screens."""

from __future__ import annotations

import random

import pytest

from benchmarks import keys
from ltxtui.app import Dashboard
from tests.ltxtui.fixture import open_fixture


@pytest.mark.parametrize("part", range(4))
def test_a_burst_of_keys_and_clicks_ends_in_no_error(part: int) -> None:
    # By turns of each dashboard, so that every kind of screen is in every part.
    assert keys.run(range(part * 25, part * 25 + 25), seed=keys.SEED + 1) == []


@pytest.mark.parametrize("burst", [93, 433])
def test_what_ended_in_an_error_once_does_not_again(burst: int) -> None:
    """The wheel outside of a terminal that has just shrunk; a dialog that opens while the app ends."""
    assert keys.run(range(burst - burst % keys.EACH, burst + 1)) == []


def test_the_same_number_and_seed_give_the_same_burst_again() -> None:
    def drawn(seed: str) -> list[str]:
        return [repr(h) for h in keys.happenings("run", keys.LARGEST, random.Random(seed))]

    assert drawn("1") == drawn("1") != drawn("2")


async def test_an_error_in_a_burst_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Dashboard) -> None:
        raise RuntimeError("found")

    monkeypatch.setattr(Dashboard, "next_theme", broken)
    app = Dashboard(open_fixture())
    with pytest.raises(RuntimeError, match="found"):
        async with app.run_test() as pilot:
            app.post_message(keys.key_event("t"))
            await pilot.pause()
