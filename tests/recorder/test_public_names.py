"""What programs may import from `recorder`, and that type checkers see the same names."""

from __future__ import annotations

import ast
import inspect

import pytest

import recorder

NAMES = ["Recording", "RunHandle", "Shock", "ShockScheduler", "ancestral", "record", "spikes"]


def test_the_public_names_are_these() -> None:
    assert recorder.__all__ == NAMES and set(NAMES) <= set(dir(recorder))


@pytest.mark.parametrize("name", NAMES)
def test_every_name_is_there_and_explained(name: str) -> None:
    assert getattr(recorder, name).__name__ == name and inspect.getdoc(getattr(recorder, name))


def test_type_checkers_see_the_same_names() -> None:
    (block,) = (node for node in ast.parse(inspect.getsource(recorder)).body if isinstance(node, ast.If))
    seen = [alias.asname for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert sorted(str(name) for name in seen) == NAMES


def test_another_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'replay'"):
        _ = recorder.replay
