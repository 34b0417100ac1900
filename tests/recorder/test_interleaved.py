"""Stages that were under way at the same time: archive, journal, list, dashboard and repair read each as it was."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ltxtui.viewmodel.deck import Deck
from recorder.archive.writer import ArchiveWriter
from recorder.format import locations
from recorder.format.framing import encode
from recorder.format.protocol import Message
from recorder.journal.journal import Journal
from recorder.sampling.model_calls import watch_model
from recorder.sampling.stages import Stages
from replay.integrity import repair
from replay.integrity.check import check
from replay.library.listing import list_runs
from replay.model.run import Run
from replay.sources.open import Liveness, load
from tests.ltxtui.fake import START, messages

STEPS = (6, 4)


def of_stage(stage: int, steps: int) -> list[Message]:
    """All messages of one stage, in their order."""
    found = [m for m in messages(steps, name="beside") if m.get("stage") == 0]
    moved = [{**m, "stage": stage} for m in found]
    return [{**m, "time": m["time"] + 0.01 * stage} if "time" in m else m for m in moved]


def interleaved() -> list[Message]:
    """The messages of two stages by turns; the second one begins later and ends first."""
    one, other = of_stage(0, STEPS[0]), of_stage(1, STEPS[1])
    begin, *_, end = messages(1, name="beside")
    mixed = [m for pair in itertools.zip_longest(one, other) for m in pair if m is not None]
    assert [m["stage"] for m in mixed if m.get("kind") == "stage_end"] == [1, 0]
    return [begin, *mixed, {**end, "time": START + 1}]


def fed(some: list[Message]) -> Run:
    run = Run()
    for message in some:
        run.feed(message)
    return run


def assert_whole(run: Run) -> None:
    for stage, steps in zip(run.stages, STEPS, strict=True):
        expected = fed([next(iter(messages(1))), *of_stage(0, steps)]).stages[0]
        assert stage.ended and stage.steps == steps and stage.sigmas == expected.sigmas
        for name, stream in stage.streams.items():
            np.testing.assert_array_equal(stream.data, expected.streams[name].data)


def test_a_live_run_and_its_archive(tmp_path: Path) -> None:
    assert_whole(fed(interleaved()))
    path = tmp_path / "beside.zarr"
    writer = ArchiveWriter(path)
    for message in interleaved():
        writer.feed(message)
    assert_whole(load(path))
    assert check(path).problems == []
    (listed,) = list_runs(tmp_path)
    assert (listed.steps, listed.planned, listed.stages) == (sum(STEPS), sum(STEPS), 2)


def test_a_run_that_was_killed_in_between_is_repaired(tmp_path: Path) -> None:
    path = tmp_path / "beside.zarr"
    journal = Journal(locations.journal_of(path))
    for message in interleaved()[:-3]:
        journal.append(encode(message))
    journal.release(remove=False)
    journal.close()
    seen = load(path)
    repair.repair(path)
    again = load(path)
    for stage, before in zip(again.stages, seen.stages, strict=True):
        for name, stream in stage.streams.items():
            np.testing.assert_array_equal(stream.data, before.streams[name].data)


def test_a_live_deck_follows_the_newest_stage_that_is_under_way() -> None:
    run = Run()
    deck = Deck(run, Liveness.LIVE)
    followed = []
    for message in interleaved()[:-1]:
        run.feed(message)
        deck.changed(Liveness.LIVE)
        if message["t"] == "step" or message.get("kind") == "stage_end":
            followed.append(deck.stage_index)
    assert 1 in followed[:-2] and deck.follow
    assert followed[-2:] == [0, 1], "the stage that ends last; then the newest, where a replay ends too"
    # A stage that was chosen stays chosen, though another one goes on.
    deck = Deck(run, Liveness.LIVE)
    deck.changed(Liveness.LIVE)
    run.stages[0].ended = False
    deck.changed(Liveness.LIVE)
    assert deck.stage_index == 0
    deck.next_stage()
    assert deck.stage_index == 1 and not deck.follow
    deck.changed(Liveness.LIVE)
    assert deck.stage_index == 1


def test_a_replay_takes_for_each_stage_the_time_that_it_took() -> None:
    deck = Deck(fed(interleaved()), Liveness.FINISHED)
    deck.changed(Liveness.FINISHED)
    elapsed = deck._elapsed
    assert len(elapsed) == sum(STEPS)
    np.testing.assert_allclose(np.diff(elapsed[: STEPS[0]]), 0.1, atol=1e-6)
    np.testing.assert_allclose(np.diff(elapsed[STEPS[0] :]), 0.1, atol=1e-6)
    assert (np.diff(elapsed) >= 0).all()
    alone = Deck(fed([*messages(4, stages=2)]), Liveness.FINISHED)
    alone.changed(Liveness.FINISHED)
    np.testing.assert_allclose(alone._elapsed, START + 0.1 * np.arange(8))


# -- who writes them


def test_stages_are_sent_in_the_order_of_their_numbers() -> None:
    sent: list[Any] = []
    root = Stages(sent.append)
    lines = [root.sibling() for _ in range(8)]
    barrier = threading.Barrier(8)

    def many(line: Stages) -> None:
        barrier.wait(60)
        for _ in range(20):
            line.begin(line.book.next_call(), [0.5], {})
            line.announce()
        line.begin(line.book.next_call(), [0.5], {})  # never announced: it has no number

    threads = [threading.Thread(target=many, args=(line,)) for line in lines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for line in lines:
        line.end()
    assert [m["stage"] for m in sent if isinstance(m, dict) and m["t"] == "stage"] == list(range(160))
    calls = [m["call"] for m in sent if isinstance(m, dict) and m["t"] == "stage"]
    assert len(set(calls)) == 160
    assert root.book.current is None and root.book.position() == (None, None)


class Model:
    """Compiled in place, as far as it can be told from outside."""

    def __init__(self) -> None:
        self._compiled_call_impl = self.compiled = lambda **given: given["x"] + 1


@pytest.mark.parametrize("first", [0, 1])
def test_who_watches_a_compiled_model_may_cease_in_any_order(first: int) -> None:
    model, seen = Model(), [[], []]  # type: ignore[var-annotated]
    ends = [watch_model(model, mine.append, lambda given, out, mine=mine: mine.append(out)) for mine in seen]
    assert model._compiled_call_impl(x=1) == 2
    ends[first]()
    assert model._compiled_call_impl(x=2) == 3
    ends[1 - first]()
    ends[first]()
    assert model._compiled_call_impl is model.compiled
    assert seen[first] == [{"x": 1}, 2] and seen[1 - first] == [{"x": 1}, 2, {"x": 2}, 3]


def test_a_model_that_is_compiled_meanwhile_stays_so() -> None:
    model = Model()
    end = watch_model(model, lambda given: None, lambda given, out: None)
    again = lambda **given: given["x"] + 2  # noqa: E731
    model._compiled_call_impl = again
    end()
    assert model._compiled_call_impl is again
