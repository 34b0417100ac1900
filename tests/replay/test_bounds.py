"""A stream that never stops talking, of whatever it talks, does not make its viewer grow."""

from __future__ import annotations

import gc
import itertools
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recorder.format import protocol
from recorder.format.framing import encode
from recorder.format.protocol import Message
from recorder.journal.journal import Journal
from replay.library import run_info
from replay.model import memory_limits, row_memory, spill_file, stream
from replay.model import run as run_module
from replay.model.checked import checked
from replay.model.memory_limits import Budget, every_second, footprint, newest_of_each_kind
from replay.model.run import Run
from replay.sources import read_so_far, reconnect
from replay.sources.open import JournalSource
from replay.sources.read_so_far import ReadEvents, ReadSoFar

BUDGET = 64 << 10
WIRE = 640 << 10
HEADER = {"t": protocol.HEADER, "format": protocol.FORMAT, "version": protocol.FORMAT_VERSION, "run": "r", "time": 1.0}
STAGE = {"t": protocol.STAGE, "stage": 0, "call": 0, "tile": None, "time": 1.0, "sigmas": [1.0, 0.5], "metadata": {}}
PLACE = {"stage": 0, "stream": "video"}


def declared(width: int, stage: int = 0, name: str = "video") -> Message:
    metric = {"name": "m", "unit": "1", "dims": ["step", "of"], "shape": [width], "label": "m", "description": "m"}
    return {
        "t": protocol.STREAM,
        "stage": stage,
        "stream": name,
        "grid": [1, 1, 1],
        "shape": [1],
        "metrics": [metric],
        "coordinates": {},
    }


def event(n: int, kind: str = "warning", text: str = "", **payload: Any) -> Message:
    return {
        "t": protocol.EVENT,
        "time": float(n),
        **PLACE,
        "step": None,
        "kind": kind,
        "text": text,
        "payload": payload,
    }


def rows(n: int, width: int, count: int, place: Message = PLACE) -> Message:
    time = float(n) if count == 1 else np.arange(n * count, (n + 1) * count, dtype="<f8").tobytes()
    data = bytes(4 * width * count)
    return {"t": protocol.STEP, **place, "step": n * count, "count": count, "time": time, "data": data}


def picture(n: int, side: int, place: Message = PLACE) -> Message:
    shape = [1, side, side, 3]
    return {
        "t": protocol.PREVIEW,
        **place,
        "step": n,
        "shape": shape,
        "frames": [0],
        "fit": 1,
        "data": bytes(3 * side * side),
    }


Flood = Callable[[], Iterator[Message]]


def many_streams(n: int, then: Callable[[Message], list[Message]]) -> Iterator[Message]:
    place = {"stage": 0, "stream": f"s{n}"}
    yield declared(8, name=f"s{n}")
    yield from then(place)


