"""`make matrix`: the viewer at the lowest and newest versions of its dependencies, on each Python that is installed.

Every combination gets an environment of its own, without torch, in which the viewer's part of the suite runs. Lowest
versions come from `constraints-lowest.txt`; newest ones are what the package index has. `--python 3.12` and `--versions
lowest` choose some of the combinations.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = ("3.11", "3.12", "3.13")
LOWEST = "constraints-lowest.txt"
VERSIONS = ("lowest", "newest")
TOOLS = ("pytest", "pytest-asyncio", "hypothesis")
TESTS = (
    "tests/replay/test_catalog.py",
    "tests/replay/test_short_journals.py",
    "tests/replay/test_sweep_statistics.py",
    "tests/ltxtui/test_compare_screen.py",
    "tests/ltxtui/test_deck.py",
    "tests/ltxtui/test_drawing.py",
    "tests/ltxtui/test_export.py",
    "tests/ltxtui/test_home.py",
    "tests/ltxtui/test_panels_heat.py",
    "tests/ltxtui/test_run_screen.py",
    "tests/ltxtui/test_settings.py",
    "tests/ltxtui/test_text.py",
)
"""The viewer's part of the suite: what needs no torch, and draws, reads or lists."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--python", choices=PYTHONS, action="append", help="only this Python; several times for several"
    )
    parser.add_argument("--versions", choices=VERSIONS, action="append", help="only these versions")
    chosen = parser.parse_args()
    results: dict[str, str] = {}
    for python in chosen.python or PYTHONS:
        interpreter = found(python)
        if interpreter is None:
            results[f"Python {python}"] = "SKIPPED: it is not installed"
            continue
        for versions in chosen.versions or VERSIONS:
            name = f"Python {python}, {versions}"
            print(f"== {name}", flush=True)
            results[name] = tried(interpreter, versions)
    print()
    for name, result in results.items():
        print(f"{name:22}{result}")
    sys.exit(any(result.startswith("FAILED") for result in results.values()))


def found(version: str) -> str | None:
    """An interpreter of a version: on PATH, or one that pyenv has. A shim that starts nothing does not count."""
    for command in candidates(version):
        try:
            done = subprocess.run([command, "-c", "import venv, ensurepip, sys; print(sys.version_info[:2])"], **_QUIET)
        except OSError:
            continue
        if done.stdout.strip() == f"({version.replace('.', ', ')})":
            return command
    return None


_QUIET = {"capture_output": True, "text": True, "check": False}


def candidates(version: str) -> Iterator[str]:
    yield f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python")))


def tried(interpreter: str, versions: str) -> str:
    """The outcome of one combination, in a few words."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ltxtui-matrix-") as made:
        python = Path(made, "env", "bin", "python")
        tools = Path(made, "tools.txt")
        tools.write_text("\n".join(pinned(TOOLS)))
        constraints = ["-c", str(tools), *(("-c", str(ROOT / LOWEST)) if versions == "lowest" else ())]
        install = [python, "-m", "pip", "install", "--quiet", "--only-binary", ":all:", *constraints]
        if subprocess.run([interpreter, "-m", "venv", python.parent.parent]).returncode:
            return "FAILED: no environment could be made"
        if subprocess.run([*install, *dependencies(), *TOOLS], cwd=made).returncode:
            return "FAILED: its dependencies could not be installed"
        said = subprocess.run([python, "-m", "pip", "list", "--format", "freeze"], **_QUIET).stdout
        print(" ".join(line for line in said.split() if names([line]) <= names(dependencies())), flush=True)
        tests = [
            python,
            "-m",
            "pytest",
            "-o",
            "addopts=",
            "-q",
            "--durations=3",
            "-p",
            "no:cacheprovider",
            "--basetemp",  # pytest would otherwise also remove what earlier suites left, which may take minutes
            Path(made, "tests"),
            *TESTS,
        ]
        done = subprocess.run(tests, cwd=ROOT, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"})
    seconds = f"in {time.monotonic() - began:.0f} s"
    return (
        f"passed {seconds}"
        if done.returncode == 0
        else f"FAILED: the tests end with status {done.returncode} {seconds}"
    )


def dependencies() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return list(project["dependencies"])


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^A-Za-z0-9_-]", r)[0].lower() for r in requirements}


def pinned(tools: tuple[str, ...]) -> list[str]:
    """The lines of constraints.txt about some packages."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return [line for line in lines if line.partition("==")[0] in tools]


if __name__ == "__main__":
    main()
