"""What a new user reads: while a model loads, when the run begins, when it has ended; and long output in pages."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner

from ltxtui.cli import cli, common, watch_replay
from recorder import generate as generation
from recorder.generate import Outcome
from recorder.journal import loading
from recorder.journal.loading import Loading, is_loading
from replay.sources.open import AwaitedSource
from tests import recorded

NAME = "20261122-143015-red-disc"


def test_what_is_being_loaded_is_known_until_it_is_over_or_its_process_ends(runtime_dir: Path) -> None:
    assert not is_loading()
    with Loading() as announced:
        assert is_loading() and is_loading()
        announced.over()
        assert not is_loading() and not list(runtime_dir.glob(f"*{loading.SUFFIX}"))
    left = runtime_dir / f"1{loading.SUFFIX}"
    left.touch()
    assert not is_loading() and not left.exists(), "a killed program's"


def test_watch_waits_for_a_run_that_loads(runtime_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "has_terminal", lambda: True)
    with pytest.raises(click.ClickException, match="no live run"):
        watch_replay._live_source(None, None, False, tmp_path)
    with Loading():
        for name in (None, "disc"):
            source = watch_replay._live_source(name, None, False, tmp_path)
            assert isinstance(source, AwaitedSource) and "is being loaded" in str(source.note)
            assert source.poll() == []
            source.close()
        watch_replay._live_source(None, None, False, tmp_path, headless=True).close()
        with pytest.raises(click.ClickException, match="no live run with 'disc'"):
            watch_replay._live_source("disc", None, False, tmp_path, headless=True)


@pytest.mark.parametrize(("suffix", "kept"), [(".zarr", True), (".zarr.zip", True), (".zarr", False)])
def test_record_says_how_to_watch_and_what_to_do_next(
    suffix: str, kept: bool, runtime_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[bool] = []

    def generate(request: Any, progress: Any, begun: Any) -> Outcome:
        said.append(is_loading())
        begun(SimpleNamespace(name=NAME))
        said.append(is_loading())
        archive = request.runs_dir / f"{NAME}{suffix}" if kept else None
        return Outcome(archive, "complete", "complete", 3, 0, 1.0, None, None)

    monkeypatch.setattr(generation, "generate", generate)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli, ["record", "--model", "nano"])
    lines = done.stderr.splitlines()
    assert said == [True, False] and lines[0] == "loading nano" and lines[1] == f"recording {NAME}"
    assert lines[2].endswith(f" ltxtui watch {NAME}") and " ltxtui watch ssh://" in lines[3]
    assert lines[3].endswith(f"/{NAME}")
    if not kept:
        assert done.exit_code == 1 and len(lines) == 5
        return
    assert done.exit_code == 0 and done.stdout == f"runs/{NAME}{suffix}\n"
    assert lines[4].endswith(f" ltxtui replay {NAME}") and lines[5].endswith(f" ltxtui explain {NAME}")
    packs = [f"ltxtui pack {NAME}"] if suffix == ".zarr" else []
    assert [line.split("  ")[-1].strip() for line in lines[6:]] == packs
    elsewhere = CliRunner().invoke(cli, ["record", "--model", "nano", "--runs-dir", "x y"])
    assert f"ltxtui replay 'x y/{NAME}{suffix}'" in elsewhere.stderr
    as_json = CliRunner().invoke(cli, ["record", "--model", "nano", "--json"])
    assert as_json.stdout.startswith("{") and "replay" not in as_json.stderr and f"watch {NAME}" in as_json.stderr


def test_long_output_is_paged_on_a_terminal_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paged: list[str] = []
    monkeypatch.setattr(click, "echo_via_pager", lambda text, color=None: paged.append(text))
    for name in ("a", "b"):
        recorded.archive(tmp_path, name)
    words = ["compare", "a", "b", "--runs-dir", str(tmp_path)]
    plain = CliRunner().invoke(cli, words).output
    assert not paged and plain.count("\n") > 40
    monkeypatch.setattr(common, "is_terminal", lambda stream: True)
    monkeypatch.setenv("NO_COLOR", "1")
    assert CliRunner().invoke(cli, words).output == "" and paged == [plain]
    assert CliRunner().invoke(cli, [*words, "--no-pager"]).output == plain and len(paged) == 1
    monkeypatch.setenv("LINES", "1000")
    assert CliRunner().invoke(cli, words).output == plain and len(paged) == 1, "it fits"
