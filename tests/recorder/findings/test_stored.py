"""What an archive keeps of its findings, and that it is the same as what every reader finds."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recorder.archive.rebuild import rebuild
from recorder.archive.writer import ArchiveWriter
from recorder.findings import document
from recorder.findings.finding import Finding, Verdict
from recorder.findings.follow import Follower
from recorder.findings.rules import VERSION
from recorder.format import locations, stored_findings
from recorder.format.framing import encode
from recorder.format.protocol import Message
from recorder.journal.journal import Journal
from replay.findings import RunFindings
from replay.integrity.repair import repair
from replay.library.listing import describe_run
from replay.library.verdicts import verdict_of_run
from replay.model.run import Run
from replay.model.stored_findings import read
from replay.sources.open import load
from tests.recorded import archive, whole


def faulty() -> list[Message]:
    """A run of two streams with NaN from step 3 on."""
    return whole("run", shocks=0, nan_at=3)


def with_gaps() -> list[Message]:
    """A right run, some of whose steps have no row: other ones in video than in audio."""
    gaps = {("video", 3), ("video", 4), ("audio", 2), ("audio", 3)}
    return [m for m in whole("run", shocks=0) if m["t"] != "step" or (m["stream"], m["step"]) not in gaps]


def written(folder: Path, messages: list[Message]) -> Path:
    path = folder / "run.zarr"
    writer = ArchiveWriter(path)
    for message in messages:
        writer.feed(message)
    return path


def attributes(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "zarr.json").read_text(encoding="utf-8"))["attributes"]
    return found


def live(messages: list[Message], every: int) -> list[Finding]:
    """As a viewer has it that asks after every few messages."""
    run = Run()
    examined = RunFindings(run)
    for number, message in enumerate(messages):
        run.feed(message)
        if number % every == 0:
            examined.update()
    return examined.update()


@pytest.mark.parametrize("made", [faulty, with_gaps])
def test_all_readers_find_the_same_as_the_recorder(made: Callable[[], list[Message]], tmp_path: Path) -> None:
    messages = made()
    path = written(tmp_path, messages)
    kept = read(attributes(path))
    assert kept is not None and kept.version == VERSION and kept.findings
    found = RunFindings(load(path)).update()
    assert list(kept.findings) == found and kept.verdict == RunFindings(load(path)).verdict
    follower = Follower()
    for message in messages:
        follower.feed(message)
    assert follower.findings() == found == live(messages, 1) == live(messages, 7)
    assert describe_run(path).verdict == kept.verdict == verdict_of_run(describe_run(path))


def test_rows_that_leave_too_large_a_gap_are_refused() -> None:
    follower = Follower()
    for message in with_gaps():
        if message["t"] == "step":
            message = {**message, "step": 1 << 40}
            with pytest.raises(ValueError, match="rows are missing"):
                follower.feed(message)
            return
        follower.feed(message)


def test_a_journal_gives_the_same(tmp_path: Path) -> None:
    messages = faulty()
    path = tmp_path / "run.zarr"
    journal = Journal(locations.journal_of(path))
    for message in messages:
        journal.append(encode(message))
    found = RunFindings(load(path)).update()
    assert found == RunFindings(load(written(tmp_path / "other", messages))).update()
    assert describe_run(path).verdict == RunFindings(load(path)).verdict
    rebuild(journal, path)
    kept = read(attributes(path))
    assert kept is not None and list(kept.findings) == found
    journal.release(remove=False)
    journal.close()


def test_a_repair_writes_them_too(tmp_path: Path) -> None:
    path = archive(tmp_path, "20261122-143015-x")
    document = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
    for key in (stored_findings.ATTRIBUTE, "ended", "status", "error"):
        del document["attributes"][key]
    (path / "zarr.json").write_text(json.dumps(document), encoding="utf-8")
    repair(path)
    kept = read(attributes(path))
    assert kept is not None and "run-interrupted" in [f.id for f in kept.findings]


def test_an_archive_without_them_is_examined_where_it_is_asked_for(tmp_path: Path) -> None:
    path = written(tmp_path, faulty())
    known = describe_run(path).verdict
    document = json.loads((path / "zarr.json").read_text(encoding="utf-8"))
    for version in (VERSION - 1, None):
        if version is None:
            del document["attributes"][stored_findings.ATTRIBUTE]
        else:
            document["attributes"][stored_findings.ATTRIBUTE]["version"] = version
        (path / "zarr.json").write_text(json.dumps(document), encoding="utf-8")
        line = describe_run(path)
        assert line.verdict is None and verdict_of_run(line) == known


def test_rules_that_fail_cost_the_archive_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no(self: Follower, message: Message) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(document.Follower, "feed", no)
    with caplog.at_level(logging.WARNING):
        path = written(tmp_path, whole("run"))
    assert stored_findings.ATTRIBUTE not in attributes(path) and attributes(path)["status"] == "complete"
    assert sum("not examined" in r.message for r in caplog.records) == 1


GOOD = document.document(
    [Finding("a", "error", "t", 0, "video", 1, 2, (3, 4), {"value": 1.5, "other": None}, "try", "s")],
    Verdict("error", "s"),
)


def changed(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(GOOD))
    made["findings"][0] |= changes
    return made


def test_a_document_is_read_back() -> None:
    found = read({stored_findings.ATTRIBUTE: json.loads(json.dumps(GOOD))})
    assert found is not None and document.document(found.findings, found.verdict) == GOOD


@pytest.mark.parametrize(
    "stored",
    [
        None, 3, [], {}, {"version": "1"}, {**GOOD, "version": -1}, {**GOOD, "verdict": None},
        {**GOOD, "verdict": {"severity": "fine", "text": ""}}, {**GOOD, "verdict": {"severity": "ok", "text": 3}},
        {**GOOD, "findings": None}, {**GOOD, "findings": [3]}, {**GOOD, "findings": GOOD["findings"] * 300},
        changed(severity="bad"), changed(step=-1), changed(step=1.5), changed(clip=True), changed(stage="0"),
        changed(stream="../x"), changed(frames=[1]), changed(frames=[1, None]), changed(text=None),
        changed(evidence=[]), changed(evidence={"a": "b"}), changed(evidence={str(n): 1.0 for n in range(99)}),
        changed(id=7), changed(evidence={"a": 10**400}),
    ],
)  # fmt: skip
def test_what_is_not_as_the_format_says_counts_as_none(stored: Any) -> None:
    assert read({stored_findings.ATTRIBUTE: stored}) is None


def test_texts_are_cut() -> None:
    long = document.document([Finding("a", "note", "x" * 9999, advice="y" * 9999, short="z" * 999)] * 999, Verdict())
    assert len(long["findings"]) == stored_findings.MAX_FINDINGS
    assert len(long["findings"][0]["text"]) <= stored_findings.MAX_TEXT + 1
    assert read({stored_findings.ATTRIBUTE: long}) is not None
