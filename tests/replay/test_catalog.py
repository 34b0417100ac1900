"""The list of runs: the same from archive, journal and cache; followed while it changes; bad files do no harm."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from recorder.format import locations, protocol
from recorder.format.framing import encode
from replay.archive.disk_storage import DiskStorage
from replay.library import archive_line, in_turn, listing
from replay.library.cache import ListingCache
from replay.library.folder_names import stamp_of
from replay.library.run_info import SIGMAS, thinned
from replay.library.watcher import RunWatcher
from replay.model.validation import NotARun
from replay.sources.open import load
from tests import recorded
from tests.ltxtui import fake
from tests.waiting import PATIENCE_SECONDS


def listed(shelf: RunWatcher) -> dict[str, listing.RunInfo]:
    """All runs by name, after as many passes as it takes."""
    shelf.update()
    while shelf.pending:
        shelf.update()
    return {run.name: run for run in shelf.runs}


def test_a_line_tells_what_the_run_was(tmp_path: Path) -> None:
    path = recorded.archive(tmp_path, "20261122-143015-red-disc", stages=2, shocks=3)
    run = listing.describe_run(path)
    assert (run.name, run.status, run.stages, run.steps, run.planned) == (path.stem, "complete", 2, 12, 12)
    assert (run.model, run.prompt, run.shocks) == ("nano", "a red ball moving left", 6)
    assert run.drift == pytest.approx(0.3), "the mean over the batch"
    assert len(run.sigmas) == 12 and run.sigmas[0] == run.sigmas[6] == 1.0, "both stages' schedules"
    assert run.seconds == pytest.approx(1.1) and run.bytes == archive_line.tree_size(path) > 10_000
    said = run.as_json()
    assert said["shocks"] == 6 and said["path"] == str(path) and json.dumps(said)


def test_archive_and_journal_say_the_same(tmp_path: Path) -> None:
    messages = recorded.whole("x", shocks=2)
    live = recorded.Recording(tmp_path, "x")
    live.write(messages)
    running = listing.describe_run(live.path)
    live.die()
    dead = listing.describe_run(live.path)
    locations.journal_of(live.path).unlink()
    done = listing.describe_run(recorded.archive(tmp_path, "x", shocks=2))
    same = ("name", "started", "stages", "steps", "planned", "prompt", "model", "shocks", "drift", "sigmas")
    assert all(getattr(running, k) == getattr(dead, k) == getattr(done, k) for k in same)
    assert (running.status, dead.status, done.status) == ("live", "complete", "complete")


def test_without_an_end_a_run_is_unfinished(tmp_path: Path) -> None:
    live = recorded.Recording(tmp_path, "x")
    live.write(fake.messages(5, end=None))
    live.die()
    assert listing.describe_run(live.path).status == "unfinished"


def test_a_plan_that_changed_in_the_run_is_the_one_that_is_shown(tmp_path: Path) -> None:
    shock = {**fake.event(0, 2, "shock", "restart"), "payload": {"sigmas": [1.0, 0.5, 0.9, 0.4]}}
    messages = [*fake.messages(3, end=None), shock]
    live = recorded.Recording(tmp_path, "x")
    live.write(messages)
    run = listing.describe_run(live.path)
    assert run.sigmas == (1.0, 0.5, 0.9, 0.4) and run.planned == 4 and run.shocks == 1
    live.die()


def test_thinning_keeps_what_stands_out() -> None:
    sigmas = [1 - i / 10_000 for i in range(10_000)]
    sigmas[5_001] = 0.99
    few = thinned(sigmas)
    assert len(few) == SIGMAS and few[0] == 1.0 and sum(s == 0.99 for s in few) >= 1
    assert few[32] == 0.99
    assert thinned([1.0, float("nan")]) == (1.0, 0.0) and thinned([]) == ()


@pytest.mark.parametrize(
    "attributes",
    [
        {"rows": None},
        {"rows": {"stage_x/video": 3}},
        {"rows": {"stage_0/video": "many"}},
        {"rows": {"stage_0/video": 10**30}},
        {"rows": {"stage_0/video": 2.5}},
        {"rows": {"stage_0/video": -1}},
        {"rows": {f"stage_{10**40}/video": 1}},
        {"time": "noon"},
        {"time": None},
        {"time": 1e300},
        {"time": float("nan")},
        {"time": 10**400},
        {"metadata": 5},
        {"format": "another"},
        {"version": 99},
        {"ended": "late"},
        {"ended": 1e300},
    ],
)
def test_damaged_attributes_are_passed_over(tmp_path: Path, attributes: dict[str, object]) -> None:
    good = recorded.archive(tmp_path, "good")
    bad = recorded.archive(tmp_path, "bad")
    document = json.loads((bad / "zarr.json").read_text())
    document["attributes"].update(attributes)
    (bad / "zarr.json").write_text(json.dumps(document))
    assert [r.path for r in listing.list_runs(tmp_path)] == [good]
    shelf = RunWatcher(tmp_path)
    assert list(listed(shelf)) == ["good"] and len(shelf.unreadable) == 1


@pytest.mark.parametrize("journal", [None, b"", b"torn"])
@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"attributes": {"sigmas": 5, "messages": [5, {}]}}'])
def test_what_can_be_opened_is_listed(tmp_path: Path, content: str | None, journal: bytes | None) -> None:
    """A power cut may leave any document of an archive empty, and its journal too."""
    path = recorded.archive(tmp_path, "run", stages=2, shocks=1)
    documents = [file for file in path.rglob("zarr.json") if len(file.relative_to(path).parts) <= 3]
    assert len(documents) > 4
    opened = 0
    for file in documents:
        kept = file.read_bytes()
        file.unlink()
        if content is not None:
            file.write_text(content)
        if journal is not None:
            locations.journal_of(path).write_bytes(journal)
        try:
            stages = load(path).stages
        except NotARun:
            assert file.parent == path
        else:
            opened += 1
            (line,) = listing.list_runs(tmp_path)
            assert (line.status, line.stages, line.steps) == ("complete", len(stages), 12)
        file.write_bytes(kept)
    assert opened == len(documents) - 1


def test_a_summary_that_misfits_is_left_out(tmp_path: Path) -> None:
    path = recorded.archive(tmp_path, "run")
    document = json.loads((path / "zarr.json").read_text())
    document["attributes"]["summary"] = []
    (path / "zarr.json").write_text(json.dumps(document))
    assert load(path).stages
    assert [one.status for one in listing.list_runs(tmp_path)] == ["complete"]


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"attributes": []}', '{"attributes": {', "[" * 100_000])
def test_files_that_are_no_documents_are_passed_over(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.zarr").mkdir()
    (tmp_path / "x.zarr" / "zarr.json").write_text(content)
    (tmp_path / "y.journal").write_bytes(b"no journal at all")
    (tmp_path / "z.zarr").write_text("a file")
    assert listing.list_runs(tmp_path) == []
    shelf = RunWatcher(tmp_path)
    assert listed(shelf) == {} and len(shelf.unreadable) == 2
    shelf.update()


def test_attributes_are_read_wherever_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "zarr.json"
    for text in (
        '{"attributes": {"a": 1}, "zarr_format": 3}',
        '{\n  "attributes":   {\n "a": 1}}',
        '{"zarr_format": 3, "attributes": {"a": 1}}',
        '{"x": {"attributes": {"a": 2}}, "attributes": {"a": 1}}',
        '{"attributes"  : {"a": 1}}',
    ):
        file.write_text(text)
        assert archive_line.attributes_of(DiskStorage(tmp_path)) == {"a": 1}, text


def test_the_cache_is_used_as_long_as_nothing_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = tmp_path / "runs"
    first, second = recorded.archive(runs, "a"), recorded.archive(runs, "b", shocks=0)
    cache = ListingCache(runs)
    fresh = listing.list_runs(runs, cache)
    cache.save()
    read: list[Path] = []
    describe = in_turn.described
    monkeypatch.setattr(in_turn, "described", lambda path, tails: read.append(path) or describe(path, tails))
    assert listing.list_runs(runs, ListingCache(runs)) == fresh and read == []
    os.utime(second / "zarr.json", (fake.START, fake.START))
    assert listing.list_runs(runs, ListingCache(runs)) == fresh and read == [second]
    assert ListingCache(runs).get(first, (0, 0)) is None


@pytest.mark.parametrize("damage", [b"", b"\xc1", b"\x93\x01\x02", b"\x81\xa7version\x05", None])
def test_a_damaged_cache_counts_as_none(tmp_path: Path, damage: bytes | None) -> None:
    path = recorded.archive(tmp_path / "runs", "a")
    file = tmp_path / "cache"
    cache = ListingCache(path.parent, file)
    listing.list_runs(path.parent, cache)
    cache.save()
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    again = ListingCache(path.parent, file)
    assert len(again) == 0
    assert [r.name for r in listing.list_runs(path.parent, again)] == ["a"]
    again.save()
    stamp = stamp_of(path)
    assert stamp is not None and ListingCache(path.parent, file).get(path, stamp) is not None


def test_a_cache_line_of_other_types_is_read_again(tmp_path: Path) -> None:
    import msgpack

    path = recorded.archive(tmp_path / "runs", "a")
    file = tmp_path / "cache"
    cache = ListingCache(path.parent, file)
    listing.list_runs(path.parent, cache)
    cache.close()
    stamp = stamp_of(path)
    assert stamp is not None and ListingCache(path.parent, file).get(path, stamp) is not None
    (kept,) = in_file(file, "SELECT line FROM lines")[0]
    line = msgpack.unpackb(kept)
    damaged = [[*line[:at], other, *line[at + 1 :]]
               for at, other in ((0, 7), (1, "noon"), (12, ["high"]), (12, b"odd"), (13, [5]), (8, None))]  # fmt: skip
    for content in (*map(msgpack.packb, damaged), b"", b"\xc1", kept[:-1], "text", None, 5):
        in_file(file, "UPDATE lines SET line = ?", content)
        assert ListingCache(path.parent, file).get(path, stamp) is None, content
    in_file(file, "UPDATE lines SET line = ?", kept)
    assert len(ListingCache(path.parent, file)) == 1
    in_file(file, "UPDATE folder SET path = ?", b"/elsewhere")
    assert len(ListingCache(path.parent, file)) == 0


def in_file(file: Path, query: str, *values: object) -> list[tuple[object, ...]]:
    """What a query of an SQLite file gives."""
    import sqlite3

    with contextlib.closing(sqlite3.connect(file)) as database, database:
        return database.execute(query, values).fetchall()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes", [{"step": 1 << 63, "count": 1 << 63}, {"step": "x"}, {"stage": [0]}, {"count": -(1 << 63)}, {"step": -1}]
)
def test_counts_of_a_journal_that_no_run_has_are_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    recorded.archive(tmp_path, "good")
    told = [{**m, **changes} if m["t"] == protocol.STEP else m for m in fake.messages(3, end=None)]
    (tmp_path / "bad.journal").write_bytes(b"".join(map(encode, told)))
    assert [r.name for r in listing.cached_runs(tmp_path)] == ["good"]
    shelf = RunWatcher(tmp_path)
    assert list(listed(shelf)) == ["good"]
    shelf.close()


def test_a_line_that_no_file_can_hold_is_read_again_the_next_time(tmp_path: Path) -> None:
    """The others are kept all the same."""
    runs = tmp_path / "runs"
    for name in ("a", "b"):
        recorded.archive(runs, name)
    cache = ListingCache(runs, tmp_path / "cache")
    first, second = listing.list_runs(runs)
    cache.put(replace(first, bytes=1 << 64), (1, 2))
    cache.put(replace(first, prompt=object()), (1, 2))  # type: ignore[arg-type]
    cache.put(second, (1 << 70, 2))
    cache.put(second, (3, 4))
    cache.save()
    again = ListingCache(runs, tmp_path / "cache")
    assert again.get(second.path, (3, 4)) == second and len(again) == 1


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    path = recorded.archive(tmp_path / "runs", "a")
    (tmp_path / "file").write_text("")
    cache = ListingCache(path.parent, tmp_path / "file" / "cache")
    assert len(listing.list_runs(path.parent, cache)) == 1
    cache.save()
    assert (tmp_path / "file").read_text() == ""


def test_names_and_prompts_that_are_no_utf8_are_kept(tmp_path: Path) -> None:
    path = recorded.archive(tmp_path / "runs", "a", prompt="half a pair: half")
    stage = path / "stage_0" / "zarr.json"
    stage.write_text(stage.read_text().replace("pair: half", "pair: \\ud800"))
    odd = path.with_name("odd-\udcff.zarr")
    path.rename(odd)
    shelf = RunWatcher(odd.parent)
    assert listed(shelf)["odd-\udcff"].prompt == "half a pair: \ud800"
    shelf.close()
    stamp = stamp_of(odd)
    assert stamp is not None
    kept = ListingCache(odd.parent).get(odd, stamp)
    assert kept is not None and kept.prompt == "half a pair: \ud800"


def test_new_changed_and_deleted_runs_appear_by_themselves(tmp_path: Path) -> None:
    shelf = RunWatcher(tmp_path / "runs")
    assert listed(shelf) == {} and not shelf.unreadable
    recorded.archive(tmp_path / "runs", "a")
    assert set(listed(shelf)) == {"a"}
    recorded.archive(tmp_path / "runs", "b")
    assert set(listed(shelf)) == {"a", "b"}
    import shutil

    shutil.rmtree(tmp_path / "runs" / "a.zarr")
    assert set(listed(shelf)) == {"b"}


def test_a_run_is_followed_from_its_first_byte_to_its_archive(tmp_path: Path) -> None:
    messages = recorded.whole("x", steps=8, shocks=1)
    live = recorded.Recording(tmp_path, "x")
    shelf = RunWatcher(tmp_path)
    assert listed(shelf) == {} and not shelf.unreadable, "an empty journal is not looked into"
    half = next(i for i, m in enumerate(messages) if m["t"] == protocol.STEP and m["step"] == 4)
    live.write(messages[:half])
    run = listed(shelf)["x"]
    assert (run.status, run.steps, run.planned, run.shocks, run.drift) == ("live", 4, 8, 0, None)
    live.write(messages[half:])
    run = listed(shelf)["x"]
    assert (run.steps, run.shocks) == (8, 1) and run.drift == pytest.approx(0.3)
    live.finish(messages)
    shelf.update()
    run = listed(shelf)["x"]
    assert run.status == "complete" and run == listing.describe_run(live.path)
    shelf.close()
    stamp = stamp_of(live.path)
    assert stamp is not None and ListingCache(tmp_path).get(live.path, stamp) == run


def test_a_killed_recorder_leaves_an_unfinished_run_that_is_cached(tmp_path: Path) -> None:
    live = recorded.Recording(tmp_path, "x")
    live.write(fake.messages(5, end=None))
    shelf = RunWatcher(tmp_path)
    assert listed(shelf)["x"].live
    live.die()
    assert listed(shelf)["x"].status == "unfinished"
    shelf.close()
    stamp = stamp_of(live.path)
    kept = ListingCache(tmp_path).get(live.path, stamp) if stamp else None
    assert kept is not None and kept.status == "unfinished" and kept.steps == 5


def test_live_runs_are_never_cached(tmp_path: Path) -> None:
    live = recorded.Recording(tmp_path, "x")
    live.write(fake.messages(5, end=None))
    shelf = RunWatcher(tmp_path)
    assert listed(shelf)["x"].live
    shelf.close()
    assert len(ListingCache(tmp_path)) == 0
    live.die()


def test_nothing_is_read_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from replay.library import watcher as module

    for name in "abc":
        recorded.archive(tmp_path, name)
    read: list[Path] = []
    monkeypatch.setattr(module, "describe_run", lambda path: read.append(path) or listing.describe_run(path))
    shelf = RunWatcher(tmp_path)
    listed(shelf)
    for _ in range(3):
        shelf.forget(tmp_path / "nothing")
        listed(shelf)
    assert [p.stem for p in read] == ["c", "b", "a"], "each once, the newest first"


def test_live_runs_of_other_folders_come_by_their_sockets(tmp_path: Path, runtime_dir: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    live = recorded.Recording(elsewhere, "far")
    header, *rest = fake.messages(4, end=None, name="far")
    header = {**header, "archive": str(live.path)}
    live.write([header, *rest])
    runtime_dir.chmod(0o700)
    path = runtime_dir / "far.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        shelf = RunWatcher(tmp_path / "runs")
        asked = []

        def answer() -> None:
            peer, _ = listener.accept()
            asked.append(peer)
            peer.sendall(encode(header))

        import threading

        thread = threading.Thread(target=answer)
        thread.start()
        shelf.look_for_sockets()
        thread.join(PATIENCE_SECONDS)
        run = listed(shelf)["far"]
        assert (run.path, run.socket, run.status) == (live.path, path, "live")
        shelf.look_for_sockets()
        assert len(asked) == 1, "a recorder is asked once"
        asked[0].close()
    path.unlink()
    live.die()
    shelf.look_for_sockets()
    assert listed(shelf)["far"].socket is None
    assert len(ListingCache(tmp_path / "runs")) == 0


def test_an_unsafe_runtime_directory_is_said_and_the_list_goes_on(tmp_path: Path, runtime_dir: Path) -> None:
    recorded.archive(tmp_path, "a")
    runtime_dir.chmod(0o755)
    shelf = RunWatcher(tmp_path)
    shelf.look_for_sockets()
    assert "chmod 700" in shelf.problem and set(listed(shelf)) == {"a"}
