"""A run, exported by the command as a user does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from ltxtui.cli import cli
from tests.replay import exported

Exported = Callable[..., str]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return exported.archive(tmp_path_factory.mktemp("bridge"))


@pytest.fixture
def export(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Exported:
    """Runs `ltxtui export RUN` in an empty folder; gives what it printed."""
    monkeypatch.chdir(tmp_path)

    def export(*words: str, runs: tuple[Path, ...] = (archive,), status: int = 0) -> str:
        done = CliRunner().invoke(cli, ["export", *map(str, runs), *words])
        assert done.exit_code == status, done.output
        return done.stdout if status == 0 else done.output

    return export
