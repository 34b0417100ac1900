"""URLs where a local path is required: refused in one line, with nothing created."""

from __future__ import annotations

from importlib.util import find_spec
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
    with pytest.raises(
        ValueError, match="use a local or mounted path; runs that have ended are copied by: ltxtui upload"
    ):
        locations.local_path("s3://b/runs", "runs_dir")


@pytest.mark.parametrize(
    "command",
    [
        ["record", "--model", "nano", "--runs-dir", "URL"],
        ["record", "--model", "nano", "--output", "URL"],
        ["record", "--model", "nano", "--image", "URL"],
        ["demo", "--runs-dir", "URL"],
        ["replay", "--runs-dir", "URL"],
        ["compare", "x", "y", "--runs-dir", "URL"],
        ["--runs-dir", "URL", "replay", "x"],
        ["runs", "--runs-dir", "URL", "check", "x"],
        ["report", "x", "--output", "URL"],
        ["export", "x", "--to", "csv", "--output", "URL"],
        ["pack", "x", "--output", "URL"],
        ["unpack", "x", "--output", "URL"],
        ["plan", "--config", "URL"],
        ["watch", "--socket", "URL"],
        ["control", "--socket", "URL", "stop"],
        ["comfy", "install", "URL"],
        ["sweep", "URL", "--model", "nano"],
        ["sweep", "URL", "--report"],
        ["sweep", "x", "--report", "--markdown", "URL"],
        ["sweep", "x", "--report", "--svg", "URL"],
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
    for command in (["replay"], ["demo"], []):
        done = CliRunner().invoke(cli, command)
        assert done.exit_code == 1 and "not the URL" in done.stderr and list(here.iterdir()) == []


@pytest.mark.parametrize("name", ["LTXTUI_CACHE", "LTXTUI_CONFIG", "LTXTUI_RUNTIME_DIR", "LTXTUI_STATE"])
def test_places_of_the_environment_are_local(here: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "s3://bucket/there")
    done = CliRunner().invoke(cli, ["runs"])
    assert done.exit_code == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and f"{name} must be a local path, not the URL" in done.stderr
    assert list(here.iterdir()) == []


def test_the_recorder_takes_no_url_from_the_environment(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LTXTUI_CACHE", "s3://bucket/there")
    assert locations.cache_folder() is None
    monkeypatch.setenv("LTXTUI_RUNTIME_DIR", "s3://bucket/there")
    with pytest.raises(locations.UnsafeLocation, match="LTXTUI_RUNTIME_DIR must be a local path"):
        locations.make_runtime_directory()
    assert list(here.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        ["runs", "--runs-dir", "URL"],
        ["runs", "check", "URL"],
        ["record", "--like", "URL"],
        ["record", "--model", "nano", "--upload", "URL"],
        ["compare", "URL", "x"],
        ["explain", "URL"],
        ["report", "URL"],
        ["export", "URL", "--to", "csv"],
        ["upload", "URL", "x"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("url", ["s3://bucket/runs/x.zarr.zip", "nowhere://bucket/runs/x.zarr.zip"])
def test_a_store_that_cannot_be_reached_is_told_in_one_line(here: Path, command: list[str], url: str) -> None:
    if url.startswith("s3") and find_spec("s3fs") is not None:
        pytest.skip("the package of the store is installed")
    done = CliRunner().invoke(cli, [url if part == "URL" else part for part in command])
    assert done.exit_code == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1 and list(here.iterdir()) == []
    if command[0] not in ("runs", "upload"):
        way_out = "pip install 'ltxtui[s3]'" if url.startswith("s3") else "nowhere:// is no store that is known"
        assert way_out in done.stderr


def test_watch_refuses_a_url(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ltxtui.cli import watch_replay

    monkeypatch.setattr(watch_replay, "need_terminal", lambda instead: None)
    for command, said in (
        (["watch", "s3://b/x"], "show one with: ltxtui replay"),
        (["watch", "--runs-dir", "s3://b"], "not the URL"),
    ):
        done = CliRunner().invoke(cli, command)
        assert done.exit_code == 1 and said in done.stderr
