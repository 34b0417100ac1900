"""Surroundings in which every picture is the same: a UTF-8 locale, no colours from the outside, nobody's settings."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.delenv("COLORFGBG", raising=False)
    monkeypatch.setenv("LTXTUI_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("LTXTUI_STATE", str(tmp_path / "state.json"))
