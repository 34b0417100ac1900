"""Where panels go: in every size they fill the body, never overlap, and none is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltxtui.panels.registry import BY_ID
from ltxtui.viewmodel.layout import LOWEST, NARROWEST, OTHERS, PRESETS, Place, across, arrange, size_class


def covered(places: dict[str, Place], width: int, height: int) -> None:
    cells = [[0] * width for _ in range(height)]
    for place in places.values():
        for y in range(place.y, place.y + place.height):
            for x in range(place.x, place.x + place.width):
                cells[y][x] += 1
    assert all(count == 1 for row in cells for count in row)


@given(st.integers(1, 20), st.integers(60, 300), st.integers(11, 95), st.booleans())
def test_panels_fill_the_body_and_all_have_a_page(count: int, width: int, height: int, lanes: bool) -> None:
    panels = [f"p{n}" for n in range(count)]
    tall = frozenset(panels[:1]) if lanes else frozenset()
    first = arrange(panels, width, height, tall=tall)
    seen: list[str] = []
    for page in range(first.pages):
        made = arrange(panels, width, height, page=page, tall=tall)
        covered(made.places, width, height)
        seen += made.places
        assert all(p.width >= NARROWEST and p.height >= LOWEST for p in made.places.values())
        assert all(made.places[id].height >= 2 * LOWEST for id in tall & set(made.places)) or height < 2 * LOWEST
    assert seen == panels


@pytest.mark.parametrize(
    ("size", "columns"), [((60, 11), 2), ((80, 20), 2), ((80, 45), 1), ((120, 35), 2), ((200, 16), 4), ((300, 95), 2)]
)
def test_four_charts_get_the_columns_that_suit(size: tuple[int, int], columns: int) -> None:
    assert across(4, *size) == columns


def test_rows_are_of_nearly_equal_length() -> None:
    rows: dict[int, int] = {}
    for place in arrange([f"p{n}" for n in range(17)], 140, 39).places.values():
        rows[place.y] = rows.get(place.y, 0) + 1
    assert max(rows.values()) - min(rows.values()) <= 1


def test_pages_go_round_and_nothing_is_nothing() -> None:
    panels = [f"p{n}" for n in range(9)]
    made = arrange(panels, 80, 20)
    assert made.pages == 2 and arrange(panels, 80, 20, page=2).places == made.places
    assert arrange(panels, 80, 20, page=-1).page == made.pages - 1
    assert arrange([], 80, 20).places == {} and arrange(panels, 0, 0).places == {}


def test_presets_name_panels_that_there_are() -> None:
    for preset in PRESETS:
        assert set(preset.panels) <= {*BY_ID, OTHERS} and len(set(preset.panels)) == len(preset.panels)
    assert [p.key for p in PRESETS] == [str(n) for n in range(1, len(PRESETS) + 1)]


def test_terminals_of_about_the_same_size_share_an_arrangement() -> None:
    assert size_class(80, 24) == size_class(90, 30) != size_class(120, 40) != size_class(200, 60)
