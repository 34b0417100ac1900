"""The drift index on made-up clips: every fault above all clean motion, and worse faults above lesser ones."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from recorder.nano.drift_study import KINDS, Fault, draw, indices, relative_to_pooled, share_above, table

FAULTS = [name for name, fault in KINDS.items() if not fault.clean]
CLEAN = [name for name, fault in KINDS.items() if fault.clean]


@cache
def found(name: str) -> np.ndarray:
    return indices(KINDS[name])


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_scores_above_clean_motion(name: str) -> None:
    clean = np.concatenate([found(c) for c in CLEAN])
    assert share_above(found(name), clean) > 0.995
    assert np.median(found(name)) > 2.5 * np.median(found("fast"))


def test_fast_motion_over_a_varied_background_is_as_clean_as_slow() -> None:
    assert found("still").max() < 1e-9
    for name in ("slow", "normal", "fast", "fast, varied"):
        assert np.median(found(name)) < 0.08 and found(name).max() < 0.16, name
    assert abs(np.median(found("fast")) - np.median(found("slow"))) < 0.02


def test_worse_is_higher_in_every_scene() -> None:
    for fault, values in (
        ("fade", (0.1, 0.25, 0.5)),
        ("background_fade", (0.1, 0.25, 0.5)),
        ("flicker", (0.1, 0.2, 0.4)),
    ):
        scores = [indices(replace(Fault(""), **{fault: value}), 24) for value in values]
        assert (np.diff(scores, axis=0) > 0).mean() > 0.95, fault
    early, late = (indices(Fault("", swap=frame), 24) for frame in (3, 7))
    assert (early > late).mean() > 0.95


def test_the_denominator_of_the_whole_frame_is_what_tells_faults_from_motion() -> None:
    before = np.concatenate([relative_to_pooled(KINDS[c], 32) for c in CLEAN])
    after = np.concatenate([found(c)[:32] for c in CLEAN])
    for name in ("flicker", "identity swapped"):
        assert share_above(found(name)[:32], after) > share_above(relative_to_pooled(KINDS[name], 32), before)


def test_one_seed_is_one_scene() -> None:
    normal, swapped = draw(KINDS["normal"], 3), draw(KINDS["identity swapped"], 3)
    assert normal.shape == (9, 10, 12, 8)
    np.testing.assert_array_equal(normal[:5], swapped[:5])
    assert np.abs(normal[5:] - swapped[5:]).max() > 1


def test_the_table_has_every_kind() -> None:
    drawn = table(4)
    assert all(fault.meaning in drawn for fault in KINDS.values())
