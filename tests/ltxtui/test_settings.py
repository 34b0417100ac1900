"""Settings: read, refused with their line, never fatal; and what the dashboard remembers by itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from ltxtui import actions, settings
from ltxtui.app import Dashboard, Options
from ltxtui.cli import cli
from ltxtui.plot.line_plot import Style
from ltxtui.screens.tour import TourScreen
from ltxtui.state import SavedState
from tests.ltxtui.driving import ROOMY, loaded, shown
from tests.ltxtui.fake import messages
from tests.ltxtui.sources import Archive


def test_a_whole_file_is_read() -> None:
    found, problems = settings.parse(
        'theme = "light"\ndrawing = "ascii"\npreset = 3\nexport_dir = "~/out"\ntour = false\nmouse = false\n'
        'alerts = false\n[keys]\ntheme = "T"\ncursor = ["K", "J"]\nexport = []\nhide = "X"\n'
    )
    assert not problems
    assert (found.theme, found.drawing, found.preset) == ("ltxtui-light", Style.ASCII, 3)
    assert found.export_dir == Path("~/out").expanduser()
    assert not found.tour and not found.mouse and not found.alerts
    assert found.keys == {"theme": ("T",), "cursor": ("K", "J"), "export": (), "hide": ("X",)}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ('theme = "dark"\ndrawing = "crayon"\n', 2, "not one of braille, block, ascii"),
        ("\n\npreset = 9\n", 3, "not a number from 1"),
        ("preset = true\n", 1, "not a number"),
        ('colour = "red"\n', 1, "is not a setting"),
        ("tour = 1\n", 1, "not true or false"),
        ('theme = "dark"\nkeys = 3\n', 2, "[keys]"),
        ('[keys]\n\nfly = "x"\n', 3, "is not an action"),
        ('[keys]\ntheme = "nokey"\n', 2, "is not a key"),
        ('[keys]\ncursor = "x"\n', 2, "needs 2 keys"),
        ('[keys]\ntheme = "Z"\ndrawing = "Z"\n', 3, "already given to 'theme'"),
        ('[keys]\ntheme = "x"\n', 2, "the key of 'delete' on the home screen"),
        ('[keys]\ncursor = ["h", "B"]\n', 2, "'h' is the key of 'hide' on the run screen; give hide another key"),
        ('[keys]\nhide = "Ctrl+P"\n', 2, "the key of 'palette'"),
        ('[keys]\nhide = "F1"\n', 2, "the key of 'help'"),
        ('[keys]\n\nhide = "shift+g"\n', 3, "'G' is the key of 'newest'"),
        ('[keys]\nback = "q"\nquit = "q"\n', 3, "'q' is already given to 'back'"),
        ('[keys]\ntheme = ["x", "x"]\n', 2, "twice"),
        ("[keys]\ntheme = 3\n", 2, "neither a key"),
        ('theme = "dark"\npreset = = 3\n', 2, "not valid TOML"),
        ('theme = "dark', 1, "not valid TOML"),
    ],
)
def test_a_mistake_is_told_with_its_line_and_the_rest_holds(text: str, line: int, said: str) -> None:
    found, problems = settings.parse(text)
    assert [p.line for p in problems] == [line] and said in problems[0].text
    assert found.preset == 1 and found.tour
    if text.startswith('theme = "dark"\nd'):
        assert found.theme == "ltxtui-dark"


def test_the_same_key_on_different_screens_is_no_clash() -> None:
    _, problems = settings.parse('[keys]\nsort = "Z"\nspeed = ["Z", "X"]\n')
    # `sort` is on the home screen and has two keys itself, `speed` on the run screen.
    assert [p.text for p in problems] == ["keys.sort: needs 2 keys, in the order of help, or [] for none; it has 1"]
    _, problems = settings.parse('[keys]\nfilter = "Z"\nreset = "Z"\n')
    assert not problems
    assert not settings.parse('[keys]\nreset = "/"\n')[1], "which is a key of the home screen"


def test_keys_change_places_when_both_are_set() -> None:
    found, problems = settings.parse('[keys]\ntheme = "d"\ndrawing = "t"\nhide = []\nexport = "h"\n')
    assert not problems and found.keys["export"] == ("h",)
    # What is refused keeps its own keys, with which what was given to the other may clash in turn.
    found, problems = settings.parse('[keys]\ndrawing = "t"\ntheme = "q"\n')
    assert [p.line for p in problems] == [2, 3] and not found.keys


@pytest.mark.parametrize("screen", ["home", "run", "compare"])
@pytest.mark.parametrize("action", actions.ACTIONS, ids=lambda a: a.id)
def test_keys_that_are_replaced_do_nothing_any_more(action: actions.Action[object], screen: str) -> None:
    if screen not in action.screens:
        return
    free = [key for key in "BCDEFIJKMNOPQRTVWXZ" if key not in dict(actions.bindings(screen))]
    new = free[: len(action.keys)]
    written = ", ".join(f'"{key}"' for key in new)
    found, problems = settings.parse(f"[keys]\n{action.id} = [{written}]\n")
    assert not problems
    bound = actions.bindings(screen, found.keys)
    assert [key for key, does in bound if does.startswith(f"do('{action.id}'")] == new
    gone = {*action.keys, *action.also} | ({"q"} if action.id == "quit" else set())
    assert not gone & {key for key, _ in bound}


async def test_quit_replaces_q(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text('[keys]\nquit = "Q"\n')
    monkeypatch.setenv("LTXTUI_CONFIG", str(path))
    app = Dashboard(Archive(messages(5)))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        assert "Q quit" in shown(pilot, "#footer") and " q " not in shown(pilot, "#footer")
        await pilot.press("q", "ctrl+q", "ctrl+c")
        assert app.is_running and app.return_code is None
        await pilot.press("Q")
    assert app.return_code == 0


def test_what_is_printed_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('theme = "safe"\nexport_dir = "a\\\\b\\"c"\n[keys]\ncursor = ["K", "J"]\nquit = "Q"\n')
    first = settings.load(path)
    path.write_text("\n".join(settings.as_lines(first)))
    assert settings.load(path).settings == first.settings and not first.problems
    assert settings.parse(settings.EXAMPLE) == (settings.Settings(), [])
    uncommented = "\n".join(
        line[2:].partition("  ")[0] if line.startswith("# ") and " = " in line else line
        for line in settings.EXAMPLE.splitlines()
    )
    example, problems = settings.parse(uncommented)
    assert not problems, "what the example suggests is right"
    assert set(example.keys) == {"theme", "cursor", "hide", "loop", "quit", "back"} and example.drawing is not None


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert settings.load(tmp_path / "none.toml") == settings.Loaded(settings.Settings(), tmp_path / "none.toml")
    (tmp_path / "folder.toml").mkdir()
    assert "cannot be read" in settings.load(tmp_path / "folder.toml").notice
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in settings.load(tmp_path / "bytes.toml").notice


async def test_a_bad_file_falls_back_with_a_notice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('drawing = "block"\n[keys]\ntheme = "[bold]"\n')
    monkeypatch.setenv("LTXTUI_CONFIG", str(path))
    app = Dashboard(Archive(messages(5)))
    async with app.run_test(size=ROOMY, notifications=True) as pilot:
        await loaded(pilot)
        assert app.drawing is Style.BLOCK
        said = [n.message for n in app._notifications]
        assert len(said) == 1 and "line 3" in said[0] and "[bold]" in said[0]
        await pilot.press("t")
        assert app.theme != "ltxtui-dark"


async def test_the_users_keys_work_and_are_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text('preset = 2\n[keys]\ncursor = ["h", "j"]\nhide = []\nback = "Q"\n')
    monkeypatch.setenv("LTXTUI_CONFIG", str(path))
    app = Dashboard(Archive(messages(20)))
    async with app.run_test(size=ROOMY) as pilot:
        await loaded(pilot)
        assert "Drift" in shown(pilot, "#drift") and "hj step" in shown(pilot, "#footer")
        assert "Q quit" in shown(pilot, "#footer")
        await pilot.press("h", "h", "j", "left", "q")
        assert app.deck.cursor == 18 and app.is_running
        await pilot.press("Q")
    assert app.return_code == 0


def test_state_is_kept_and_harmless_when_broken(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.json"
    state = SavedState(path)
    assert not state.tour_seen and state.arrangement("wide-low", "1") is None
    state.set_tour_seen(True)
    state.set_arrangement("wide-low", "1", ("snr", "sigma"))
    again = SavedState(path)
    assert again.tour_seen and again.arrangement("wide-low", "1") == ("snr", "sigma")
    assert again.arrangement("wide-low", "2") is None
    again.set_arrangement("wide-low", "1", None)
    assert SavedState(path).arrangement("wide-low", "1") is None
    for broken in ("", "[]", '{"panels": 3, "tour_seen": "yes"}', '{"panels": {"wide-low 1": [1]}}'):
        path.write_text(broken)
        assert not SavedState(path).tour_seen and SavedState(path).arrangement("wide-low", "1") is None
    unwritable = SavedState(path / "below-a-file" / "state.json")
    unwritable.set_tour_seen(True)
    assert unwritable.tour_seen


async def test_the_tour_is_shown_once() -> None:
    for start, expected in ((1, True), (2, False)):
        app = Dashboard(Archive(messages(5)), Options(first_start=True))
        async with app.run_test(size=(80, 24)) as pilot:
            await loaded(pilot)
            await pilot.pause()
            assert isinstance(app.screen, TourScreen) is expected, f"start {start}"
            if expected:
                await pilot.press("enter")
                assert not isinstance(app.screen, TourScreen)
            await pilot.press("f2")
            assert isinstance(app.screen, TourScreen)


def run_config(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, ["config", *arguments])
    return result.exit_code, result.output


def test_config_shows_checks_and_lists(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    monkeypatch.setenv("LTXTUI_CONFIG", str(path))
    code, said = run_config()
    assert code == 0 and "no file; defaults shown" in said and "preset = 1" in said
    assert run_config("--check")[0] == 0
    path.write_text('preset = 2\ntheme = "pink"\n')
    code, said = run_config("--check")
    assert code == 1 and f"{path}:2: theme" in said
    code, said = run_config()
    assert code == 0 and "preset = 2" in said and "line 2" in said
    path.write_text("preset = 2\n")
    assert run_config("--check") == (0, f"{path} is valid\n")
    code, said = run_config("--keys")
    assert code == 0 and "screenshot" in said and "Ctrl+S" in said
    assert run_config("--keys", "--check")[0] == 1


def test_config_edits_with_the_users_editor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "new" / "c.toml"
    monkeypatch.setenv("LTXTUI_CONFIG", str(path))
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", "sed -i s/^#.preset.*/preset=5/")
    assert run_config("--edit") == (0, f"{path} is valid\n")
    assert settings.load().settings.preset == 5 and "[keys]" in path.read_text()
    monkeypatch.setenv("EDITOR", "no-such-editor-anywhere")
    code, said = run_config("--edit")
    assert code == 1 and "cannot be started" in said
    monkeypatch.setenv("EDITOR", "false")
    assert "ended with status 1" in run_config("--edit")[1]


def test_config_brings_the_tour_back() -> None:
    SavedState().set_tour_seen(True)
    assert run_config("--tour")[0] == 0 and not SavedState().tour_seen
    os.environ["LTXTUI_STATE"] = str(Path(os.environ["LTXTUI_STATE"]) / "x" / "state.json")
    assert SavedState().tour_seen is False
