"""The five readers under changed inputs: what they raise is documented, and past failures stay fixed.

`make fuzz` gives them a million.
"""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import fuzz as fuzz_module
from benchmarks import mutations
from benchmarks.fuzz import SHARES, Readers, fuzz, limits
from recorder.format.framing import CorruptMessage, Decoder, encode
from recorder.shocks.spec import Shock
from replay.archive.store import ArrayReader, StoreReader
from replay.comparison.compare import compare
from replay.integrity.check import check
from replay.integrity.repair import repair
from replay.library.listing import list_runs
from replay.model.run import NotARun, Run
from replay.model.stream import StreamData
from replay.sources.open import load

QUIET: dict[str, Any] = {"suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]}


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readers]:
    yield Readers(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize(
    ("reader", "examples"), [("messages", 200), ("control", 300), ("journal", 40), ("archive", 20), ("packed", 60)]
)
def test_changed_inputs_do_no_harm(readers: Readers, reader: str, examples: int) -> None:
    @settings(max_examples=examples, **QUIET)
    @given(st.integers(0, 2**62), st.integers(0, 127))
    def read(seed: int, number: int) -> None:
        readers.read(reader, readers.input(reader, f"suite:{seed}"), number)

    read()


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, **QUIET)
@given(st.data())
def test_any_value_in_the_place_of_any_other(data: st.DataObject) -> None:
    messages = mutations.valid_messages(1, ("video",))
    at = data.draw(st.integers(0, len(messages) - 1))
    changed: Any = msgpack.unpackb(msgpack.packb(messages[at]))
    holder, key = data.draw(st.sampled_from(mutations.places(changed, [])))
    holder[key] = data.draw(values)
    decoder, run = Decoder(), Run()
    try:
        for message in (*messages[:at], changed, *messages[at + 1 :]):
            decoder.feed(mutations.packed(message))
            for found in decoder:
                run.feed(found)
    except (CorruptMessage, NotARun):
        return
    assert run.header


def stream(**changes: Any) -> list[dict[str, Any]]:
    messages = mutations.valid_messages(1, ("video",))
    return [*messages[:2], {**messages[2], **changes}, *messages[3:]]


METRIC = mutations.valid_messages()[2]["metrics"][0]


@pytest.mark.parametrize(
    "messages",
    [
        # A product of sizes that is 0, or right, only after an overflow; later nothing has that shape.
        stream(metrics=[{**METRIC, "shape": [1 << 32, 1 << 32], "dims": ["step", "a", "b"]}]),
        stream(metrics=[{**METRIC, "shape": [-1, -1], "dims": ["step", "a", "b"]}]),
        stream(metrics=[{**METRIC, "name": "../../../tmp/x"}]),
        stream(stream="../video"),
        stream(metrics=[METRIC, METRIC]),
        [*stream()[:3], {"t": "step", "stage": 0, "stream": "video", "step": 1 << 21, "time": 0.0, "data": bytes(36)}]
        * 2,
        # A map in the place of a picture's pixels was taken for all pictures of an archive.
        [*stream()[:4], {**mutations.valid_messages()[6], "data": {"1": "x"}}],
    ],
)
def test_what_once_went_through_is_refused(messages: list[dict[str, Any]]) -> None:
    run = Run()
    with pytest.raises(NotARun):
        for message in messages:
            run.feed(message)


@pytest.mark.parametrize(
    "value",
    [
        msgpack.Timestamp(1, 2),
        [[]] * 70_000,
        mutations.nested(random.Random(0), 40),
    ],
)
def test_payloads_that_would_exhaust_whoever_walks_them(value: Any) -> None:
    decoder = Decoder()
    decoder.feed(mutations.packed({"t": "event", "payload": value}))
    with pytest.raises(CorruptMessage):
        list(decoder)


@pytest.mark.parametrize("frames", [[1e308], [1 << 63], [float("inf")], [float("nan")], [-1], [[1]], "x"])
def test_frames_of_a_shock_that_no_message_could_carry_are_refused(frames: Any) -> None:
    with pytest.raises(ValueError):
        Shock.from_dict({"kind": "renoise", "frames": frames})


def test_events_that_are_left_out_are_not_written_by_repair(tmp_path: Path) -> None:
    messages = [*stream()[:-1], {"t": "event", "kind": 5}, {"t": "system", "time": "x"}, {"t": "event", "kind": "nan"}]
    path = tmp_path / "x.journal"
    path.write_bytes(b"".join(map(encode, messages)))
    done = repair(path)
    assert check(done.archive).sound and len(done.lost) == 2


def test_a_long_run_is_compared_in_the_time_of_reading_it() -> None:
    calls: list[str] = []

    class Counted(StreamData):
        def values(self, metric: str) -> Any:
            calls.append(metric)
            return super().values(metric)

    run = Run()
    for message in stream()[:3]:
        run.feed(message)
    data = run.stages[0].streams["video"]
    data.__class__ = Counted
    data.append(0, np.zeros(20_000), np.zeros((20_000, data.width), np.float32))
    compare([run, run])
    assert 0 < len(calls) < 40


def test_a_count_of_rows_without_end_does_not_end_the_list_of_runs(tmp_path: Path) -> None:
    messages = [*stream()[:3], {"t": "step", "stage": 0, "stream": "video", "step": 0, "count": float("inf")}]
    (tmp_path / "x.journal").write_bytes(b"".join(map(encode, messages)))
    assert list_runs(tmp_path) == []


def test_names_of_dimensions_that_are_no_list(readers: Readers) -> None:
    document = StoreReader(readers.archive_path).document("stage_0/video/sigma")
    for names in (True, 7, "step", {"a": 1}):
        assert ArrayReader(
            StoreReader(readers.archive_path), "stage_0/video/sigma", {**document, "dimension_names": names}
        ).rows


def test_a_reader_that_crashes_hangs_or_takes_memory_is_found(
    readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fuzz_module, "CPU_SECONDS", 0.2)
    given = iter(range(4))

    def read(reader: str, data: Any, number: int) -> None:
        kind = next(given)
        if kind == 0:
            raise IndexError("a crash")
        if kind == 1:
            while True:
                pass
        if kind == 2:
            bytearray(3 << 30)

    monkeypatch.setattr(readers, "read", read)
    with limits():
        failed = fuzz(readers, iter([("messages", n) for n in range(4)]), 0, print)
    assert len(failed) == 3 and all(w in " ".join(failed) for w in ("IndexError", "Hang", "MemoryError"))
    assert (
        set(SHARES) == {"messages", "control", "journal", "archive", "packed"} and abs(sum(SHARES.values()) - 1) < 1e-9
    )


@pytest.mark.parametrize("kind", ["system", "stage", "step", "end", "?"])
def test_an_attribute_in_the_place_of_the_headers_type(readers: Readers, tmp_path: Path, kind: str) -> None:
    archive = tmp_path / "x.zarr"
    shutil.copytree(readers.archive_path, archive)
    document = json.loads((archive / "zarr.json").read_text())
    document["attributes"]["t"] = kind
    (archive / "zarr.json").write_text(json.dumps(document))
    assert load(archive).steps == load(readers.archive_path).steps > 0
