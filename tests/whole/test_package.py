"""The package as it is installed: one version, its own siblings, bounds that are tested, targets that are explained."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import ltxtui
from recorder.format.version import VERSION
from recorder.sampling.metadata import versions

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())


def start(*arguments: str, cwd: Path, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`ltxtui` by its entry point, in a process; `path` is a folder on PYTHONPATH before the checkout."""
    module, _, function = PROJECT["project"]["scripts"]["ltxtui"].partition(":")
    return subprocess.run(
        [sys.executable, "-P", "-c", f"from {module} import {function}; {function}()", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, filter(None, (path, ROOT))))},
        capture_output=True,
        text=True,
        check=False,
    )


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1, (done.stdout, done.stderr)
    return done.stderr.strip()


def test_the_version_stands_in_one_place(tmp_path: Path) -> None:
    assert "version" not in PROJECT["project"] and PROJECT["project"]["dynamic"] == ["version"]
    assert ROOT / PROJECT["tool"]["hatch"]["version"]["path"] == ROOT / "recorder" / "format" / "version.py"
    assert ltxtui.__version__ == versions()["ltxtui"] == version("ltxtui") == VERSION
    assert start("--version", cwd=tmp_path).stdout == f"ltxtui, version {VERSION}\n"
    copies = subprocess.run(["git", "grep", "-lF", f'"{VERSION}"', "--", "*.py", "*.toml", "*.cff"], cwd=ROOT, **_TEXT)
    assert copies.returncode != 0 or copies.stdout.split() == ["recorder/format/version.py"]


_TEXT: dict[str, Any] = {"capture_output": True, "text": True, "check": False}


@pytest.mark.parametrize("name", ["recorder", "replay"])
@pytest.mark.parametrize("layout", ["package", "module"])
def test_a_package_that_hides_ours_is_named(name: str, layout: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    file = other / name / "__init__.py" if layout == "package" else other / f"{name}.py"
    file.parent.mkdir(parents=True)
    file.write_text("raise SystemExit('the code of another package ran')\n")
    said = one_line(start("runs", cwd=tmp_path, path=other))
    assert said.startswith(f"ltxtui: {file} hides its package {name!r}; leave that folder or remove it from PYTHONPATH")


@pytest.mark.parametrize("code", ["__all__ = ['record', 'replay']", "import something_that_is_missing", ""])
@pytest.mark.parametrize("name", ["recorder", "replay"])
def test_a_package_that_was_written_over_ours_is_named(name: str, code: str, tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    for package in ("ltxtui", "recorder", "replay"):
        if package != name:
            (site / package).symlink_to(ROOT / package)
    (site / name).mkdir()
    (site / name / "__init__.py").write_text(code + "\n")
    metadata = site / "other_thing-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: other-thing\nVersion: 1.0\n")
    (metadata / "top_level.txt").write_text(f"{name}\n")
    said = one_line(start("--version", cwd=tmp_path, path=site))
    assert f"its package {name!r} in {site} was overwritten by another distribution (other-thing)" in said
    assert said.endswith("install ltxtui in an environment of its own")


def test_a_package_that_is_gone_is_named(tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "replay").mkdir(parents=True)  # what an uninstalled package of the same name leaves
    for package in ("ltxtui", "recorder"):
        (site / package).symlink_to(ROOT / package)
    code = f"import sys; sys.path[:] = [{str(site)!r}, *(p for p in sys.path if {str(ROOT)!r} != p)]; "
    code += "sys.meta_path = [f for f in sys.meta_path if 'editable' not in repr(f).lower()]; "
    code += "from ltxtui.__main__ import main; main()"
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, **_TEXT)
    assert one_line(done).startswith(f"ltxtui: its package 'replay' is missing from {site};")


def test_no_command_is_slowed_by_the_check(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom ltxtui.__main__ import foreign_package\nassert foreign_package() is None\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, **_TEXT)
    assert not {"importlib.metadata", "numpy", "torch", "click"} & set(done.stdout.split()), done.stderr


def test_the_lowest_versions_are_the_bounds_of_the_base() -> None:
    bounds = dict(
        re.fullmatch(r"([\w-]+)>=([\d.]+)(?:,<[\d.]+)?", line).groups()  # type: ignore[union-attr]
        for line in PROJECT["project"]["dependencies"]
    )
    lines = re.findall(r"^([\w-]+)==([\d.]+)", (ROOT / "constraints-lowest.txt").read_text(), re.M)
    for name, bound in bounds.items():
        lowest = next(v for n, v in lines if n == name)
        assert lowest == bound or re.fullmatch(re.escape(bound) + r"(\.0)+", lowest), name


def test_the_base_is_light_and_the_extra_true() -> None:
    base = " ".join(PROJECT["project"]["dependencies"])
    assert not re.search(r"torch|diffusers|transformers|xarray|pytest", base)
    assert "transformers>=5.10.1" in PROJECT["project"]["optional-dependencies"]["ltx"]
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text().splitlines()


def test_each_package_has_types() -> None:
    assert all((ROOT / package / "py.typed").is_file() for package in ("ltxtui", "recorder", "replay"))


def test_the_matrix_names_tests_that_are_there() -> None:
    named = re.findall(r'"(tests/[^"]+)"', (ROOT / ".ci" / "matrix.py").read_text())
    assert named and [name for name in named if not (ROOT / name).is_file()] == []


def test_every_target_of_make_is_explained() -> None:
    text = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text, re.M)
    assert set(re.findall(r"^([a-z]+):.*  ## [A-Z].*\.$", text, re.M)) == set(phony.split())


def test_messages_do_not_speak_of_a_checkout() -> None:
    """What an installed user reads names what that user can do."""
    found = []
    for package in ("ltxtui", "recorder", "replay"):
        for path in (ROOT / package).rglob("*.py"):
            if re.search(r"checkout|constraints\.txt|git pull|pip install '?\.", path.read_text()):
                found.append(path)
    assert found == []


def test_the_site_has_every_page() -> None:
    nav = set(re.findall(r"^ +- .*?: ([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.M))
    assert nav == {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