FLOODS: dict[str, Flood] = {
    "events": lambda: (event(n, text="x" * 40) for n in itertools.count()),
    "events of ever new kinds": lambda: (event(n, kind=f"kind {n}") for n in itertools.count()),
    "long events": lambda: (event(n, text="x" * 30_000) for n in itertools.count()),
    "events with much inside": lambda: (event(n, of=[[] for _ in range(300)]) for n in itertools.count()),
    "ends of a stage": lambda: (
        event(n, "stage_end", summary={"video": {"m": [0.5] * 300}}) for n in itertools.count()
    ),
    "changed plans": lambda: (event(n, "shock", sigmas=[1] * 2000) for n in itertools.count()),
    "samples": lambda: ({"t": protocol.SYSTEM, "time": float(n), "values": {"cpu": 1.0}} for n in itertools.count()),
    "samples of much": lambda: (
        {"t": protocol.SYSTEM, "time": float(n), "values": {f"q{i}": 1.0 for i in range(200)}}
        for n in itertools.count()
    ),
    "pictures": lambda: (picture(n, 60) for n in itertools.count()),
    "small pictures": lambda: (picture(n, 1) for n in itertools.count()),
    "pictures of many streams": lambda: itertools.chain.from_iterable(
        many_streams(n, lambda place: [picture(0, 60, place)]) for n in itertools.count()
    ),
    "stages": lambda: ({**STAGE, "stage": n} for n in itertools.count()),
    "stages of long plans": lambda: ({**STAGE, "stage": n, "sigmas": [1] * 1000} for n in itertools.count()),
    "stages with long prompts": lambda: (
        {**STAGE, "stage": n, "metadata": {"prompt": f"{n} " + "x" * 5000}} for n in itertools.count()
    ),
    "streams": lambda: (declared(8, name=f"s{n}") for n in itertools.count()),
    "streams, each another": lambda: (declared(8 + n, name=f"s{n}") for n in itertools.count()),
    "rows": lambda: (rows(n, 32, 20) for n in itertools.count()),
    "rows one by one": lambda: (rows(n, 32, 1) for n in itertools.count()),
    "rows of nothing": lambda: itertools.chain(
        [{**declared(1, name="audio"), "metrics": []}],
        (rows(n, 0, 500, {"stage": 0, "stream": "audio"}) for n in itertools.count()),
    ),
    "rows of many streams": lambda: itertools.chain.from_iterable(
        many_streams(n, lambda place: [rows(0, 8, 60, place)]) for n in itertools.count()
    ),
    "headers": lambda: ({**HEADER, "metadata": {"n": str(n) * 2000}} for n in itertools.count()),
    "ends": lambda: (
        {"t": protocol.END, "time": 1.0, "status": "failed", "error": f"{n}" * 1000} for n in itertools.count()
    ),
    "what nobody knows": lambda: ({"t": f"new {n}", "data": "x" * 500} for n in itertools.count()),
}


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Budgets that are quickly spent; what is tested is that there are some, and that they hold."""
    for name in ("EVENT_BYTES", "SAMPLE_BYTES", "PICTURE_BYTES", "DECLARED_BYTES", "ROW_BYTES"):
        monkeypatch.setattr(memory_limits, name, BUDGET)
    monkeypatch.setattr(stream, "MEMORY_BYTES", BUDGET // 4)
    monkeypatch.setattr(stream, "_FIRST_BYTES", 1024)
    monkeypatch.setattr(spill_file, "BLOCK_BYTES", BUDGET // 16)
    monkeypatch.setattr(spill_file, "FILE_BYTES", 4 * BUDGET)
    monkeypatch.setattr(read_so_far, "MOST_EVENTS", 500)
    monkeypatch.setattr(read_so_far, "MOST_PLACES", 500)


def memory(*roots: Any) -> int:
    """Bytes of everything that can be reached, each once; files, locks and modules are not followed."""
    found, seen, left = 0, set(), list(roots)
    while left:
        one = left.pop()
        if id(one) in seen or isinstance(one, type | type(sys)) or callable(one):
            continue
        seen.add(id(one))
        found += sys.getsizeof(one)
        if isinstance(one, np.ndarray):
            left.append(one.base)
        else:
            left += gc.get_referents(one)
    return found


def fed(run: Run, flood: Iterator[Message], wire: int) -> int:
    """Feed that many encoded bytes; returns the number of messages."""
    count = 0
    for message in flood:
        run.feed(message)
        count, wire = count + 1, wire - len(encode(message))
        if wire <= 0:
            break
    return count


@pytest.mark.parametrize("name", FLOODS)
def test_memory_stays_bounded_and_what_is_left_out_is_said(name: str) -> None:
    run, flood = Run(), FLOODS[name]()
    for message in (HEADER, STAGE, declared(32)):
        run.feed(message)
    fed(run, flood, WIRE)
    first = memory(run)
    assert first < 4 * BUDGET, f"{first:,} bytes are kept"
    fed(run, flood, WIRE)
    assert memory(run) < max(first + BUDGET, 4 * BUDGET)
    if name not in ("headers", "ends", "what nobody knows"):
        assert sum(run.dropped.values()) > 0
        assert run.note.startswith("not kept in memory: ") and run.note.endswith("the run's files have them")
        assert all(f"{count:,} {what}" in run.note for what, count in run.dropped.items())
    else:
        assert run.dropped == {} and run.note == ""


@pytest.mark.parametrize("name", FLOODS)
def test_a_journal_s_tail_stays_bounded_too(tmp_path: Path, name: str) -> None:
    """What a source keeps of the messages that it returned, besides what the run keeps."""
    journal = Journal(tmp_path / "r.journal")
    left = WIRE
    for message in itertools.chain([HEADER, STAGE, declared(32)], FLOODS[name]()):
        journal.append(encode(message))
        left -= len(encode(message))
        if left <= 0:
            break
    source, run = JournalSource(journal.path), Run()
    for messages in iter(source.poll, []):
        for message in messages:
            run.feed(message)
    assert memory(run) < 4 * BUDGET and memory(source._read) < 6 * BUDGET
    source.close()
    journal.close()


@pytest.mark.parametrize("name", FLOODS)
def test_a_source_that_connects_again_forgets_too(runtime_dir: Path, name: str) -> None:
    """What it knows of what it gave on is bounded, also while it reads all of it again."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(runtime_dir / "x.sock"))
        listener.listen()
        source = reconnect.ReconnectingSource(runtime_dir / "x.sock")
        left, again = WIRE, source._read.again()
        for message in checked(itertools.chain([HEADER, STAGE, declared(32)], itertools.islice(FLOODS[name](), 5000))):
            again.rest(message)
            left -= len(encode(message))
            if left <= 0:
                break
        assert len(source._read.events) <= read_so_far.MOST_EVENTS
        assert memory(source._read, source._read.again()) < 9 * BUDGET
        source.close()


