"""URLs where a local path is required: refused in one line, with nothing created."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from ltxtui.cli import cli
from recorder import record
from recorder.format import locations

URLS = [
    "s3://bucket/runs",
    "gs://b/r",
    "https://host/runs",
    "file:///tmp/runs",
    "memory://x",
    "S3://b",
    "zip::s3://b/r",
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("url", URLS)
def test_record_refuses_a_url_and_makes_nothing(here: Path, url: str) -> None:
    for given in (url, Path(url)):  # a path keeps one of the slashes
        with pytest.raises(ValueError, match="runs_dir must be a local path, not the URL"), record(runs_dir=given):
            raise AssertionError("the block must not run")
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("path", ["runs", "/data/runs", "a:b", "C:/runs", "./x", "~/runs", "a b://c", "", "x/s3://y"])
def test_a_path_is_none(path: str) -> None:
    assert locations.local_path(path, "it") == Path(path)


def test_the_way_out_fits_the_scheme() -> None:
    with pytest.raises(ValueError, match="leave out file://"):
        locations.local_path("file:///runs", "runs_dir")
    with pytest.raises(ValueError, match="copy it later"):
        locations.local_path("s3://b/runs", "runs_dir")


@pytest.mark.parametrize(
    "command",
    [
        ["runs", "--runs-dir", "URL"],
        ["runs", "check", "URL"],
        ["runs", "repair", "URL"],
        ["record", "--model", "nano", "--runs-dir", "URL"],
        ["record", "--like", "URL"],
        ["demo", "--runs-dir", "URL"],
        ["replay", "URL"],
        ["replay", "--runs-dir", "URL"],
        ["compare", "URL", "x"],
        ["compare", "x", "y", "--runs-dir", "URL"],
        ["sweep", "URL", "--model", "nano"],
        ["sweep", "URL", "--report"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("url", ["s3://bucket/runs", "file:///runs/x.zarr"])
def test_commands_refuse_a_url_in_one_line(here: Path, command: list[str], url: str) -> None:
    done = CliRunner().invoke(cli, [url if part == "URL" else part for part in command])
    assert done.exit_code == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and "must be a local path, not the URL" in done.stderr
    assert url.partition(":")[0] in done.stderr and list(here.iterdir()) == []


def test_the_environment_is_read_as_the_option_is(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTXTUI_RUNS_DIR", "s3://bucket/runs")
    for command in (["runs"], ["demo"], []):
        done = CliRunner().invoke(cli, command)
        assert done.exit_code == 1 and "not the URL" in done.stderr and list(here.iterdir()) == []


def test_watch_refuses_a_url(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ltxtui.cli import watch_replay

    monkeypatch.setattr(watch_replay, "need_terminal", lambda instead: None)
    for command in (["watch", "s3://b/x.journal"], ["watch", "--runs-dir", "s3://b"]):
        done = CliRunner().invoke(cli, command)
        assert done.exit_code == 1 and "not the URL" in done.stderr
