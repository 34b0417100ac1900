"""Which GPUs the workers of a sweep get."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from recorder.sweep.gpus import chosen_gpus, visible_gpus

TWO = ["GPU-aa", "GPU-bb"]


def nvml(uuids: list[Any]) -> Any:
    return SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetCount=lambda: len(uuids),
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUUID=lambda index: uuids[index],
    )


def test_all_are_listed_by_names_that_mean_the_same_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", nvml(["GPU-aa", b"GPU-bb"]))
    assert visible_gpus() == TWO


def test_what_a_batch_system_allows_is_all_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml(TWO))
    for said, found in (("3, 5", ["3", "5"]), ("MIG-x", ["MIG-x"]), ("", []), ("-1", [])):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", said)
        assert visible_gpus() == found
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert chosen_gpus("1,0", visible_gpus()) == ("5", "3")


def test_without_a_driver_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert visible_gpus() == []
    fails = nvml([])
    fails.nvmlInit = lambda: 1 / 0
    monkeypatch.setitem(sys.modules, "pynvml", fails)
    assert visible_gpus() == []


@pytest.mark.parametrize(
    ("text", "found"),
    [("all", ("GPU-aa", "GPU-bb")), ("1", ("GPU-bb",)), ("1,0", ("GPU-bb", "GPU-aa")), (" 0 , GPU-bb", tuple(TWO))],
)
def test_numbers_names_and_all(text: str, found: tuple[str, ...]) -> None:
    assert chosen_gpus(text, TWO) == found


@pytest.mark.parametrize(
    ("text", "there", "why"),
    [
        ("2", TWO, "no GPU '2'; there is 0 to 1"),
        ("1", ["GPU-aa"], "no GPU '1'; there is only 0"),
        ("0,", TWO, "no GPU ''"),
        ("-1", TWO, "no GPU '-1'"),
        ("²", TWO, "no GPU '²'"),
        ("0,0", TWO, "'0' is named twice"),
        ("0,GPU-aa", TWO, "'GPU-aa' is named twice"),
        ("all", [], "no NVIDIA GPU was found"),
    ],
)
def test_what_is_not_there_is_said(text: str, there: list[str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        chosen_gpus(text, there)
