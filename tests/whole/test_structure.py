"""The shape of the source tree: few entries per folder, short modules, no circles of imports, one meaning per name."""

from __future__ import annotations

import ast
import statistics
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("recorder", "replay", "ltxtui")
MAX_TOP_LEVEL = 18
MAX_MODULES_IN_A_FOLDER = 28
MAX_LINES = 350
MAX_MEDIAN_LINES = 150
LIGHT = {"py.typed", "__pycache__"}


@cache
def modules() -> dict[str, Path]:
    """Every module of the three packages by its dotted name; a package goes by the name of its folder."""
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(modules()[name].read_text(encoding="utf-8"))


def test_the_top_level_of_a_package_has_few_entries() -> None:
    for package in PACKAGES:
        entries = {p.name for p in (ROOT / package).iterdir()} - LIGHT
        assert len(entries) <= MAX_TOP_LEVEL, f"{package}: {sorted(entries)}"


def test_no_folder_has_too_many_modules() -> None:
    folders: dict[Path, int] = defaultdict(int)
    for path in modules().values():
        folders[path.parent] += 1
    crowded = {str(f.relative_to(ROOT)): n for f, n in folders.items() if n > MAX_MODULES_IN_A_FOLDER}
    assert not crowded


def lengths() -> dict[str, int]:
    return {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}


def test_no_module_is_too_long() -> None:
    assert not {name: count for name, count in lengths().items() if count > MAX_LINES}


def test_most_modules_are_short() -> None:
    assert statistics.median(lengths().values()) <= MAX_MEDIAN_LINES


def _imports(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Import statements at any depth, those inside functions included; not those for type checkers only."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield node
    elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for child in node.orelse:
            yield from _imports(child)
    else:
        for child in ast.iter_child_nodes(node):
            yield from _imports(child)


def imported(name: str) -> set[str]:
    """Modules of the three packages that a module imports, whenever that happens."""
    found: set[str] = set()
    for node in _imports(tree(name)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        else:
            assert node.level == 0 and node.module is not None, f"{name}: relative import in line {node.lineno}"
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found.add(inner if inner in modules() else node.module)
    return found & modules().keys()


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import one another, directly or through others (Tarjan's algorithm)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(name: str) -> None:
        number[name] = lowest[name] = len(number)
        stack.append(name)
        for other in graph[name]:
            if other not in number:
                visit(other)
                lowest[name] = min(lowest[name], lowest[other])
            elif other in stack:
                lowest[name] = min(lowest[name], number[other])
        if lowest[name] == number[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1 or name in graph[name]:
                found.append(sorted(group))

    for name in graph:
        if name not in number:
            visit(name)
    return found


def test_no_modules_import_one_another() -> None:
    assert circles({name: imported(name) for name in modules()}) == []


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        ({"a": {"b"}, "b": {"c"}, "c": set()}, []),
        ({"a": {"b"}, "b": {"a"}, "c": {"a"}}, [["a", "b"]]),
        ({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"d"}}, [["a", "b", "c"], ["d"]]),
    ],
)
def test_circles_are_found(graph: dict[str, set[str]], expected: list[list[str]]) -> None:
    assert sorted(circles(graph)) == expected


def test_imports_inside_functions_count_and_those_for_type_checkers_do_not() -> None:
    source = "if TYPE_CHECKING:\n    import a\nelse:\n    import b\ndef f():\n    from c import d\n"
    assert [ast.unparse(node) for node in _imports(ast.parse(source))] == ["import b", "from c import d"]


def test_no_class_name_stands_for_two_things() -> None:
    classes: dict[str, list[str]] = defaultdict(list)
    for name in modules():
        for node in tree(name).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                classes[node.name].append(name)
    assert not {name: where for name, where in classes.items() if len(where) > 1}


def test_tests_name_no_module_in_a_string() -> None:
    """`monkeypatch.setattr("package.module.name", …)` escapes type checkers and renames."""
    found = []
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setattr":
                target = node.args[0] if node.args else None
                if isinstance(target, ast.Constant) and str(target.value).split(".")[0] in (*PACKAGES, "benchmarks"):
                    found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found
