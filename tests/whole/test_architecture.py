"""The pages name folders, modules and names that exist, and docs/architecture.md names every folder and contract."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("recorder", "replay", "ltxtui")
ARCHITECTURE = "docs/architecture.md"
PAGES = (
    ARCHITECTURE,
    "docs/benchmarks.md",
    "docs/clusters.md",
    "docs/comfyui.md",
    "docs/contributing.md",
    "docs/export.md",
    "docs/findings.md",
    "docs/index.md",
    "docs/metrics.md",
    "docs/nano.md",
    "docs/reliability.md",
    "docs/remote.md",
    "docs/runners.md",
    "docs/running.md",
    "docs/shock-study.md",
    "docs/sharing.md",
    "docs/shocks.md",
    "docs/stores.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
)
WITH_CODE = (*PACKAGES, "benchmarks", "tests", "docs")

_FOLDERS = "|".join(WITH_CODE)
_DOTTED = re.compile(rf"(?<![\w./-])(?:{'|'.join((*PACKAGES, 'benchmarks'))})(?:\.[A-Za-z_]\w*)+(?![\w/])")
_FILE = re.compile(r"(?<![\w./*-])(\.?\w[\w.-]*/)*\w+\.py\b")
_FOLDER = re.compile(rf"(?<![\w./-])(?:{_FOLDERS})/(?:\w+/)*(?!\w)")
_TEST = re.compile(r"\b((?:\w+/)*test_\w+\.py)::(\w+)(…?)")
"""A test in a file; `…` stands for the rest of its name."""
_IMPORT = re.compile(rf"^\s*from ((?:{'|'.join(PACKAGES)})[\w.]*) import ([\w, ]+)$", re.MULTILINE)
_CELL = re.compile(r"^\| `([\w/]+/)` \| (.*) \|$", re.MULTILINE)


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


@cache
def python_files() -> frozenset[str]:
    folders = [path for name in (*WITH_CODE, ".ci") for path in (ROOT / name).rglob("*.py")]
    return frozenset(path.relative_to(ROOT).as_posix() for path in folders)


def module_file(name: str) -> Path | None:
    base = ROOT / name.replace(".", "/")
    return next((path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()), None)


@cache
def names_in(file: Path) -> frozenset[str]:
    """What a module defines or imports at its top level, and what its `__all__` lists."""
    found: set[str] = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found.update(alias.asname or alias.name for alias in node.names)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                found.update(name.id for name in ast.walk(target) if isinstance(name, ast.Name))
            if "__all__" in found and isinstance(node.value, ast.List | ast.Tuple):
                found.update(ast.literal_eval(node.value))
    return frozenset(found)


def exists(dotted: str) -> bool:
    """Whether a dotted name is a module, or a name in the longest part of it that is a module."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        file = module_file(".".join(parts[:length]))
        if file is not None:
            return length == len(parts) or parts[length] in names_in(file)
    return False


def missing(text: str) -> Iterator[str]:
    """What a page names and the tree does not have."""
    for found in _FILE.finditer(text):
        path = found[0]
        if path not in python_files() and ("/" in path or not any(f.endswith(f"/{path}") for f in python_files())):
            yield path
    for found in _FOLDER.finditer(text):
        if not (ROOT / found[0]).is_dir():
            yield found[0]
    for found in _DOTTED.finditer(text):
        if not found[0].endswith((".py", ".md")) and not exists(found[0]):
            yield found[0]
    for found in _TEST.finditer(text):
        files = [f for f in python_files() if f == found[1] or f.endswith(f"/{found[1]}")]
        tests = [name for f in files for name in names_in(ROOT / f)]
        if not any(name == found[2] or (found[3] and name.startswith(found[2])) for name in tests):
            yield found[0]
    for found in _IMPORT.finditer(text):
        yield from (f"{found[1]}.{n.strip()}" for n in found[2].split(",") if not exists(f"{found[1]}.{n.strip()}"))


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_names_exists(page: str) -> None:
    assert list(missing(text_of(page))) == []


def test_every_page_is_looked_at() -> None:
    elsewhere = {"docs/recipes.md"}  # it names files of other repositories
    assert {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")} == {
        page for page in PAGES if page.startswith("docs/")
    } | elsewhere


@pytest.mark.parametrize(
    "text",
    [
        "`recorder/metrics/fourier.py`",
        "`recorder/wards/`",
        "`recorder.metrics.fourier`",
        "`replay.sources.open.closed`",
        "`python -m benchmarks.nothing`",
        "`fourier.py`",
        "`test_measures.py::test_nothing`",
        "from replay import compare, nothing",
    ],
)
def test_what_does_not_exist_is_found(text: str) -> None:
    assert list(missing(text))


def test_what_exists_is_not_reported() -> None:
    text = (
        "`recorder/metrics/step.py`, `replay/`, `recorder.metrics.step.Step`, `replay.load(path)`, `test_measures.py`, "
        "`ltxtui.__version__`, ltxtui/config.toml, `.ci/matrix.py`.\nfrom recorder import Shock, nano, record\n"
    )
    assert list(missing(text)) == []


def folders() -> set[str]:
    """Every folder of the packages that has modules."""
    found = {path.parent.relative_to(ROOT).as_posix() for name in PACKAGES for path in (ROOT / name).rglob("*.py")}
    return {f"{folder}/" for folder in found}


def described() -> dict[str, str]:
    """By folder, the line that the page has on it."""
    page = text_of(ARCHITECTURE)
    _, _, section = page.partition("\n## Folders\n")
    return dict(_CELL.findall(section.partition("\n## ")[0]))


def test_the_page_has_a_line_on_every_folder() -> None:
    assert set(described()) == folders()


def test_a_folders_line_names_modules_of_that_folder() -> None:
    wrong = [
        f"{folder}{name}"
        for folder, line in described().items()
        for name in re.findall(r"`(\w+)`", line)
        if not (ROOT / folder / f"{name}.py").is_file()
    ]
    assert wrong == []


def test_the_page_has_a_line_on_every_import_contract() -> None:
    settings = tomllib.loads(text_of("pyproject.toml"))
    contracts = [contract["name"] for contract in settings["tool"]["importlinter"]["contracts"]]
    _, _, section = text_of(ARCHITECTURE).partition("\n## Import contracts\n")
    lines = re.findall(r"^\| (.*?) \|", section.partition("\n## ")[0], re.MULTILINE)
    assert lines[2:] == contracts


def test_the_page_says_what_replay_imports_of_the_recorder() -> None:
    """One row for each part of the recorder that replay imports, whenever it does."""
    used = set()
    for path in (ROOT / "replay").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("recorder."):
                used.add(node.module.split(".")[1])
    _, _, section = text_of(ARCHITECTURE).partition("\n## What writers and readers share\n")
    rows = re.findall(r"^\| `recorder/(\w+)/", section.partition("\n## ")[0], re.MULTILINE)
    assert set(rows) == used
