"""Every module that `python -m` runs explains itself: its help has examples, and their arguments are accepted."""

from __future__ import annotations

import argparse
import re
import runpy
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("benchmarks", "recorder/nano")
_HELPERS = ("benchmarks.gpu.", "benchmarks.soak_helpers", "benchmarks.peers.child")
"""Started by other modules, never by hand."""


def modules() -> list[str]:
    """Modules with a main part, as `python -m` names them."""
    found = []
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            if 'if __name__ == "__main__":' in path.read_text("utf-8"):
                found.append(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__main__"))
    return sorted(name for name in found if not name.startswith(_HELPERS))


class Parsed(Exception):
    """The arguments were accepted; nothing else of the module shall run."""


@pytest.fixture(autouse=True)
def only_parse(monkeypatch: pytest.MonkeyPatch) -> None:
    parse = argparse.ArgumentParser.parse_args

    def parse_only(self: argparse.ArgumentParser, *given: Any, **named: Any) -> None:
        parse(self, *given, **named)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)


def start(module: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    runpy.run_module(module, run_name="__main__", alter_sys=False)


def test_the_modules_are_found() -> None:
    assert {"benchmarks", "benchmarks.peers", "benchmarks.home", "recorder.nano.train"} <= set(modules())


@pytest.mark.parametrize("module", modules())
@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
def test_examples_in_the_help_are_accepted(
    module: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as left:
        start(module, ["--help"], monkeypatch)
    text = capsys.readouterr().out
    assert not left.value.code and f"usage: python -m {module} " in text
    examples = re.findall(rf"^ +python -m {re.escape(module)}(?: (.*))?$", text.partition("example")[2], re.MULTILINE)
    assert examples, text
    for example in examples:
        with pytest.raises(Parsed):
            start(module, shlex.split(re.split(" {2,}", example)[0]), monkeypatch)
