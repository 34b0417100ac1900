"""Paths inside archives are made and parsed in one module, and every path that is made is parsed to what it was."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from recorder.format import paths

ROOT = Path(__file__).parents[2]
MODULES = sorted(file for top in ("recorder", "replay", "ltxtui", "benchmarks") for file in (ROOT / top).rglob("*.py"))
BY_HAND = re.compile(r"\bstage_(?![a-z])|\bzarr\.json\b|checksums\.json")
"""Parts of paths: `stage_` with a number, not a name such as `stage_end`."""
SAID = re.compile(r"[a-z] zarr\.json|zarr\.json [a-z]")
"""Documents that a message to a person names."""


def texts(tree: ast.AST) -> Iterator[ast.Constant]:
    """Text in the code, without docstrings and other bare text."""
    bare = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare:
            yield node


def by_hand(code: str) -> list[str]:
    if not BY_HAND.search(code):
        return []
    found = (n for n in texts(ast.parse(code)) if not SAID.search(str(n.value)))
    return [f"{n.lineno}: {n.value!r}" for n in found if BY_HAND.search(str(n.value))]


def test_no_other_module_writes_a_path_by_hand() -> None:
    assert len(MODULES) > 200
    found = {f.relative_to(ROOT).as_posix(): by_hand(f.read_text()) for f in MODULES}
    # Attributes and schedules of ltx-pipelines are named like stages.
    apart = {
        "recorder/format/paths.py",
        "recorder/runners/lightricks/described.py",
        "recorder/recipes/named_schedule.py",
    }
    assert {f: lines for f, lines in found.items() if lines and f not in apart} == {}


def test_paths_by_hand_are_noticed() -> None:
    for code in ("x = f'stage_{n}'", "x = 'stage_0/video'", "re.compile('stage_([0-9]+)')", "p / 'zarr.json'"):
        assert by_hand(code), code
    for code in ("'''such as `stage_0/video`'''", "kind == 'stage_end'", "e('its zarr.json cannot be read')"):
        assert not by_hand(code), code


def test_what_is_made_is_parsed() -> None:
    for index in (0, 7, 10, 999_999):
        assert paths.parse(paths.stage(index)) == (index, None, None)
        assert paths.parse(paths.stream(index, "video")) == (index, "video", None)
        assert paths.parse(f"{paths.stream(index, 'audio')}/sigma") == (index, "audio", "sigma")
        assert paths.parse_snapshot(paths.snapshot(index, 12)) == (index, 12)
        assert paths.is_part(paths.stage(index))
    assert paths.parse_tensor(paths.tensor("audio", "x0")) == ("audio", "x0")
    for node in ("", "events", "stage_0/video/sigma"):
        assert paths.parse_document(paths.document(node)) == node
    for axes in (1, 2, 5):
        key, array = paths.chunk(3, axes), "stage_0/video/sigma"
        assert key.count("/") == axes and paths.parse_chunk(f"{array}/{key}") == (array, key)
    assert paths.chunk(0, 0) == "c"


@pytest.mark.parametrize(
    "path",
    [
        "", "stage_", "stage_x", "stage_-1", "stage_00", "stage_1000000", "stage_\u0661", "stage_0/", "stage_0/../x",
        "stage_0/video/sigma/c", "stage_0\n", " stage_0", "stage_0_step_1", f"stage_0/{'x' * 65}", "events",
    ],
)  # fmt: skip
def test_other_paths_are_not_parsed(path: str) -> None:
    assert paths.parse(path) is None and paths.parse_snapshot(path) is None
    assert paths.parse_document(path) is None and paths.parse_chunk(path) is None


def test_names_of_arrays_that_are_no_metrics_are_reserved() -> None:
    assert {"step", "time", "preview", "latents", "x0", "c"} <= paths.RESERVED
