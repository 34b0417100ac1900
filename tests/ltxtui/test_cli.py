"""The command line as a user types it: real processes for commands, and errors of one line with a remedy."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from ltxtui import cli as cli_module
from ltxtui.cli import cli
from tests import recorded


def ltxtui(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "ltxtui", *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=120,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
    )


def problem(*arguments: str) -> str:
    """The one line that a wrong call prints."""
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1, result.output
    lines = result.stderr.strip().splitlines()
    said = [line for line in lines if not line.startswith("loading ")]
    assert len(said) == 1 and said[0].startswith("ltxtui: "), result.stderr
    return said[0]


SMALL = ["--height", "128", "--width", "128", "--frames", "9", "--guidance-scale", "1"]


@pytest.mark.slow
def test_record_with_a_video_then_list(tmp_path: Path) -> None:
    """One start of torch for everything that a finished command must have done."""
    runs, clip = tmp_path / "R", tmp_path / "clip.mp4"
    options = ["--model", "nano", "--steps", "20", "--seed", "0", *SMALL, "--output", str(clip)]
    done = ltxtui("record", *options, "--runs-dir", str(runs), "--json", LC_ALL="C")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    archive = Path(said["archive"])
    assert archive.parent == runs and archive.is_dir() and said["status"] == "complete"
    assert said["output"] == str(clip) and clip.stat().st_size > 1000
    assert "step 20/20" in done.stderr and done.stderr.isascii()
    listed = json.loads(ltxtui("runs", "--runs-dir", str(runs), "--json").stdout)["runs"]
    assert [(r["name"], r["steps"], r["status"], r["path"]) for r in listed] == [
        (archive.stem, 20, "complete", str(archive))
    ]
    table = CliRunner().invoke(cli, ["runs", "--runs-dir", str(runs)]).output
    assert archive.stem in table and "a red ball moving left" in table


@pytest.mark.slow
def test_demo_without_a_terminal_prints_progress_and_curves(tmp_path: Path, runtime_dir: Path) -> None:
    done = ltxtui("demo", "--runs-dir", str(tmp_path / "R"), "--steps", "3", LC_ALL="C.UTF-8")
    assert done.returncode == 0, done.stderr
    assert "step   3/3" in done.stdout and "complete, 3 steps" in done.stdout
    assert "σ" in done.stdout and "SNR measured dB" in done.stdout
    assert any("\u2801" <= c <= "\u28ff" for c in done.stdout), "curves are drawn in braille"
    assert list(runtime_dir.iterdir()) == [], "no socket is left"
    (archive,) = (tmp_path / "R").glob("*.zarr")
    assert f"ltxtui replay {archive}" in done.stderr


@pytest.mark.parametrize(
    "command", ["", "demo", "plan", "record", "watch", "replay", "runs", "compare", "sweep", "control"]
)
def test_help_teaches_by_example(command: str) -> None:
    result = CliRunner().invoke(cli, [command, "--help"] if command else ["--help"])
    assert result.exit_code == 0
    assert "ltxtui demo" in result.output if not command else f"ltxtui {command}" in result.output
    assert "Examples:" in result.output or not command


def test_version() -> None:
    assert CliRunner().invoke(cli, ["--version"]).output.startswith("ltxtui, version ")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--steps", "0"], "--steps must be at least 1"),
        (["--frames", "64"], r"8n\+1.*nearest is 65"),
        (["--height", "500"], "multiple of 32.*nearest is 512"),
        (["--width", "0"], "multiple of 32"),
        (["--model", "no/such-model"], "cannot be loaded.*nano"),
        (["--output", "/nowhere/at/all/clip.mp4"], "does not exist"),
    ],
)
def test_record_refuses_what_cannot_work(options: list[str], says: str, tmp_path: Path) -> None:
    import re

    line = problem("record", "--model", "nano", "--runs-dir", str(tmp_path), *options)
    assert re.search(says, line), line


def test_record_without_the_extra_says_which_command_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recorder.recipes import libraries

    monkeypatch.setattr(libraries, "find_spec", lambda name: None)
    assert "pip install 'ltxtui[ltx]'" in problem("record", "--model", "nano", "--runs-dir", str(tmp_path))
    assert "pip install 'ltxtui[ltx]'" in problem("demo", "--runs-dir", str(tmp_path))


def test_a_runs_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "--runs-dir" in problem("record", "--model", "nano", "--runs-dir", str(tmp_path / "file" / "x"))


def test_watch_and_replay_without_anything_to_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ltxtui.cli import watch_replay

    monkeypatch.setattr(watch_replay, "need_terminal", lambda instead: None)
    assert "ltxtui record" in problem("watch", "--runs-dir", str(tmp_path))
    assert "ltxtui watch --wait" in problem("watch", "nobody", "--runs-dir", str(tmp_path))
    assert "forwarded" in problem("watch", "--socket", str(tmp_path / "no.sock"))
    assert "ltxtui demo" in problem("replay", "--runs-dir", str(tmp_path))
    assert "does not exist" in problem("replay", str(tmp_path / "x.zarr"))
    (tmp_path / "x.zarr").mkdir()
    assert "not a recorded run" in problem("replay", str(tmp_path / "x.zarr"))


def test_the_dashboard_without_a_terminal_says_what_to_use_instead(tmp_path: Path) -> None:
    assert "no live run" in problem("watch"), "that there is nothing to show comes first"
    assert "needs a terminal" in problem("watch", "--wait")
    assert "ltxtui runs" in problem()


def test_runs_in_an_empty_folder(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["runs", "--runs-dir", str(tmp_path)])
    assert result.exit_code == 0 and "ltxtui demo" in result.stderr
    result = CliRunner().invoke(cli, ["runs", "--runs-dir", str(tmp_path), "--json"])
    assert json.loads(result.stdout) == {"runs": []}


def test_the_folder_of_runs_may_be_said_before_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("before", "behind", "environment"):
        recorded.archive(tmp_path / name, f"20261122-143015-{name}")

    def listed(*words: str) -> list[str]:
        done = CliRunner().invoke(cli, [str(word) for word in words])
        assert done.exit_code == 0, done.output
        return [run["name"].partition("-")[2].partition("-")[2] for run in json.loads(done.stdout)["runs"]]

    monkeypatch.setenv("LTXTUI_RUNS_DIR", str(tmp_path / "environment"))
    before, behind = ["--runs-dir", str(tmp_path / "before")], ["--runs-dir", str(tmp_path / "behind")]
    assert listed("runs", "--json") == ["environment"]
    assert listed(*before, "runs", "--json") == ["before"]
    assert listed(*before, "runs", *behind, "--json") == ["behind"]
    for command in (["runs", "check", "before"], ["compare", "before", "before", "--json"]):
        assert CliRunner().invoke(cli, [*before, *command]).exit_code == 0
    assert "on a terminal" in problem(*before, "watch", "before") or "terminal" in problem(*before, "replay", "before")
    opened: list[Path] = []
    monkeypatch.setattr(cli_module, "browse", lambda folder, hosts: opened.append(folder))
    assert CliRunner().invoke(cli, before).exit_code == 0 and opened == [tmp_path / "before"]
    assert "s3://" in problem("--runs-dir", "s3://bucket/runs", "runs")


@pytest.mark.parametrize("command", ["check", "repair"])
def test_options_of_runs_work_before_and_after_its_commands(tmp_path: Path, command: str) -> None:
    """`runs --runs-dir X --json check` is `runs check --runs-dir X --json`; the last folder given wins."""
    other = ["--runs-dir", str(tmp_path / "other")]
    here = ["--runs-dir", str(tmp_path / "here")]

    def found(*words: str) -> str:
        for name in ("here", "other"):
            (tmp_path / name).mkdir()
            lost = recorded.Recording(tmp_path / name, "20261122-143015-lost")
            lost.write(recorded.whole("20261122-143015-lost", steps=3 if name == "here" else 6))
            lost.die()
        done = CliRunner().invoke(cli, [*words])
        assert done.exit_code == 0, done.output
        said = json.loads(done.stdout)
        assert "rows" in (said["checked"][0] if command == "check" else said), said
        for folder in ("here", "other"):
            shutil.rmtree(tmp_path / folder)
        return str(said["checked"][0]["path"] if command == "check" else said["archive"])

    for words in (
        [*here, "runs", "--json", command, "lost"],
        ["runs", *here, "--json", command, "lost"],
        ["runs", command, "lost", *here, "--json"],
        [*other, "runs", *here, command, "--json", "lost"],
        [*other, "runs", *other, "--json", command, *here, "lost"],
    ):
        assert found(*words) == str(tmp_path / "here" / "20261122-143015-lost.zarr"), words


def test_a_part_of_a_name_is_enough_where_one_run_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As README has it: record with `--name smooth` and `--name spike`, then compare the two."""
    monkeypatch.setenv("LTXTUI_RUNS_DIR", str(tmp_path))
    for name in ("20261122-143015-smooth", "20261122-143100-spike"):
        recorded.archive(tmp_path, name)
    compared = CliRunner().invoke(cli, ["compare", "smooth", "spike", "--json"])
    assert [run["name"] for run in json.loads(compared.stdout)["runs"]] == [
        "20261122-143015-smooth",
        "20261122-143100-spike",
    ]
    assert "smooth.zarr: complete" in CliRunner().invoke(cli, ["runs", "check", "smooth"]).stdout
    unfinished = recorded.Recording(tmp_path, "20261122-143200-smooth")
    unfinished.write(recorded.whole("20261122-143200-smooth"))
    unfinished.die()
    for command in (["replay"], ["compare", "spike"], ["runs", "check"], ["runs", "repair"], ["record", "--like"]):
        line = problem(*command, "smooth")
        assert "2 runs match 'smooth': 20261122-143200-smooth, 20261122-143015-smooth; be more specific" in line
        assert "nothing does not exist" in problem(*command, "nothing") and "ltxtui runs --runs-dir" in line