def test_rows_are_whole_as_far_as_they_are_kept() -> None:
    run = Run()
    for message in (HEADER, STAGE, declared(3), declared(3, name="audio")):
        run.feed(message)
    rng, sent = np.random.default_rng(0), {"video": np.empty((0, 3)), "audio": np.empty((0, 3))}
    for _ in range(2000):
        name = "video" if rng.integers(2) else "audio"
        some = rng.standard_normal((int(rng.integers(1, 40)), 3)).astype("<f4")
        first = len(sent[name])
        times = np.arange(first, first + len(some), dtype="<f8")
        time = times.tobytes() if len(some) > 1 else float(first)
        place = {"stage": 0, "stream": name}
        run.feed({"t": protocol.STEP, **place, "step": first, "count": len(some), "time": time, "data": some.tobytes()})
        sent[name] = np.concatenate([sent[name], some])
    kept = 0
    for name, values in sent.items():
        found = run.stages[0].streams[name]
        assert found.rows > 1000
        np.testing.assert_array_equal(found.values("m"), values[: found.rows].astype(np.float32))
        np.testing.assert_array_equal(found.times, np.arange(found.rows))
        np.testing.assert_array_equal(found.data, values[: found.rows].astype(np.float32))
        kept += found.rows
    assert run.dropped.get("rows", 0) == sum(map(len, sent.values())) - kept


def test_where_no_file_can_be_written_rows_end_with_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spill_file.tempfile, "TemporaryFile", full)
    run = Run()
    for message in (HEADER, STAGE, declared(32)):
        run.feed(message)
    for n in range(10_000):
        run.feed(rows(n, 32, 1))
    found = run.stages[0].streams["video"]
    assert BUDGET // 136 // 2 < found.rows < 10_000 and memory(run) < 3 * BUDGET
    assert run.dropped == {"rows": 10_000 - found.rows}


