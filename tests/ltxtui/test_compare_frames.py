"""Frames over steps of two runs: values on the common axis, their difference, its scale, and what is said instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from ltxtui.app import Dashboard
from ltxtui.compare.deck import CompareDeck
from ltxtui.compare.frame_maps import FrameMap, frame_maps, pair
from ltxtui.compare.member import members
from ltxtui.panels.compare.frames import CompareFrames
from ltxtui.plot.line_plot import GUTTER, Style
from ltxtui.screens.compare import CompareScreen
from ltxtui.viewmodel.frame_quantities import QUANTITIES
from recorder.format import protocol
from replay.model.run import Run
from tests.ltxtui.driving import ROOMY, resized, until
from tests.ltxtui.fixture import journal_file

SIGMAS = (1.0, 0.9, 0.7, 0.4, 0.1)
EVERY_OTHER = {"frame": {"values": [0, 2, 4], "attributes": {}}}


def run(motion: np.ndarray | None, sigmas: tuple[float, ...] = SIGMAS, coordinates: Any = None) -> Run:
    """A run with one video stream: the noise level, and `motion` [rows, batch, frames] if given."""
    made = Run()
    columns = [np.array(sigmas, "<f4").reshape(-1, 1)]
    metrics: list[dict[str, Any]] = [{"name": "sigma", "dims": ["step"], "shape": []}]
    if motion is not None:
        columns.append(motion.reshape(len(motion), -1).astype("<f4"))
        metrics.append({"name": "motion", "dims": ["step", "batch", "frame"], "shape": list(motion.shape[1:])})
    declared = [{"unit": "1", "label": m["name"], "description": "", **m} for m in metrics]
    header = {"format": protocol.FORMAT, "version": protocol.FORMAT_VERSION, "run": "made", "archive": ""}
    made.feed({"t": protocol.HEADER, "time": 0.0, "metadata": {}, **header})
    stage = {"stage": 0, "call": 0, "tile": None, "sigmas": list(sigmas), "metadata": {}}
    made.feed({"t": protocol.STAGE, "time": 0.0, **stage})
    batch = 1 if motion is None else motion.shape[1]
    made.feed({"t": protocol.STREAM, "stage": 0, "stream": "video", "grid": [3, 2, 2], "shape": [batch, 12, 1],
               "metrics": declared, "coordinates": coordinates or {}})  # fmt: skip
    for step, row in enumerate(np.concatenate(columns, axis=1)):
        place = {"stage": 0, "stream": "video", "step": step}
        made.feed({"t": protocol.STEP, "time": step / 10, "data": row.tobytes(), **place})
    made.feed({"t": protocol.END, "time": 1.0, "status": "complete", "error": None})
    return made


def ramp(slope: float = 0.1, frames: int = 3, batch: int = 1, sigmas: tuple[float, ...] = SIGMAS) -> np.ndarray:
    """A motion that is linear in σ and in the frame, [rows, batch, frames]; clips differ by 1."""
    at, clip, frame = np.array(sigmas)[:, None, None], np.arange(batch)[:, None], np.arange(frames)
    return np.asarray(at + slope * frame + clip)


def maps(*runs: Run, quantity: str = "motion", **options: Any) -> list[FrameMap]:
    deck = deck_of(*runs, **options)
    found, together = pair(deck), deck.together
    assert found is not None and together is not None
    return frame_maps(together, *found, QUANTITIES[quantity])


def deck_of(*runs: Run, item: int | None = None, **options: Any) -> CompareDeck:
    deck = CompareDeck(members(list(runs)), **options)
    deck.item = item
    deck.changed()
    return deck


def test_both_runs_share_a_scale_and_the_difference_is_the_other_minus_the_reference() -> None:
    a, b, difference = maps(run(ramp()), run(ramp(0.4)))
    assert (a.title, b.title, difference.title) == ("A", "B", "B−A")
    assert a.ends == b.ends == (0.0, 2.0) and difference.ends == pytest.approx((-0.6, 0.6))
    assert not a.signed and difference.signed
    assert_allclose(difference.values, np.tile([0, 0.3, 0.6], (5, 1)), atol=1e-6)
    assert_allclose(a.values, ramp()[:, 0], atol=1e-6)


def test_at_equal_noise_values_are_between_the_rows_of_the_other_run() -> None:
    others = (0.95, 0.5, 0.05)
    _, b, difference = maps(run(ramp()), run(ramp(sigmas=others), others), align="sigma")
    assert np.isnan(b.values[0]).all(), "the other run was never at this level"
    assert_allclose(difference.values[1:], 0, atol=1e-6)


def test_steps_that_one_run_does_not_have_have_no_difference() -> None:
    shorter = SIGMAS[:3]
    a, b, difference = maps(run(ramp()), run(ramp(0.2, sigmas=shorter), shorter))
    assert np.isfinite(a.values).all() and np.isnan(b.values[3:]).all()
    assert_array_equal(np.isfinite(difference.values).any(axis=1), [True, True, True, False, False])


def test_a_clip_or_the_mean_over_the_batch() -> None:
    runs = run(ramp(batch=2)), run(ramp(0.3, batch=2))
    assert_allclose(maps(*runs)[0].values, ramp()[:, 0] + 0.5, atol=1e-6)
    assert_allclose(maps(*runs, item=1)[0].values, ramp()[:, 0] + 1, atol=1e-6)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (run(ramp(frames=5)), "A has 3 latent frames, B has 5: no difference frame by frame"),
        (
            run(ramp(), coordinates=EVERY_OTHER),
            "A and B recorded different latent frames",
        ),
        (run(ramp()), "0 at every point: B does not differ from A"),
        (run(None), "needs both runs"),
        (run(np.full((5, 1, 3), np.nan)), "needs both runs"),
    ],
)
def test_what_is_said_instead_of_a_difference(other: Run, why: str) -> None:
    assert maps(run(ramp()), other)[2].why == why


def test_what_is_said_instead_of_a_run() -> None:
    assert maps(run(ramp()), run(None))[1].why == "motion per frame not recorded for video"
    assert maps(run(ramp()), run(np.full((5, 1, 3), np.nan)))[1].why == "no value of motion at any point"


def test_the_selected_run_is_compared_and_else_the_first_one_that_is_shown() -> None:
    deck = deck_of(run(ramp()), run(ramp(0.2)), run(ramp(0.3)))

    def letters() -> str:
        found = pair(deck)
        assert found is not None
        return "".join(m.letter for m in found)

    assert letters() == "AB"
    deck.toggle(1)
    assert letters() == "AC"
    deck.select(1)
    assert letters() == "AB"
    deck.pin(2)
    assert letters() == "CB"


def rows(deck: CompareDeck, width: int, height: int) -> list[str]:
    found = CompareFrames(deck, Style.ASCII).rows(width, height)
    assert len(found) == height and all(row.used == width for row in found)
    return [row.text for row in found]


def test_without_colours_signs_tell_the_sides_of_zero() -> None:
    change = np.zeros((5, 1, 3))
    change[:, :, 1:] = [1.0, -1.0]
    deck = deck_of(run(ramp()), run(ramp() + change))
    deck.frame_quantity = "motion"
    deck.move_to(0)
    drawn = rows(deck, 80, 19)
    heads = [n for n, line in enumerate(drawn) if "motion" in line]
    assert heads == [0, 6, 12] and "-1 ==-...+## 1" in drawn[12]
    bodies = [drawn[n][GUTTER + 1 : -1] for n in (13, 15, 17)]
    assert [set(body) for body in bodies] == [{"."}, {"#"}, {"="}]
    wide = rows(deck, 120, 30)
    assert sum("motion" in line for line in wide) == 1 and wide[0].count("motion") == 3


def test_a_difference_that_cannot_be_is_said_in_its_place_in_full() -> None:
    deck = deck_of(run(ramp()), run(ramp(frames=5)))
    deck.frame_quantity = "motion"
    for width, height in ((60, 12), (80, 19), (120, 33), (300, 40)):
        said = " ".join(" ".join(rows(deck, width, height)).split())
        assert "A has 3 latent frames" in said and "frame by frame" in said


def test_nothing_to_compare_is_said() -> None:
    assert "only A has video" in " ".join(rows(deck_of(run(ramp()), Run()), 80, 2))


async def test_a_key_shows_the_maps_and_their_quantities_and_a_click_moves_the_cursor(tmp_path: Path) -> None:
    runs = [journal_file(tmp_path, name) for name in ("smooth", "restart")]
    app = Dashboard(first=lambda app: CompareScreen(runs))
    async with app.run_test(size=ROOMY) as pilot:
        screen = app.screen_stack[0]
        assert isinstance(screen, CompareScreen)
        await until(pilot, lambda: not screen.deck.loading)
        maps = screen.query_one(CompareFrames)
        seen = []
        for _ in QUANTITIES:
            await pilot.press("W")
            assert screen.deck.face == "frames" and maps.region and not screen.query_one("#charts").region
            seen.append(maps.render_line(0).text.split()[1])
        assert seen == ["identity", "coherence", "motion", "jerk"]
        for size in ((80, 24), ROOMY):
            await resized(pilot, *size)
            for x in (GUTTER, maps.size.width - 2):
                await pilot.click(maps, offset=(x, 3))
                assert screen.deck.cursor == (0 if x == GUTTER else screen.deck.points - 1)
        await pilot.press("shift+tab", "shift+tab", "shift+tab")
        assert screen.deck.face == "charts"
        await pilot.press("W")
        assert screen.deck.frame_quantity == "jerk", "the first press shows the maps again"
        await pilot.press("escape")
        assert screen.deck.face == "charts"
