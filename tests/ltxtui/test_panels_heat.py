"""Heat maps and pictures as text: known values become known cells, in every depth of colour."""

from __future__ import annotations

import numpy as np
import pytest
from rich.color import Color, ColorSystem

from ltxtui.plot import heatmap
from ltxtui.plot.rows import Ink, TextRow

TRUE = 1 << 24
SYSTEMS = {TRUE: ColorSystem.TRUECOLOR, 256: ColorSystem.EIGHT_BIT, 16: ColorSystem.STANDARD}
# What protanopes and deuteranopes see of linear red, green and blue: Viénot, Brettel and Mollon, 1999.
DICHROMATS = {
    "protan": np.array([[0.11238, 0.88762, 0], [0.11238, 0.88762, 0], [0.00401, -0.00401, 1]]),
    "deutan": np.array([[0.29275, 0.70725, 0], [0.29275, 0.70725, 0], [-0.02234, 0.02234, 1]]),
}


@pytest.mark.parametrize("kind", ["protan", "deutan"])
@pytest.mark.parametrize(("colours", "least"), [(TRUE, 32), (256, 12), (16, 4)])
def test_a_ramp_only_grows_lighter_and_every_level_can_be_told_apart(colours: int, least: int, kind: str) -> None:
    ramp = heatmap.ramp(colours)
    assert len(ramp) >= least
    # As the terminal shows it: the colours are those that it has.
    shown = [Color.from_rgb(*c).downgrade(SYSTEMS[colours]).get_truecolor() for c in ramp]
    light = heatmap.luminance(np.array(shown))
    assert (np.diff(light) > 0.01).all()
    seen = (np.array(shown) / 255) ** 2.2 @ DICHROMATS[kind].T
    assert (np.diff(np.cbrt(seen @ [0.2126, 0.7152, 0.0722])) > 0.005).all(), "for the colour-blind as well"


@pytest.mark.parametrize("kind", ["protan", "deutan"])
@pytest.mark.parametrize(("colours", "least"), [(TRUE, 33), (256, 7), (16, 5)])
def test_a_diverging_scale_grows_lighter_away_from_zero_in_two_hues(colours: int, least: int, kind: str) -> None:
    scale = heatmap.diverging(colours)
    assert len(scale) >= least and len(scale) % 2 == 1
    shown = np.array([Color.from_rgb(*c).downgrade(SYSTEMS[colours]).get_truecolor() for c in scale])
    middle, light = len(scale) // 2, heatmap.luminance(shown)
    assert (np.diff(light[middle:]) > 0.005).all() and (np.diff(light[: middle + 1]) < -0.005).all()
    seen = (shown / 255) ** 2.2 @ DICHROMATS[kind].T
    blue = seen[:, 2] - seen[:, :2].mean(axis=1)
    assert (blue[:middle] > 0).all() and (blue[middle + 1 :] < 0).all(), "the sides differ for the colour-blind as well"


def test_no_ramp_without_colours() -> None:
    assert heatmap.ramp(0) == () and heatmap.diverging(0) == ()
    signed = heatmap.palette(0, signed=True)
    assert heatmap.palette(0).levels == len(heatmap.CHARACTERS) and signed.levels == len(heatmap.SIGNED) == 5