def test_a_file_system_is_not_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part of it stays free for others: what is there is asked, not tried."""
    monkeypatch.setattr(spill_file, "FREE_PART", 1)
    file = spill_file.SpillFile()
    with pytest.raises(OSError, match="No space left"):
        file.append(b"x")


def test_a_column_that_is_looked_at_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_memory, "COLUMN_BYTES", 4 * 32 * 100)
    run = Run()
    for message in (HEADER, STAGE, declared(32), declared(1, name="audio")):
        run.feed(message)
    for n in range(300):
        run.feed(rows(n, 32, 1))
        run.feed(rows(n, 1, 1, {"stage": 0, "stream": "audio"}))
    streams = run.stages[0].streams
    assert streams["video"].rows == 100 and streams["audio"].rows == 300 and run.dropped == {"rows": 200}


def test_a_flood_of_one_kind_of_events_leaves_the_others() -> None:
    run = Run()
    run.feed(HEADER)
    run.feed(STAGE)
    for n in range(20_000):
        run.feed(event(n, "shock" if n % 5000 == 7 else "warning", text=f"{n}"))
    shocks = [e["time"] for e in run.events if e["kind"] == "shock"]
    assert shocks == [7.0, 5007.0, 10007.0, 15007.0] and run.events[-1]["time"] == 19_999.0
    assert [e["time"] for e in run.events] == sorted(e["time"] for e in run.events)
    assert run.dropped == {"events": 20_000 - len(run.events)}


def test_one_message_cannot_push_out_all_the_others() -> None:
    run = Run()
    run.feed(HEADER)
    run.feed(STAGE)
    for n in range(50):
        run.feed(event(n))
    run.feed(event(50, text="x" * BUDGET))
    assert len(run.events) == 50 and run.dropped == {"events": 1}


def test_after_stages_that_had_no_room_nothing_is_mistaken() -> None:
    """What belongs to a stage that is not kept is left out; what belongs to the others is taken as before."""
    run = Run()
    for message in (HEADER, STAGE, declared(32)):
        run.feed(message)
    for n in range(1, 500):
        run.feed({**STAGE, "stage": n})
        run.feed(declared(32, n))
        run.feed(rows(0, 32, 1, {"stage": n, "stream": "video"}))
        run.feed(picture(0, 1, {"stage": n, "stream": "video"}))
        run.feed({**event(n, "stage_end", summary={}), "stage": n})
    kept = len(run.stages)
    assert 5 < kept < 499 and run.dropped["stages"] == 500 - kept
    run.feed(rows(0, 32, 1))
    assert run.stages[0].streams["video"].rows == 1
    with pytest.raises(run_module.NotARun):
        run.feed({**rows(1, 32, 1), "data": b"short"})


def test_streams_of_one_declaration_share_it() -> None:
    run = Run()
    run.feed(HEADER)
    for n in range(3):
        run.feed({**STAGE, "stage": n})
        run.feed(declared(8, n))
    first, second, third = (s.streams["video"] for s in run.stages)
    assert first.metrics is second.metrics is third.metrics and third.declaration == declared(8, 2)
    run.feed({**STAGE, "stage": 3})
    run.feed(declared(9, 3))
    assert run.stages[3].streams["video"].width == 9


def test_costs_are_what_memory_takes() -> None:
    for value in (event(1, text="x" * 1000), declared(8), [[], {}, (1, 2.5, b"x" * 99)], {"a": {"b": [None] * 50}}):
        assert memory(value) <= footprint(value) <= 3 * memory(value) + 500


def test_budgets_follow_a_list_that_somebody_changed() -> None:
    budget, kept = Budget(1_000_000, every_second), []
    for n in range(100):
        kept = budget.added(kept, event(n))
    kept.clear()
    for n in range(100):
        kept = budget.added(kept, event(n))
    assert len(kept) == 100 and budget.dropped == 0


def test_choices_keep_to_their_limits() -> None:
    found = [event(n, "nan" if n % 3 else "error") for n in range(100)]
    for choose in (newest_of_each_kind, every_second):
        for limit in (0, 1, 500, 5000, 10**9):
            stay = choose(found, [100] * 100, limit)
            assert len(stay) == 100 and (100 * sum(stay) <= limit or (choose is every_second and sum(stay) == 1))


def test_what_is_forgotten_counts_as_read_by_its_time() -> None:
    known = ReadEvents()
    for n in range(1000):
        known.add(event(n))
    assert len(known) == 500 and all(known.copy().take(event(n)) for n in range(1000))
    assert not known.take(event(1000)) and not known.take(event(999, text="another"))


def test_equal_events_are_counted() -> None:
    known = ReadEvents()
    known.add(event(1))
    known.add(event(1))
    other = known.copy()
    assert [other.take(event(1)) for _ in range(3)] == [True, True, False] and known.take(event(1))


def test_each_message_that_was_read_is_left_out_once() -> None:
    """Also equal ones, unknown ones, and those that violate the format."""
    read = ReadSoFar()
    told = [HEADER, STAGE, declared(1), rows(0, 1, 1), event(1), event(1), picture(0, 2), {"t": "new"}, {"t": "new"}]
    told += [{"t": protocol.EVENT, "kind": 5}, {"t": protocol.SYSTEM, "time": 1.0, "values": {}}] * 2
    told += [{"t": protocol.MISSED, **PLACE, "count": 2}, rows(1, 1, 1), {"t": protocol.MISSED, **PLACE, "count": 3}]
    more = [event(1), rows(2, 1, 2), rows(2, 1, 1), picture(1, 2), {"t": "new"}, *told[9:11]]
    more += [{"t": protocol.END, "time": 2.0, "status": "complete", "error": None}]
    first = read.again()
    assert [first.rest(m) for m in checked(told)] == told
    second = read.again()
    assert [m for m in map(second.rest, checked([*told, *more])) if m is not None] == more
    third = read.again()
    assert not any(third.rest(m) for m in checked([*told, *more])) and read.ended
    with pytest.raises(read_so_far.AnotherRun, match="another run, other"):
        read.again().rest(*checked([{**HEADER, "run": "other"}]))


def test_a_list_of_runs_keeps_few_levels_of_a_long_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_info, "MOST_LEVELS", 1000)
    monkeypatch.setattr(run_info, "MOST_STAGES", 50)
    gathered = run_info.Gathered()
    for n in range(300):
        gathered.feed({**STAGE, "stage": n, "sigmas": [0.5] * 200})
        gathered.feed({"t": protocol.STEP, "stage": n, "step": 0})
        gathered.feed({**event(n, "shock", sigmas=[0.5] * 300), "stage": n})
        gathered.feed({**event(n, "stage_end", summary={"video": {"content_drift": [0.1]}}), "stage": n})
    assert sum(map(len, gathered.sigmas.values())) <= 1000 + 50 * run_info.SIGMAS and memory(gathered) < 2 * BUDGET
    line = gathered.info(Path("r.zarr"), status="live", seconds=1.0, bytes=1)
    assert line.stages == 50 and line.planned == 50 * 300 and len(line.sigmas) <= run_info.SIGMAS


ROUNDS = 3000
HOSTILE = """
import resource, socket, sys
from recorder.format.framing import encode
from replay.model import memory_limits
from replay.model.run import Run
from replay.sources.open import SocketSource
from pathlib import Path

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

