"""Every test that the pages on reliability and metrics name exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = "\n".join((ROOT / f"docs/{name}.md").read_text(encoding="utf-8") for name in ("reliability", "metrics"))


def test_the_page_names_only_tests_that_exist() -> None:
    defined = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    # `file.py::test_name`, or `…_name` where the line before says which file; the end may be left out with `…`.
    named = re.findall(r"(?:::|`…_)(?:test_)?([a-z0-9_]+)", PAGE)
    assert len(named) > 100
    assert [name for name in named if f"def test_{name}" not in defined] == []


def test_the_page_names_only_files_that_exist() -> None:
    files = set(re.findall(r"`(tests/[\w/]+\.py|benchmarks/[\w/]+\.py)", PAGE))
    assert files and [name for name in sorted(files) if not (ROOT / name).exists()] == []
