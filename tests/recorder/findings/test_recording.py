"""Rules over the run as a whole: what became of it, and what is not recorded."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from recorder.findings.examine import Examiner
from recorder.findings.facts import RunFacts, StageFacts, StreamFacts
from recorder.findings.finding import Finding, verdict_of
from recorder.findings.rule import Check, Rule
from recorder.findings.rules import RULES


def told(rows: int = 7, stages: int = 1, **facts: Any) -> list[Finding]:
    """Findings of a run of stages of 12 steps, of which the last has come to a row."""
    run = RunFacts(**facts)
    for index in range(stages):
        stage = StageFacts(index, sigmas=tuple(np.linspace(1, 0.1, 12).tolist()))
        stage.streams["video"] = StreamFacts("video", 1, 100, (2, 4, 4), rows=rows)
        run.stages.append(stage)
    return Examiner(run, RULES).findings()


@pytest.mark.parametrize(
    ("facts", "severity", "text"),
    [
        ({"status": "failed", "error": "ValueError: no {such} thing"}, "error", "failed at step 7 of 12"),
        ({"status": "failed", "stages": 0}, "error", "failed before its first step"),
        ({"status": "interrupted"}, "warning", "interrupted at step 7 of 12"),
        ({"status": "interrupted", "stages": 2}, "warning", "interrupted at step 7 of 12 of stage 1"),
        ({"lost": True}, "warning", "breaks off at step 7 of 12"),
        ({"stalled_seconds": 71.3}, "warning", "stalled 71 s"),
        ({"status": "complete", "missed": {"stage_0/video": 3, "stage_0/audio": 3}}, "warning", "3 steps not recorded"),
        ({"status": "complete", "rows": 0}, "warning", "no rows"),
        ({"status": "complete", "damage": "chunk 3 of sigma"}, "warning", "damaged"),
        ({"status": "complete", "seen": {"shocks-left-out"}}, "warning", "no shocks"),
        ({"status": "complete", "troubles": ["a step", "another"]}, "note", "ok"),
        ({"status": "complete", "lost": True, "stalled_seconds": 5.0}, "ok", "ok"),
        ({}, "ok", "ok"),
    ],
)
def test_the_verdict_says_what_became_of_the_run(facts: dict[str, Any], severity: str, text: str) -> None:
    found = told(**facts)
    verdict = verdict_of(found)
    assert (verdict.severity, verdict.text) == (severity, text)
    assert len([f for f in found if f.severity != "note"]) == (severity not in ("ok", "note"))
    assert all(f.advice and f.text for f in found)


def test_the_reason_is_in_the_sentence() -> None:
    assert "no {such} thing" in told(status="failed", error="ValueError: no {such} thing")[0].text


def test_what_is_wrong_with_the_clip_is_named_before_its_interruption() -> None:
    found = told(status="interrupted", missed={"stage_0/video": 1})
    assert [f.id for f in found] == ["run-interrupted", "rows-missing"]


def _rule(id: str, check: Any) -> Rule:
    return Rule(id, "x", "warning", "{value}", "s", "f", "r", "physics", "a", stage=check)


def test_a_rule_that_fails_is_left_out_and_the_others_stay(caplog: pytest.LogCaptureFixture) -> None:
    def raises(run: RunFacts, stage: StageFacts) -> Any:
        raise ZeroDivisionError("no")

    def finds(run: RunFacts, stage: StageFacts) -> Any:
        yield Check(np.array([1.0]), high=0)

    def says_too_little(run: RunFacts, stage: StageFacts) -> Any:
        yield Check(np.array([1.0]), high=0, words={"value": "{no}"})

    wrong = Rule("bad", "x", "warning", "{unknown}", "s", "f", "r", "physics", "a", stage=says_too_little)
    run = RunFacts(stages=[StageFacts(0)])
    examiner = Examiner(run, [_rule("raises", raises), wrong, _rule("finds", finds)])
    with caplog.at_level(logging.WARNING):
        assert [f.id for f in examiner.findings()] == ["finds"]
        assert [f.id for f in examiner.findings()] == ["finds"]
    assert len([r for r in caplog.records if "left out" in r.message]) == 2, "each is logged once"


HOSTILE: list[Any] = [None, 1, -1, 0, 1e308, 10**400, float("nan"), True, "x", "{}", [], [1], {}, {"config": 3}, [[]]]


@pytest.mark.parametrize("value", HOSTILE, ids=lambda v: type(v).__name__ + str(v)[:8])
def test_hostile_metadata_never_raises_nor_costs_a_rule(value: Any, caplog: pytest.LogCaptureFixture) -> None:
    names = ("sigmas", "num_inference_steps", "num_frames", "frame_rate", "motion_speed", "strength", "timesteps")
    places: list[dict[str, Any]] = [
        {"arguments": value},
        {"scheduler": value},
        {"in_effect": value},
        {"transformer": value},
        {"arguments": dict.fromkeys((*names, "spatio_temporal_guidance_blocks"), value)},
        {"scheduler": {"class": value, "config": value}},
        {"scheduler": {"config": dict.fromkeys(("num_train_timesteps", "base_shift", "max_shift"), value)}},
        {"transformer": {"blocks": value}, "arguments": {"spatio_temporal_guidance_blocks": [1]}},
    ]
    for metadata in places:
        run = RunFacts(metadata={"shocks": value}, status="complete")
        stage = StageFacts(0, sigmas=(1.0, 0.5), metadata=metadata, ended=True, summary={"video": {"drift_index": []}})
        stage.streams["video"] = StreamFacts("video", 1, 100, (2, 4, 4), rows=2)
        run.stages.append(stage)
        with caplog.at_level(logging.WARNING):
            Examiner(run, RULES).findings()
    assert not caplog.records
