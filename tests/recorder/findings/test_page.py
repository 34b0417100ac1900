"""docs/findings.md says what the rules say, what they saw in healthy runs, and shows a picture for every family."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from recorder.findings.page import extremes, families, picture_of, rewritten
from recorder.findings.rules import BY_ID, RULES

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "findings.md").read_text(encoding="utf-8")
HEALTHY: dict[str, Any] = json.loads((DOCS / "healthy.json").read_text(encoding="utf-8"))
MOST_BYTES = 1_500_000


def test_the_page_is_generated_from_the_declarations_and_from_the_healthy_runs() -> None:
    assert rewritten(PAGE, HEALTHY) == PAGE, "run: python -m recorder.findings docs/findings.md docs/healthy.json"
    assert all(PAGE.count(f"#### `{rule.id}`") == 1 for rule in RULES)


def test_no_healthy_run_had_a_false_alarm_and_rules_are_those_of_today() -> None:
    assert HEALTHY["runs"] >= 200 and HEALTHY["alarms"] == 0
    seen = {found["rule"] for found in HEALTHY["extremes"]}
    assert seen <= set(BY_ID)
    unseen = {"guidance-too-strong", "latents-scale"}  # they look only where something else is wrong already
    missing = {rule.id for rule in RULES if rule.rows} - seen
    assert missing <= unseen, "run: python -m benchmarks.healthy --write docs/healthy.json"


def test_the_extremes_are_a_table_and_what_is_infinite_is_a_word() -> None:
    found = [
        {"rule": "flicker", "key": "", "lowest": 1.105, "highest": None},
        {"rule": "little-motion", "key": "still", "lowest": 0.2568, "highest": 12345.0},
    ]
    assert extremes({"runs": 3, "alarms": 1, "extremes": found}).splitlines() == [
        "3 healthy runs, 1 with a false alarm",
        "",
        "| rule | lowest | highest |",
        "| --- | ---: | ---: |",
        "| flicker | 1.105 | infinite |",
        "| little-motion (still) | 0.2568 | 1.234e+04 |",
    ]


def test_a_page_without_the_parts_is_refused() -> None:
    with pytest.raises(ValueError, match="begin rules"):
        rewritten("# Findings", HEALTHY)


def test_every_family_has_a_picture_that_the_page_shows_and_that_names_its_rule() -> None:
    scenes = runpy.run_path(str(DOCS / "finding_pictures.py"))["SCENES"]
    assert set(scenes) == set(families())
    total = sum(file.stat().st_size for file in (DOCS / "pictures").rglob("*.svg"))
    assert total <= MOST_BYTES
    for family, scene in scenes.items():
        assert BY_ID[scene.rule].family == family
        assert PAGE.count(f"]({picture_of(family)})") == 1
        drawn = ElementTree.parse(DOCS / picture_of(family)).getroot()
        texts = [node.text or "" for node in drawn.iter() if node.tag.endswith("text")]
        assert f"right: {scene.metric}" in texts and f"{scene.rule}: {scene.metric}" in texts
        assert sum(bool(re.search("[\u2801-\u28ff]", text)) for text in texts) >= 2
