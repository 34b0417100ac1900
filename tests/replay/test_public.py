"""What `replay` offers to users: its names, light to import, and typed for their type checkers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

import replay

ROOT = Path(__file__).parents[2]
PACKAGES = ("recorder", "replay", "ltxtui")


def test_the_exported_names() -> None:
    assert replay.__all__ == ["Comparison", "NotARun", "Run", "compare", "load", "open_run"]
    assert set(replay.__all__) <= set(dir(replay))
    for name in replay.__all__:
        found = getattr(replay, name)
        assert found.__name__ == name and found.__doc__
    assert not hasattr(replay, "nothing")


HEAVY = {"msgpack", "numpy", "xarray", "zarr"}


def test_importing_it_loads_none_of_what_its_names_need() -> None:
    code = "import replay, sys; print(*{m.partition('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.split())


SCRIPT = """
import ltxtui.settings
from recorder import Shock, record
from replay import Comparison, NotARun, Run, compare, load, open_run

reveal_type(record)
reveal_type(Shock("restart", at=0.9, strength_db=3.0))
reveal_type(load("a.zarr"))
reveal_type(load("a.zarr").stages[0].streams["video"].values("sigma"))
reveal_type(compare([load("a.zarr"), load("b.zarr")]))
reveal_type(open_run("a.zarr"))
reveal_type(ltxtui.settings)
with record(runs_dir="runs") as run:
    reveal_type(run.path)
load(7)
"""
REVEALED = [
    r"def \(.*runs_dir: .*\) -> recorder\.session\.Recording",
    r"recorder\.shocks\.spec\.Shock",
    r"replay\.model\.run\.Run",
    r"numpy\.ndarray\[.*float.*32.*\]",
    r"replay\.comparison\.compare\.Comparison",
    r"xarray\..*DataTree",
    r"types\.ModuleType",
    r"pathlib\.Path",
]
# What takes mypy long to read and says nothing of our types.
CONFIG = "[mypy]\nstrict = True\n" + "".join(
    f"[mypy-{name}.*]\nfollow_imports = skip\n" for name in ("torch", "diffusers", "transformers", "accelerate")
)


@pytest.mark.slow
def test_a_type_checker_finds_the_types_of_an_installed_package(tmp_path: Path) -> None:
    """In a separate environment that has the packages as a wheel installs them, from another folder."""
    venv.create(tmp_path / "env", symlinks=True)
    site = next((tmp_path / "env").glob("lib/python*/site-packages"))
    for package in PACKAGES:
        ignore = shutil.ignore_patterns("__pycache__", "weights")
        shutil.copytree(ROOT / package, site / package, ignore=ignore)
    # Everything else is that of this environment, without the checkout, which it may have been installed from.
    (folder := tmp_path / "elsewhere").mkdir()
    (folder / "mypy.ini").write_text(CONFIG)
    (folder / "script.py").write_text(SCRIPT)
    others = tmp_path / "others"
    others.mkdir()
    for found in Path(sysconfig.get_path("purelib")).iterdir():
        if found.suffix != ".pth" and found.name not in PACKAGES:
            (others / found.name).symlink_to(found)
    (site / "others.pth").write_text(f"{others}\n")
    interpreter = str(tmp_path / "env" / "bin" / "python")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--python-executable",
            interpreter,
            "--cache-dir",
            str(folder / "cache"),
            "script.py",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
    )
    revealed = re.findall(r'note: Revealed type is "(.*)"', done.stdout)
    assert len(revealed) == len(REVEALED), done.stdout + done.stderr
    for found, expected in zip(revealed, REVEALED, strict=True):
        assert re.search(expected, found), done.stdout
    errors = [line for line in done.stdout.splitlines() if " error: " in line]
    assert len(errors) == 1 and 'Argument 1 to "load"' in errors[0], done.stdout
