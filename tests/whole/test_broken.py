"""NaN and Inf: told with their batch items and shares, and seen wherever a run is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from ltxtui.cli import cli
from ltxtui.home import columns
from ltxtui.reports.run_text import summary
from recorder.format.nonfinite import Broken, BrokenItems, broken_words, read_broken
from recorder.metrics.row_events import StreamWatch
from replay.library import listing
from replay.library.cache import ListingCache
from replay.model.run import Run
from replay.sources.open import load
from tests import recorded
from tests.ltxtui import fake

COLUMNS = {"nan_count": slice(0, 2), "inf_count": slice(2, 4)}


def told(rows: list[list[float]], size: int = 100) -> list[Any]:
    watch = StreamWatch(0, "video", 2, COLUMNS, size=size)
    return [event for step, row in enumerate(rows) for event in watch._health(step, np.array(row, np.float32))]


def test_an_event_names_the_item_and_its_share() -> None:
    (event,) = told([[0, 0, 0, 0], [0, 37, 0, 0], [0, 40, 0, 0]])
    assert event["payload"] == {"items": [1], "share": [0.37], "count": 37} and event["step"] == 1
    assert event["text"] == "video clip 2 of 2 (item 1): 37 % of the values are NaN from step 1 on"


def test_every_item_is_told_once_and_once_more_when_nothing_is_left() -> None:
    events = told([[0, 1, 0, 0], [3, 2, 1, 0], [4, 100, 0, 0], [100, 100, 0, 0], [100, 100, 0, 0]])
    assert [e["payload"]["items"] for e in events] == [[1], [0], [1], [0]]
    assert events[1]["payload"]["share"] == [0.04] and "NaN or Inf from step 1" in events[1]["text"]
    items = BrokenItems()
    for event in events:
        items.feed(event)
    assert items.found == (Broken(0, "video", 0, 1, 1.0), Broken(0, "video", 1, 0, 1.0))


@pytest.mark.parametrize(
    "payload", [{}, {"items": []}, {"items": "x"}, {"items": [-1, "y", None]}, {"items": [True]}, None, {"share": [1]}]
)
def test_older_and_odd_events_are_taken_for_what_they_are(payload: Any) -> None:
    (found,) = read_broken({"kind": "nan", "stage": 0, "stream": "video", "step": 3, "payload": payload})
    assert (found.stage, found.stream, found.step, found.item) == (0, "video", 3, None)
    assert broken_words([found]) == "NaN in video"
    odd = read_broken({"stage": 0, "stream": "v", "step": 1, "payload": {"items": [0, 1], "share": [9, "x"]}})
    assert broken_words(odd) == "NaN in v item 0, v item 1"


def archive(folder: Path) -> Path:
    path = recorded.archive(folder, "x", nan_at=2)
    file = path / "events" / "zarr.json"
    document = json.loads(file.read_text())
    for event in document["attributes"]["messages"]:
        if event["kind"] == "nan":
            event |= {"stream": "video", "payload": {"items": [0], "share": [0.25], "count": 9}}
    file.write_text(json.dumps(document))
    return path


def test_lists_and_json_and_headers_say_it(tmp_path: Path) -> None:
    path = archive(tmp_path)
    cache = ListingCache(tmp_path, tmp_path / "cache")
    (line,) = listing.list_runs(tmp_path, cache)
    cache.save()
    (again,) = listing.list_runs(tmp_path, ListingCache(tmp_path, tmp_path / "cache"))
    assert again == line and line.standing == "complete, NaN in video item 0 (25 %)"
    assert columns.status(line) == "NaN"
    found = json.loads(CliRunner().invoke(cli, ["runs", "--runs-dir", str(tmp_path), "--json"]).stdout)["runs"][0]
    assert found["nan"] == [{"stage": 0, "stream": "video", "step": 2, "item": 0, "share": 0.25}]
    assert "NaN in video item 0" in CliRunner().invoke(cli, ["runs", "--runs-dir", str(tmp_path)]).stdout
    assert "NaN in video item 0 (25 %)" in summary(load(path))


def test_a_live_run_says_it_in_its_header() -> None:
    from ltxtui.panels.header import outcome
    from ltxtui.viewmodel.deck import Deck
    from replay.sources.open import Liveness

    run = Run()
    for message in fake.messages(6, nan_at=2, end=None):
        run.feed(message)
    assert outcome(Deck(run, Liveness.LIVE)) == ("NaN", "alert")