EVIL = "\x1b]0;x\x07\x1b[31m\x9b2Jred\nltxtui: all is well"


def harmless(*arguments: str) -> str:
    """What a call prints, once it is sure that the terminal takes it for text and for no line of our own."""
    result = CliRunner().invoke(cli, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert all(c.isprintable() or c == "\n" for c in result.output), ascii(result.output)
    assert "\nltxtui: all is well" not in result.output
    return result.output


@pytest.mark.parametrize("attributes", [{"version": EVIL}, {"version": 1, "rows": {EVIL: EVIL}}])
@pytest.mark.parametrize(
    "command", [("replay",), ("compare", "{}"), ("runs", "repair"), ("runs", "check"), ("record", "--like")]
)
def test_what_an_archive_says_reaches_the_terminal_as_text(
    tmp_path: Path, command: tuple[str, ...], attributes: dict[str, object]
) -> None:
    path = tmp_path / "evil.zarr"
    path.mkdir()
    document = {"attributes": {"format": "ltxtui-run", **attributes}, "zarr_format": 3, "node_type": "group"}
    (path / "zarr.json").write_text(json.dumps(document))
    assert "red" in harmless(*(part.format(path) for part in command), str(path))


def test_labels_and_names_of_runs_reach_the_terminal_as_text(tmp_path: Path) -> None:
    archives = [recorded.archive(tmp_path, name) for name in ("a", "b")]
    for file in (f for path in archives for f in path.rglob("zarr.json")):
        file.write_text(file.read_text().replace('"label": "', f'"label": {json.dumps(EVIL)[:-1]}'))
    assert "red ltxtui: all is wellSNR measured" in harmless("compare", *map(str, archives))
    for n in range(2):
        recorded.archive(tmp_path, "both").rename(tmp_path / f"both{n}{EVIL}.zarr")
    assert "2 runs" in harmless("replay", "both", "--runs-dir", str(tmp_path))