@pytest.mark.parametrize("colours", [TRUE, 256, 16, 0])
def test_zero_is_in_the_middle_of_a_signed_scale(colours: int) -> None:
    count = heatmap.palette(colours, signed=True).levels
    assert heatmap.levels(np.array([-1.0, 0.0, 1.0]), -1, 1, count).tolist() == [0, count // 2, count - 1]


def test_levels_are_equal_parts_and_what_is_missing_stays_so() -> None:
    values = np.array([-np.inf, -5, 0, 2.4, 2.6, 9.99, 10, 99, np.inf, np.nan])
    assert heatmap.levels(values, 0, 10, 4).tolist() == [0, 0, 0, 0, 1, 3, 3, 3, 3, heatmap.MISSING]
    assert heatmap.levels(np.array([5.0]), 5, 5, 4).tolist() == [0], "an empty range is not an error"


def test_steps_of_one_column_are_averaged_in_any_order() -> None:
    values = np.array([[1.0, 10], [3, np.nan], [100, 100], [5, -np.inf], [7, np.inf]])
    found = heatmap.mean_of_groups(values, np.array([1, 1, -1, 0, 0]), 3)
    np.testing.assert_array_equal(found, [[6, -np.inf], [2, 10], [np.nan, np.nan]])


def test_columns_without_a_step_show_the_nearest_one_but_not_beyond_half_a_step() -> None:
    columns = np.array([2, 6, 10, -1])
    assert heatmap.spread(columns, 16).tolist() == [2, 2, 2, 2, 6, 6, 6, 6, 10, 10, 10, 10, 10, -1, -1, -1]
    assert heatmap.spread(np.array([-1]), 3).tolist() == [-1, -1, -1]
    # Two steps are recorded, the third is only planned: its columns are empty, those of the second are not.
    found = heatmap.by_column(np.array([[1.0], [2.0]]), np.array([0, 4, 8]), 9)[:, 0]
    np.testing.assert_array_equal(found, [1, 1, 2, 2, 2, 2, np.nan, np.nan, np.nan])


def test_many_steps_are_averaged_into_few_columns() -> None:
    steps, width = 10_000, 50
    columns = (np.arange(steps) * width // steps).astype(np.intp)
    found = heatmap.by_column(columns[:, None].astype(np.float64), columns, width)
    np.testing.assert_array_equal(found[:, 0], np.arange(width))


def test_bins_are_repeated_where_few_and_averaged_where_many() -> None:
    assert heatmap.fold(np.array([[1.0, 2]]), 4).tolist() == [[1, 1, 2, 2]]
    assert heatmap.fold(np.array([[1.0, 3, 5, 7]]), 2).tolist() == [[2, 6]]


def test_two_levels_share_a_cell_as_half_blocks() -> None:
    ramp, row = heatmap.ramp(TRUE), TextRow(6)
    gone = heatmap.MISSING
    heatmap.draw([3, 3, 0, gone, 5, gone], [3, 3, 1, 4, gone, gone], TRUE, row)
    assert [(s.text, s.ink) for s in row.spans] == [
        ("  ", Ink(None, ramp[3])),
        ("▀", Ink(ramp[0], ramp[1])),
        ("▄", Ink(ramp[4], None)),
        ("▀", Ink(ramp[5], None)),
        (" ", None),
    ]


def test_without_colours_levels_are_characters() -> None:
    row = TextRow(4)
    heatmap.draw([0, 4, 8, heatmap.MISSING], [0, 6, 8, heatmap.MISSING], 0, row)
    assert row.text == ".+@ ".replace("+", heatmap.CHARACTERS[5]) and all(s.ink is None for s in row.spans)


@pytest.mark.parametrize("colours", [TRUE, 16, 0])
def test_the_cursor_is_seen_and_hides_no_level(colours: int) -> None:
    row = TextRow(3)
    heatmap.draw([1, 1, 1], [1, 1, 1], colours, row, cursor=1)
    before, here, after = row.spans
    assert (before.text, before.ink) == (after.text, after.ink) and before != here
    if colours:
        assert here.text == "│" and here.ink is not None and here.ink.back == heatmap.ramp(colours)[1]
    else:
        assert (here.text, here.role) == (heatmap.CHARACTERS[1], "here")


def test_a_picture_is_two_pixels_per_cell() -> None:
    red, blue, black = (255, 0, 0), (0, 0, 255), (0, 0, 0)
    pixels = np.array([[red, red, blue], [red, red, black], [blue, red, red]], np.uint8)
    first, second = TextRow(3), TextRow(3)
    heatmap.picture(pixels, TRUE, first, 0)
    heatmap.picture(pixels, TRUE, second, 1)  # an odd number of rows: the last one has nothing below it
    assert [(s.text, s.ink) for s in first.spans] == [("  ", Ink(None, red)), ("▀", Ink(blue, black))]
    assert [(s.text, s.ink) for s in second.spans] == [("▀", Ink(blue, None)), ("▀▀", Ink(red, None))]


def test_a_picture_without_colours_is_its_brightness() -> None:
    row = TextRow(3)
    grey = np.array([[0, 128, 255]], np.uint8).T[None].repeat(3, axis=2).repeat(2, axis=0)
    heatmap.picture(grey, 0, row, 0)
    assert row.text[0] == heatmap.CHARACTERS[0] and row.text[2] == heatmap.CHARACTERS[-1] and row.text[1] in "=+*#"


def test_the_scale_names_both_ends_and_goes_where_there_is_no_room() -> None:
    row = heatmap.scale(TextRow(20), "-40", "20 dB", 0)
    assert row.text == f"-40 {heatmap.CHARACTERS[0]}" + row.text[5:-7] + f"{heatmap.CHARACTERS[-1]} 20 dB"
    assert heatmap.scale(TextRow(9), "-40", "20 dB", 0).text == ""
