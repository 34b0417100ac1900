"""`ltxtui record --like` of a run that ComfyUI made: its workflow, and how to queue it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ltxtui.cli import cli
from recorder.runners.comfyui import workflow
from tests.recorder.runners.comfyui.conftest import Bench
from tests.recorder.runners.comfyui.fakes import GRAPH


def like(run: Any, folder: Path, *more: str) -> Any:
    return CliRunner().invoke(cli, ["record", "--like", run, "--runs-dir", str(folder / "ltxtui"), *more])


def test_the_workflow_is_printed_with_how_to_queue_it(bench: Bench) -> None:
    with bench.comfyui.prompt():
        bench.sample(bench.model(name="fox"))
    run = bench.run()
    done = like("fox", bench.comfyui.output)
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"prompt": GRAPH}
    assert "ComfyUI 0.38.0" in done.stderr and "curl" in done.stderr and "127.0.0.1:8188/prompt" in done.stderr
    assert run.name in done.stderr and done.stderr.count("\n") == 1


def test_other_options_are_refused(bench: Bench) -> None:
    with bench.comfyui.prompt():
        bench.sample(bench.model(name="fox"))
    bench.run()
    done = like("fox", bench.comfyui.output, "--steps", "3")
    assert done.exit_code == 1 and "nodes of its workflow" in done.stderr


def test_a_workflow_that_is_not_recorded_is_one_line(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "MAX_PACKED", 10)
    with bench.comfyui.prompt():
        bench.sample(bench.model(name="fox"))
    bench.run()
    done = like("fox", bench.comfyui.output)
    assert done.exit_code == 1 and "not recorded" in done.stderr and done.stderr.count("\n") == 1
