"""Verdicts in lists of runs: stored ones, those of the cache, and those that are made where they are asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from ltxtui.cli import cli
from ltxtui.home.query import parse, searched
from recorder.format import stored_findings
from replay.library import listing, verdicts
from replay.library.cache import ListingCache
from tests.recorded import Recording, archive, whole


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LTXTUI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "runs"


def forget(path: Path) -> None:
    """As an older version wrote it: without findings."""
    document = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
    del document["attributes"][stored_findings.ATTRIBUTE]
    (path / "zarr.json").write_text(json.dumps(document), encoding="utf-8")


def test_json_has_a_verdict_of_every_run(folder: Path) -> None:
    archive(folder, "20261122-143015-new")
    forget(archive(folder, "20261122-143016-old"))
    live = Recording(folder, "20261122-143017-live")
    live.write(whole("live")[:8])
    dead = Recording(folder, "20261122-143018-dead")
    dead.write(whole("dead")[:8])
    dead.die()
    done = CliRunner().invoke(cli, ["runs", "--json", "--runs-dir", str(folder)])
    runs = {run["name"][16:]: run["verdict"] for run in json.loads(done.stdout)["runs"]}
    live.die()
    assert set(runs) == {"new", "old", "live", "dead"}
    assert all(set(v) == {"severity", "text"} and v["text"] for v in runs.values())
    assert runs["new"] == runs["old"]


def test_a_verdict_that_was_made_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forget(archive(folder, "20261122-143016-old"))
    assert listing.cached_look(folder).runs[0].verdict is None
    made = listing.cached_look(folder, verdicts.with_verdicts).runs[0].verdict
    monkeypatch.setattr(verdicts, "load", lambda path: pytest.fail("it is in the cache"))
    assert made is not None and listing.cached_look(folder, verdicts.with_verdicts).runs[0].verdict == made
    assert len(ListingCache(folder)) == 1


def test_a_run_that_cannot_be_examined_has_a_verdict_that_says_so(folder: Path) -> None:
    path = archive(folder, "20261122-143016-old")
    forget(path)
    line = listing.describe_run(path)
    (path / "zarr.json").write_text("{}", encoding="utf-8")
    assert verdicts.verdict_of_run(line).severity == "error"


def test_the_filter_knows_verdicts(folder: Path) -> None:
    run = listing.describe_run(archive(folder, "20261122-143015-new", nan_at=3))
    assert run.verdict is not None
    shown = [
        all(test(run, searched(run)) for test in parse(q)) for q in ("verdict:nan", "verdict:error", "-verdict:nan")
    ]
    assert shown == [True, True, False]