for name in ("EVENT_BYTES", "SAMPLE_BYTES", "PICTURE_BYTES", "DECLARED_BYTES", "ROW_BYTES"):
    setattr(memory_limits, name, 1 << 20)
run, source, taken, low = Run(), SocketSource(Path(sys.argv[1])), 0, None
while source.fileno() is not None:
    for message in source.poll():
        taken += 1
        run.feed(message)
    if low is None and taken > 9_000:
        low = resident()
print(taken, low, resident())
print(run.note)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_a_hostile_stream_over_its_socket(runtime_dir: Path) -> None:
    """All kinds at once, as fast as they are taken, in a separate process."""
    path, sizes = runtime_dir / "x.sock", [0]
    floods = [FLOODS[name]() for name in ("events", "samples", "pictures", "stages", "rows", "ends of a stage")]
    parts = b"".join(encode(next(flood)) for _ in range(ROUNDS) for flood in floods)

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            head = b"".join(encode(m) for m in (HEADER, STAGE, declared(32)))
            connection.sendall(head + parts)
            sizes[0] = len(head) + len(parts)

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        done = subprocess.run([sys.executable, "-c", HOSTILE, str(path)], capture_output=True, text=True, timeout=120)
        thread.join(60)
    assert done.returncode == 0, done.stderr
    numbers, note = done.stdout.splitlines()
    taken, low, high = map(int, numbers.split())
    assert taken == 3 + 6 * ROUNDS and sizes[0] > 20 << 20
    assert high - low < 20 << 20, f"grew by {(high - low) >> 20} MiB"
    assert "events" in note and "samples" in note and "pictures" in note and "stages" in note
