"""What users hand over: texts of any length, exceptions and values whose own code fails."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from recorder import record
from recorder.format import locations, protocol
from recorder.format.events import MAX_TEXT, event, named, reason_of, text_of
from recorder.format.framing import Decoder, encode
from recorder.journal.journal import is_being_written
from recorder.sampling import metadata
from recorder.writing import archive_thread, group_writer
from recorder.writing.message_fallback import lesser
from replay.integrity.check import check
from replay.sources.open import load
from tests.conftest import UNGUIDED, nano_call
from tests.faults.scenarios import SIGMAS, settle, steps
from tests.waiting import until

LONG = "x" * (3 << 20)


class Evil:
    """Every way to look at it fails."""

    def _fails(self, *_: Any) -> Any:
        raise LookupError("not even that")

    __str__ = __repr__ = __len__ = __bool__ = __iter__ = _fails
    shape = dtype = ndim = size = mode = initial_seed = property(_fails)


class EvilError(ValueError):
    def __str__(self) -> str:
        raise LookupError("no text either")

    __repr__ = __str__


class EvilDict(dict[Any, Any]):
    def items(self) -> Any:
        raise LookupError("no items")

    def __len__(self) -> int:
        raise LookupError("no length")


def test_an_exception_with_a_long_text_leaves_an_ended_run_with_its_events_and_load(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as raised, record(runs_dir=tmp_path) as run:
        run.stage(SIGMAS)
        steps(run, 3)
        until(lambda: load(run.path).system)  # the first sample comes from a thread of its own
        raise RuntimeError(LONG)
    assert str(raised.value) == LONG
    assert not locations.journal_of(run.path).exists() and check(run.path).sound
    found = load(run.path)
    assert found.end is not None and found.end["status"] == "failed"
    assert found.end["error"] == f"RuntimeError: {LONG}"[:MAX_TEXT] + "…"
    assert found.events and found.system


def test_an_exception_without_a_text_is_the_one_that_comes_out(tmp_path: Path) -> None:
    with pytest.raises(EvilError), record(runs_dir=tmp_path) as run:
        steps(run, 1)
        raise EvilError
    found = load(run.path)
    assert found.end is not None and found.end["status"] == "failed"
    assert found.end["error"] == "EvilError: (EvilError whose text raises LookupError)"


@pytest.mark.parametrize("raised", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_an_exception_whose_text_ends_the_program_leaves_nothing_open(
    tmp_path: Path, raised: type[BaseException]
) -> None:
    class Worse(Exception):
        def __str__(self) -> str:
            raise raised

    threads = set(threading.enumerate())
    with pytest.raises(Worse), record(runs_dir=tmp_path) as run:
        run.stage(SIGMAS)
        steps(run, 3)
        raise Worse
    end = load(run.path).end
    assert end is not None and end["status"] == "failed" and end["error"] == "Worse"
    assert not is_being_written(run.path.with_suffix(".journal"))
    until(lambda: {t.name for t in set(threading.enumerate()) - threads} <= {"ltxtui-settler"})


def test_an_exception_without_a_text_inside_the_recorder_is_an_event(
    pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recorder.metrics.measures import MEASURES
    from recorder.metrics.stage_summary import PathTracker
    from recorder.writing import journal_thread

    def fails(*_: Any, **__: Any) -> Any:
        raise EvilError

    monkeypatch.setattr(PathTracker, "finish", fails)
    real = journal_thread.values_of
    second = lambda rows, told: fails() if rows[0].step == 1 else real(rows, told)  # noqa: E731
    monkeypatch.setattr(journal_thread, "values_of", second)
    with record(pipe, runs_dir=tmp_path) as run:
        pipe(**nano_call(steps=3, **UNGUIDED))
        monkeypatch.setitem(MEASURES, "mean", fails)
        pipe(**nano_call(steps=2, **UNGUIDED))
    found = load(run.path)
    assert found.end is not None and found.end["status"] == "complete"
    assert found.missed == {"stage_0/video": 1, "stage_0/audio": 1, "stage_1/video": 2, "stage_1/audio": 2}
    assert all("whose text raises" in e["text"] for e in found.events if e["kind"] == "error")
    assert run.standing == found.standing == "complete, 3 steps not recorded"


@pytest.mark.parametrize(
    "value",
    [Evil(), {Evil(): Evil(), "a": [Evil()]}, EvilDict(a=1), [EvilDict(a=1)], LONG, {LONG: LONG}, [LONG] * 200,
     1 << 60_000, {"deep": [[[[[[[[[[[1]]]]]]]]]]]}, [[[[[]] * 128] * 128] * 128] * 128, float("inf"),
     "\udce9", b"\xff"],
    ids=["evil", "evil inside", "evil dict", "evil dict inside", "long", "long key", "long list", "long number", "deep",
         "many", "infinite", "surrogate", "bytes"],
)  # fmt: skip
def test_any_metadata_is_kept_as_far_as_it_can_be(tmp_path: Path, value: Any) -> None:
    with record(runs_dir=tmp_path, metadata={"value": value, "mine": "kept"}, previews=False) as run:
        run.stage(SIGMAS, value=value, mine="kept")
        steps(run, 2)
    assert check(run.path).sound
    found = load(run.path)
    assert found.metadata["user"]["mine"] == "kept" and found.stages[0].metadata["mine"] == "kept"
    assert found.metadata["host"] and found.steps == 2
    assert len(json.dumps(found.header)) < 1 << 19
    json.dumps(found.metadata, allow_nan=False)


def test_any_argument_of_a_call_is_kept_as_far_as_it_can_be(pipe: Any, tmp_path: Path) -> None:
    class Kwargs(dict[str, Any]):
        """Arguments of the attention, which the pipeline passes on and this model does not look at."""

        def __repr__(self) -> str:
            raise LookupError

        def items(self) -> Any:
            raise LookupError

    with record(pipe, runs_dir=tmp_path) as run:
        pipe(**nano_call(steps=2, prompt="a red ball moving left " * 4000, attention_kwargs=Kwargs(), **UNGUIDED))
    found = load(run.path)
    assert found.steps == 2 and len(found.stages[0].metadata["prompt"]) == MAX_TEXT + 1
    assert found.stages[0].metadata["arguments"]["attention_kwargs"] == "Kwargs"


def test_a_generator_that_tells_no_seed_costs_nothing() -> None:
    assert metadata.seed_of(Evil()) is None and metadata.seed_of([Evil()]) is None
    assert metadata.seed_of([torch.Generator().manual_seed(3)]) == [3]


def test_what_is_left_out_is_marked_where_it_was() -> None:
    many = metadata.brief({"a": [[0] * 100] * 100, "b": 1})
    flat = json.dumps(many, ensure_ascii=False)
    assert (len(flat) < 40_000 and metadata.LEFT_OUT in many["a"][-1]) or metadata.LEFT_OUT in many["a"]
    long = metadata.brief(["y" * 4000] * 100)
    assert sum(map(len, long)) <= metadata.MAX_CHARACTERS + 100 and long[-1].endswith("…")
    assert metadata.brief({"a": [1, 2.5, None, True, "t"]}) == {"a": [1, 2.5, None, True, "t"]}


@pytest.mark.parametrize(
    "message",
    [
        {"t": protocol.END, "time": 1.0, "status": "failed", "error": LONG},
        event("error", LONG),
        {**event("error", "x"), "text": LONG},
        event("warning", "x", payload={"text": LONG, "list": [LONG]}),
        event("shock", "x", payload={"sigmas": [0.5] * 300_000}),
        {"t": protocol.HEADER, "archive": LONG, "metadata": {"a": [LONG] * 4}},
        {"t": protocol.STAGE, "sigmas": [0.5] * 300_000, "metadata": {LONG: 1}},
    ],
    ids=["end", "event", "made event", "payload", "plan of a shock", "header", "stage"],
)
def test_any_message_has_a_version_that_can_be_sent(message: dict[str, Any]) -> None:
    for made, _ in lesser(message):
        try:
            data = encode(made)
        except ValueError:
            continue
        decoder = Decoder()
        decoder.feed(data)
        (found,) = decoder
        assert found["t"] == message["t"] and found.get("status") == message.get("status")
        return
    raise AssertionError("it cannot be sent")


def test_texts_of_errors_are_cut_and_never_fail() -> None:
    assert len(event("error", LONG)["text"]) == MAX_TEXT + 1
    assert len(named(RuntimeError(LONG))) == MAX_TEXT + 1 and len(reason_of(RuntimeError(LONG))) == 300
    assert reason_of(EvilError()) == "(EvilError whose text raises LookupError)"
    assert reason_of(KeyError()) == "KeyError" and reason_of(ValueError("a\nb")) == "a"
    nested = RuntimeError(
        "Failed to import a because of the following error:\n\nFailed to import b:\nno name 'c'\nTry: d"
    )
    assert reason_of(nested) == "Failed to import a because of the following error: Failed to import b: no name 'c'"
    assert reason_of(RuntimeError("the cause:\n")) == "the cause:"
    assert text_of(3) == "3"


@pytest.mark.parametrize("where", ["pump", "archivist"])
def test_an_end_that_was_never_taken_in_keeps_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Ends the threads early, without an error that is visible to the caller."""
    with record(runs_dir=tmp_path, previews=False) as run:
        steps(run, 3)
        settle(run)
        if where == "pump":
            real = group_writer.encode
            monkeypatch.setattr(group_writer, "encode", lambda m: real({} if m["t"] == protocol.END else m) and 1 // 0)
        else:
            monkeypatch.setattr(archive_thread.Archivist, "put", lambda self, message: None)
    monkeypatch.undo()
    journal = locations.journal_of(run.path)
    if where == "archivist":  # the journal has the end, and is folded from its beginning
        assert not journal.exists() and check(run.path).sound and load(run.path).steps == 3
        return
    assert journal.exists() and not is_being_written(journal)
    assert load(run.path).steps == 3 and load(run.path).events is not None
