"""What a shell completes: run names, tags, models and kinds of shocks, lightly, and nothing that could harm."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from ltxtui.cli import cli, completion
from recorder.shocks.spec import KINDS
from replay.library.edit import set_tags
from tests import recorded

NAMES = ("20261122-143015-red-disc", "20261123-090000-smooth", "20261124-090000-smooth-again")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "R"
    folder.mkdir()
    for name in NAMES:
        recorded.archive(folder, name)
    monkeypatch.setenv("LTXTUI_RUNS_DIR", str(folder))
    return folder


def offered(*typed: str) -> list[str]:
    """What is offered for the last word, as click's scripts for every shell ask for it."""
    found = ShellComplete(cli, {}, "ltxtui", "_LTXTUI_COMPLETE").get_completions(list(typed[:-1]), typed[-1])
    return [item.value if item.type == "plain" else f"<{item.type}>" for item in found]


@pytest.mark.parametrize(
    "command",
    [("replay",), ("compare",), ("compare", NAMES[0]), ("runs", "check"), ("runs", "repair"), ("record", "--like")],
)
def test_names_of_runs(command: tuple[str, ...], runs: Path) -> None:
    assert offered(*command, "") == sorted(NAMES, reverse=True)
    assert offered(*command, "20261122") == [NAMES[0]]
    assert offered(*command, "red") == ["red-disc"]
    assert offered(*command, "smooth") == ["smooth-again"], "`smooth` alone means two runs"
    assert offered(*command, "nothing/like") == ["<file>"]


def test_runs_of_another_folder(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "20260101-000000-elsewhere.journal").touch()
    for before in (["replay", "--runs-dir", str(other)], ["--runs-dir", str(other), "replay"]):
        assert offered(*before, "2026") == ["20260101-000000-elsewhere"]
    assert offered("runs", "--runs-dir", str(other), "check", "els") == ["elsewhere"]
    monkeypatch.delenv("LTXTUI_RUNS_DIR")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").symlink_to(other)
    assert offered("replay", "els") == ["elsewhere"]


def test_live_runs(runs: Path, runtime_dir: Path) -> None:
    assert offered("watch", "") == ["<file>"]
    (runtime_dir / "20261125-100000-going.sock").touch()
    assert offered("watch", "") == ["20261125-100000-going"] and offered("watch", "go") == ["going"]
    assert offered("control", "") == ["shock", "stop", "snapshot", "20261125-100000-going"]
    assert offered("control", "sn") == ["snapshot"]
    assert offered("control", "going", "st") == ["stop"]
    assert offered("control", "going", "shock", "res") == offered("control", "shock", "res") == ["restart"]
    assert offered("control", "stop", "") == []


def test_tags(runs: Path) -> None:
    assert offered("runs", "--tag", "") == []
    set_tags(runs / f"{NAMES[0]}.zarr", ["keep", "fox"])
    set_tags(runs / f"{NAMES[1]}.zarr", ["keep"])
    assert offered("runs", "--tag", "") == ["fox", "keep"] and offered("runs", "--tag", "k") == ["keep"]


def test_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    for name in ("models--someone--My-LTX-2.3-tuned", "models--someone--other", "models--bad--LTX $(reboot)"):
        (tmp_path / name).mkdir()
    for command in ("record", "sweep", "plan"):
        assert offered(command, "--model", "") == [*completion.MODELS, "someone/My-LTX-2.3-tuned"]
        assert offered(command, "--model", "na") == ["nano"]
        assert offered(command, "--model", "./mod") == ["<dir>"]


@pytest.mark.parametrize("command", ["record", "plan", "sweep"])
def test_kinds_of_shocks(command: str) -> None:
    assert offered(command, "--shock", "") == [*KINDS, "ancestral", "spikes"]
    assert offered(command, "--shock", "re") == ["renoise", "restart"]
    assert offered(command, "--shock", "restart:") == []


def test_every_name_in_the_table_is_that_of_a_parameter() -> None:
    found = {p.name for c in cli.commands.values() for d in (c, *getattr(c, "commands", {}).values()) for p in d.params}
    assert found >= completion.VALUES.keys() | {"run"}
    for name, own in completion.OF_COMMAND.items():
        assert {p.name for p in cli.commands[name].params} >= own.keys()


def test_names_that_a_shell_would_run_are_not_offered(runs: Path) -> None:
    for name in ("20261125-100000-$(reboot)", "a b", "-rf", "\x1b[2J", "`id`"):
        (runs / f"{name}.journal").touch()
    (runs / f"{NAMES[0]}.zarr" / "zarr.json").write_text(
        '{"attributes": {"ltxtui.tags": ["$(reboot)", "a b", "fine"]}}'
    )
    assert offered("replay", "") == sorted(NAMES, reverse=True)
    assert offered("runs", "--tag", "") == ["fine"]


def asked(words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """As the script for bash asks."""
    own = {"_LTXTUI_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ltxtui"],
        env={**os.environ, **own, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_shell_gets_names_and_no_heavy_import(runs: Path) -> None:
    done = asked("ltxtui replay red")
    assert done.stdout == "plain,red-disc\n", done.stderr
    loaded = set(re.findall(r"\| +([\w.]+)$", done.stderr, re.M))
    assert not loaded & {"torch", "diffusers", "transformers", "zarr", "textual", "plotext"}


def test_what_fails_is_not_written_over_the_line_that_is_typed(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(completion, "_runs_dir", fail)
    assert offered("replay", "") == [] and offered("runs", "--tag", "") == []
    for words, more in (("ltxtui replay x", {"LTXTUI_RUNS_DIR": "s3://bucket/runs"}), ("ltxtui nonsense x", {})):
        done = asked(words, **more)
        said = [line for line in done.stderr.splitlines() if not line.startswith("import time:")]
        assert said == [] and done.stdout.strip() in ("", "file,x")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_readme_says_how_for_each_shell(shell: str) -> None:
    assert f"_LTXTUI_COMPLETE={shell}_source ltxtui" in (Path(__file__).parents[2] / "README.md").read_text()
