"""The list of runs without a screen: what is found, in which order, what stays under the cursor, what fits."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from rich.cells import cell_len

from ltxtui.home import draw, query
from ltxtui.home.columns import COLUMNS, GUTTER, REMOTE_ONLY, column_at, fitting
from ltxtui.home.model import HomeModel
from ltxtui.home.spark import spark
from ltxtui.plot.line_plot import Style
from ltxtui.screens.home_views import no_runs
from replay.library.run_info import RunInfo

HOSTILE = (
    "[bold red]markup[/] \x1b[31mred\x1b]0;owned\x07 \u202eright to left \x9b2J one\ntwo\r\nthree\t"
    "日本語の長い名前 e\u0301\u0301\u0301\u0301\u0301 👩‍👩‍👧 \ud800 \x00 " + "x" * 10_000
)


def made(number: int, **more: object) -> RunInfo:
    """A run of the list."""
    known: dict[str, object] = {
        "name": f"20261122-1430{number:02}-run-{number}", "path": Path(f"/runs/{number}.zarr"),
        "started": 1000.0 + number, "stages": 1, "steps": 10, "planned": 10, "seconds": 5.0 + number,
        "status": "complete", "bytes": 1000 * number, "prompt": f"prompt {number}", "model": "nano",
        "drift": number / 10, "sigmas": (1.0, 0.6, 0.2),
    }  # fmt: skip
    return RunInfo(**{**known, **more})  # type: ignore[arg-type]


def home(*runs: RunInfo) -> HomeModel:
    model = HomeModel()
    model.set_runs(runs)
    return model


def names(model: HomeModel) -> list[str]:
    return [run.name.rpartition("-")[2] for run in model.shown]


def test_the_newest_first_and_live_ones_on_top_in_every_order() -> None:
    model = home(made(1), made(2, status="live"), made(3), made(4))
    assert names(model) == ["2", "4", "3", "1"] and model.live == 1
    for column in COLUMNS:
        model.sort_by(column.id)
        assert names(model)[0] == "2", column.id
        model.reverse()
        assert names(model)[0] == "2", column.id


def test_every_column_sorts_and_reverses() -> None:
    runs = [
        made(1, steps=3, stages=2, shocks=1, model="b", tags=("x",), prompt="B"),
        made(2, steps=2, stages=1, shocks=3, model="C", tags=("y",), prompt="a", drift=None),
        made(3, steps=1, stages=3, shocks=2, model="a", prompt="c", seconds=None, status="failed"),
    ]
    expected = {
        "name": "123", "status": "213", "steps": "123", "stages": "312", "shocks": "231", "drift": "312",
        "duration": "213", "when": "321", "size": "321", "model": "312", "tags": "123", "prompt": "213",
    }  # fmt: skip
    for column, order in expected.items():
        model = home(*runs)
        if column != "when":
            model.sort_by(column)
        assert "".join(names(model)) == order, column
    model = home(*runs)
    model.sort_by("drift")
    model.reverse()
    assert names(model) == ["1", "3", "2"], "runs without drift come last either way"


def test_the_next_column_goes_round() -> None:
    model = home(made(1))
    seen = []
    known = {c.id for c in COLUMNS} - REMOTE_ONLY
    for _ in known:
        model.sort_next(1)
        seen.append(model.sort.id)
    assert sorted(seen) == sorted(known) and seen[-1] == "when"
    model.sort_next(-1)
    assert model.sort.id == seen[-2]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("", "54321"),
        ("prompt", "54321"),
        ("ROMPT rUn-2", "2"),
        ("run-3", "3"),
        ("#good", "1"),
        ("#go", "1"),
        ("-#good", "5432"),
        ("-run-3 -run-4", "521"),
        ("status:fail", "2"),
        ("model:ltx", "3"),
        ("drift>0.25", "543"),
        ("drift>=0.3 drift<0.5", "43"),
        ("drift>", ""),
        ("shocks>0", "5"),
        ("shocks=0", "4321"),
        ("time<7.5", "21"),
        ("drift>x", ""),
        ("steps<..", ""),
        ("nosuch:thing", ""),
        ("-", "54321"),
        ("#", "1"),
        ("o", "54321"),
    ],
)
def test_what_is_typed_finds_runs(typed: str, found: str) -> None:
    runs = [made(1, tags=("Good",)), made(2, status="failed"), made(3, model="LTX-2.3"), made(4), made(5, shocks=2)]
    model = home(*runs)
    model.filter(typed)
    assert "".join(names(model)) == found


def test_a_tests_text_is_found_whatever_its_case_or_script() -> None:
    assert all(t(made(1, prompt="ÜBER Straße 日本"), query.searched(made(1, prompt="ÜBER Straße 日本")))
               for t in query.parse("über STRASSE 日本"))  # fmt: skip


def test_the_cursor_stays_on_its_run() -> None:
    model = home(made(1), made(2), made(3))
    model.set_runs([made(1), made(2), made(3), made(4)])
    assert model.current is not None and model.current.name.endswith("4"), "untouched it is at the top"
    model.move(1)
    model.set_runs([made(1), made(2), made(3), made(4), made(5), made(6, status="live")])
    assert model.current.name.endswith("3") and model.cursor == 3
    model.sort_by("name")
    assert model.current.name.endswith("3")
    model.filter("run")
    assert model.current.name.endswith("3")
    model.filter("run-2")
    model.filter("")
    assert model.current.name.endswith("2"), "the first that is found, if its own is not"
    model.find(Path("/runs/3.zarr"))
    model.set_runs([made(1), made(2)])
    assert model.cursor == 1 and model.current is not None
    model.set_runs([])
    assert model.current is None and model.chosen == [] and model.cursor == 0
    model.move(1)
    model.mark()
    assert model.cursor == 0 and not model.marks


def test_nothing_new_is_said_to_be_nothing() -> None:
    runs = [made(n) for n in range(5)]
    model = HomeModel()
    assert model.set_runs(runs) and not model.set_runs(list(runs)) and not model.set_runs([made(n) for n in range(5)])
    assert model.set_runs([*runs[:4], made(4, steps=11)])


def test_the_window_follows_the_cursor_and_the_wheel() -> None:
    model = home(*(made(n) for n in range(50)))
    assert model.window(10) == range(0, 10)
    model.move_to(25)
    assert model.window(10) == range(16, 26)
    model.move(-3)
    assert model.window(10) == range(16, 26)
    model.scroll(-10)
    assert model.window(10) == range(6, 16) and model.cursor == 15
    model.scroll(1000)
    assert model.window(10) == range(40, 50) and model.cursor == 40
    model.filter("run-4")
    assert model.window(10) == range(0, 10) and model.window(100) == range(0, 11)


def test_marks_choose_and_are_kept_in_their_order() -> None:
    model = home(*(made(n) for n in range(5)))
    assert [r.name[-1] for r in model.chosen] == ["4"] and model.comparable == []
    model.move_to(3)
    model.mark()
    assert model.cursor == 4 and [r.name[-1] for r in model.comparable] == ["1", "0"], "the marked one with the current"
    model.move_to(0)
    model.mark()
    assert [r.name[-1] for r in model.chosen] == ["1", "4"] == [r.name[-1] for r in model.comparable]
    model.filter("run-2")
    assert len(model.chosen) == 2, "marks outlast the filter"
    model.mark_shown()
    assert len(model.marks) == 3
    model.mark_shown()
    assert len(model.marks) == 2
    model.set_runs([made(4)])
    assert [r.name[-1] for r in model.chosen] == ["4"]
    model.unmark()
    assert not model.marks


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160, 200, 300])
@pytest.mark.parametrize("longest", [0, 8, 25, 80])
def test_columns_fit_and_leave_in_order_of_importance(width: int, longest: int) -> None:
    columns = fitting(width, longest)
    assert GUTTER + sum(wide + 1 for _, wide in columns) <= width
    kept = {c.rank for c, _ in columns}
    assert kept == set(range(len(kept))), "none is left out for a less important one"
    least = {"name", "status", "verdict"} | ({"steps", "sigma"} if width > 60 else set())
    assert least <= {c.id for c, _ in columns}
    assert [c.id for c, _ in columns] == [c.id for c in COLUMNS if c in {k for k, _ in columns}]
    if width >= 160:
        assert {c.id for c, _ in columns} == {c.id for c in COLUMNS} - REMOTE_ONLY
    at = GUTTER
    for column, wide in columns:
        assert column_at(at, width, longest) is column is column_at(at + wide - 1, width, longest)
        at += wide + 1


@pytest.mark.parametrize("style", list(Style))
@pytest.mark.parametrize("width", [60, 80, 300])
def test_hostile_text_draws_as_harmless_text_of_the_right_width(style: Style, width: int) -> None:
    hostile = {"name": HOSTILE, "prompt": HOSTILE, "model": HOSTILE, "status": HOSTILE[:300], "tags": (HOSTILE,)}
    model = home(made(1, **hostile), made(2, path=Path("/runs/\x1b[31m\udcff.zarr")), made(3, name="日本" * 40))
    plain = style is Style.ASCII
    rows = [
        draw.title(model, Path("/\x1b[31m" + "日" * 300), width, pending=3, unreadable=2, ascii_only=plain),
        draw.heading(model, width, ascii_only=plain),
        *draw.runs(model, width, 3, style, 2000.0),
        *draw.details(model, width, 8, ascii_only=plain),
    ]
    model.move(2)
    rows += draw.details(model, width, 8, ascii_only=plain)
    model.move(-1)
    rows += draw.details(model, width, 8, ascii_only=plain)
    for row in rows:
        text = row.text
        assert cell_len(text) == width == row.used, text
        assert text.isprintable(), ascii(text)
        assert text.isascii() or not plain
    assert "[bold red]" in "".join(r.text for r in rows), "markup is text"


def test_what_is_at_the_end_of_a_long_name_is_seen() -> None:
    model = home(made(1, name="20261122-143015-0031-restart-critical"), made(2, name="20261122-143016-0031-smooth"))
    shown = [row.text for row in draw.runs(model, 60, 2, Style.BRAILLE, 2000.0)]
    assert "0031-restart-critical" in shown[1] and "…" in shown[1] and "0031-smooth" in shown[0]
    assert "..." in draw.runs(model, 60, 2, Style.ASCII, 2000.0)[1].text


def test_a_live_run_shows_how_far_it_is() -> None:
    model = home(made(1, status="live", steps=4, sigmas=(1.0,) * 10, seconds=12.0))
    row = draw.runs(model, 120, 1, Style.BLOCK, 1010.0)[0]
    assert "live 40%" in row.text and "4/10" in row.text and "12.0 s" in row.text
    drawn = [(span.text, span.role) for span in row.spans if span.role in ("s1", "ghost") and "█" in span.text]
    assert drawn == [("████", "s1"), ("████", "ghost")], "four tenths of eight cells, rounded up"


def test_the_curve_falls_and_spikes() -> None:
    falling = tuple(1 - i / 19 for i in range(20))
    assert spark(falling, 8, Style.BLOCK) == "█▇▆▅▄▄▂▂"
    assert len(spark(falling, 8, Style.BRAILLE)) == 8 and spark(falling, 4, Style.ASCII).isascii()
    assert spark((1.0, 0.5, 0.0, 0.0, 1.0, 0.0), 6, Style.BLOCK) == "█▅▁▁█▁"
    assert spark((1.0, 0.0), 6, Style.BLOCK) == "███▁▁▁", "a short schedule is stretched"
    assert spark((), 5, Style.BRAILLE) == "     " and spark((5.0, -1.0), 2, Style.BLOCK) == "█▁"


def test_an_empty_list_says_what_to_do() -> None:
    model = HomeModel()
    assert "ltxtui demo" in "\n".join(no_runs(model, Path("runs"), 0, False))
    assert no_runs(model, Path("runs"), 3, True) == ["Reading ..."]
    model.set_runs([made(1)])
    model.filter("nothing")
    assert "None of 1 run matches" in no_runs(model, Path("runs"), 0, False)[0]


def test_changes_step_by_step_give_the_same_list_as_all_at_once() -> None:
    """What is new, gone, live and changed, in every order and with a filter: only what changed is put in order."""
    chance = random.Random(7)
    model, there = HomeModel(), {n: made(n) for n in range(40)}
    columns = [column.id for column in COLUMNS if column.id not in REMOTE_ONLY]
    for step in range(200):
        number = chance.randrange(60)
        if number in there and chance.random() < 0.5:
            del there[number]
        else:
            more = {
                "status": chance.choice(("complete", "live", "failed")),
                "steps": step,
                "started": 1000.0 + step % 9,
            }
            there[number] = made(number, **more, tags=("x",) if number == 5 else (), drift=chance.choice((None, 0.1)))
        model.set_runs([*there.values()])
        if chance.random() < 0.3:
            model.sort_by(chance.choice((*columns, "when", "when")))
        if chance.random() < 0.3:
            model.filter(chance.choice(("", "run-1", "status:failed", "-run-2 drift>0")))
        if chance.random() < 0.3:
            model.mark()
        whole = home(*there.values())
        whole.filter(model.query)
        if (whole.sort, whole.falling) != (model.sort, model.falling):
            whole.sort_by(model.sort.id)
            if whole.falling != model.falling:
                whole.reverse()
        assert model.shown == whole.shown, step
        assert (model.live, model.longest_name, model.without) == (whole.live, whole.longest_name, whole.without)
        assert all(there[int(path.stem)] is run for path, run in model.marks.items())


def test_a_long_list_is_sorted_and_filtered_in_a_moment() -> None:
    """Far below the 200 ms that 50,000 runs may take on an idle machine; `python -m benchmarks bigfolder` measures."""
    model = home(*(made(n, status=("complete", "failed")[n % 2]) for n in range(2000)))
    began = time.process_time()
    for column in COLUMNS:
        model.sort_by(column.id)
    for text in ("r", "ru", "run-1", "status:failed", "drift>100"):
        model.filter(text)
    assert time.process_time() - began < 1.0
