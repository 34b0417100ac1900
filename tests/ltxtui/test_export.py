"""What leaves the dashboard: CSV, pictures of the screen, and the command that brings it back."""

from __future__ import annotations

import csv
import math
import os
import re
import shlex
from pathlib import Path

import pytest
from textual.pilot import Pilot

from ltxtui.app import Dashboard, Options
from ltxtui.cli.watch_replay import replay as replay_command
from ltxtui.reports import export
from ltxtui.reports.export import CannotExport, Table, save_csv, shell_line
from ltxtui.screens.run import Opening
from ltxtui.settings import Loaded, Settings
from tests.ltxtui.driving import ROOMY, loaded, until
from tests.ltxtui.fixture import fixture_messages, open_fixture
from tests.ltxtui.sources import Archive


def at(folder: Path) -> Loaded:
    return Loaded(Settings(export_dir=folder), folder / "config.toml")


def said(app: Dashboard) -> list[str]:
    return [str(n.message) for n in app._notifications]


def test_csv_holds_the_numbers_and_no_formula(tmp_path: Path) -> None:
    rows = [[0, 0.1, math.nan, "=1+1"], [1, -math.inf, 2.5, "a\x1b[31m\nb"], [2, -1.5, None, "-2"]]
    told = save_csv(Table(["step", "a", "b", "=c"], rows), tmp_path, "run/../x")
    (path,) = tmp_path.iterdir()
    assert str(path) in told and "3 rows" in told and path.name == "run-..-x.csv"
    with path.open(newline="") as file:
        read = list(csv.reader(file))
    assert read == [
        ["step", "a", "b", "'=c"],
        ["0", "0.1", "", "'=1+1"],
        ["1", "", "2.5", "a b"],
        ["2", "-1.5", "", "'-2"],
    ]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    for _ in range(3):
        save_csv(Table(["a"], []), tmp_path, "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x-2.csv", "x-3.csv", "x.csv"]


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotExport, match="export_dir"):
        save_csv(Table(["a"], []), tmp_path / "file", "x")


def test_a_line_to_paste_is_one_line_of_the_same_words() -> None:
    words = ["ltxtui", "replay", "a b'c; rm -rf $HOME", "x\n\x1b[31mreboot\n", "--at-step", "3"]
    line = shell_line(words)
    assert "\n" not in line and "\x1b" not in line
    assert shlex.split(line) == ["ltxtui", "replay", "a b'c; rm -rf $HOME", "x reboot", "--at-step", "3"]


async def test_every_panel_has_a_table(tmp_path: Path) -> None:
    from ltxtui.panels.registry import PANELS

    app = Dashboard(open_fixture("faulty"), Options(settings=at(tmp_path)))
    async with app.run_test(size=(200, 60)) as pilot:
        await loaded(pilot)
        for panel in PANELS:
            table = panel.table(app.deck)
            assert table.columns and all(len(row) == len(table.columns) for row in table.rows), panel.id
            assert table.rows, panel.id


async def test_the_panel_that_is_chosen_is_written(tmp_path: Path) -> None:
    app = Dashboard(open_fixture(), Options(settings=at(tmp_path)))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        await pilot.press("8", "tab", "tab", "e")
        path = tmp_path / "20261122-143015-restart-stage-1-snr.csv"
        await until(pilot, lambda: any(path.name in text for text in said(app)))
        with path.open(newline="") as file:
            read = list(csv.DictReader(file))
        assert len(read) == 5 and float(read[-1]["snr_schedule_db"]) == pytest.approx(19.08, abs=0.01)


async def test_a_failure_is_told_and_nothing_ends(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    app = Dashboard(open_fixture(), Options(settings=at(tmp_path / "file")))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        await pilot.press("e", "ctrl+s")
        await until(pilot, lambda: sum("cannot be written" in text for text in said(app)) == 2)
        assert app.is_running


async def test_a_screenshot_shows_the_screen_and_fetches_nothing(tmp_path: Path) -> None:
    app = Dashboard(open_fixture(), Options(settings=at(tmp_path)))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: any("screen in" in text for text in said(app)))
        svg = (tmp_path / "ltxtui.svg").read_text()
        assert svg.startswith("<svg") and "restart" in svg
        fetched = re.findall(r"""(?:url\(|href=|src=|@import)\s*['"]?(\w+:)""", svg)
        assert not fetched and "@font-face" not in svg, "a picture loads nothing"
        assert [p.name for p in tmp_path.iterdir()] == ["ltxtui.svg"], "no other format, which would be drawn wrongly"


async def press(pilot: Pilot[None], *keys: str) -> None:
    await pilot.press(*keys)
    await pilot.pause()


async def test_the_copied_command_brings_the_screen_back() -> None:
    """Words copied from one dashboard, read by the command's own parser, open another on the same sight."""
    app = Dashboard(open_fixture(), Options(origin=("replay", "/runs/a b.zarr")))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        await press(pilot, "left_curly_bracket", "3", "u", "v", "comma", "comma", "left", "left", "left", "y")
        deck = app.deck
        copied = shlex.split(app.clipboard)
        assert copied[:3] == ["ltxtui", "replay", "/runs/a b.zarr"] and any("copied: ltxtui" in t for t in said(app))
        sight = deck.stage_index, deck.cursor, deck.playhead, deck.lanes, deck.axis.mode, app.screen.board.preset.key  # type: ignore[attr-defined]
    given = replay_command.make_context("replay", copied[2:]).params
    looking = {k: given[k] for k in ("preset", "at_step", "playhead", "stage", "stream", "item", "axis")}
    again = Dashboard(Archive(fixture_messages()), Options(opening=Opening(**looking)))
    async with again.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        await pilot.pause()
        deck = again.deck
        assert sight == (
            deck.stage_index, deck.cursor, deck.playhead, deck.lanes, deck.axis.mode, again.screen.board.preset.key,  # type: ignore[attr-defined]
        )  # fmt: skip


def test_the_editor_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR", "code --wait")
    monkeypatch.delenv("VISUAL", raising=False)
    assert export.editor() == ["code", "--wait"]
    monkeypatch.setenv("VISUAL", "vim")
    assert export.editor() == ["vim"]
    for name in ("VISUAL", "EDITOR"):
        os.environ.pop(name)
    assert export.editor() == ["vi"]
