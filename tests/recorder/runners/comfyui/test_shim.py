"""`ltxtui comfy install` and `uninstall`: one file, ours alone, and a ComfyUI that starts in any case."""

from __future__ import annotations

import logging
import runpy
import sys
import types
from pathlib import Path

import pytest
from click.testing import CliRunner

from ltxtui.cli import cli
from recorder.runners.comfyui import shim
from tests.recorder.runners.comfyui.fakes import comfyui_folder


def comfy(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(cli, ["comfy", *map(str, words)], standalone_mode=True)
    return done.exit_code, done.output


def test_installing_twice_changes_nothing_the_second_time(tmp_path: Path) -> None:
    folder = comfyui_folder(tmp_path)
    code, output = comfy("install", folder)
    assert (code, output.splitlines()[0]) == (0, f"installed: {folder}/custom_nodes/{shim.NAME}")
    text = (folder / "custom_nodes" / shim.NAME).read_text()
    code, output = comfy("install", tmp_path)  # the folder that holds it, as of a portable installation
    assert (code, output.splitlines()[0]) == (0, f"already installed: {folder}/custom_nodes/{shim.NAME}")
    assert (folder / "custom_nodes" / shim.NAME).read_text() == text


def test_the_setting_is_changed_by_installing_again(tmp_path: Path) -> None:
    folder = comfyui_folder(tmp_path)
    assert shim.install(folder)[1]
    path, changed = shim.install(folder, record_all=True)
    assert changed and "RECORD_ALL = True" in path.read_text()
    path, changed = shim.install(folder)
    assert changed and "RECORD_ALL = False" in path.read_text()


def test_uninstalling_removes_the_shim_only(tmp_path: Path) -> None:
    folder = comfyui_folder(tmp_path)
    comfy("install", folder)
    assert comfy("uninstall", folder) == (0, f"removed: {folder}/custom_nodes/{shim.NAME}\n")
    assert [p.name for p in (folder / "custom_nodes").iterdir()] == ["example.py"]
    assert comfy("uninstall", folder) == (0, f"not installed: {folder}/custom_nodes/{shim.NAME}\n")


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_another_folder_is_refused_in_one_line(tmp_path: Path, command: str) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        done = CliRunner().invoke(cli, ["comfy", command, str(folder)])
        assert done.exit_code == 1
        assert done.output.count("\n") == 1 and "ComfyUI" in done.output, done.output
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["install", "uninstall"])
def test_a_file_of_another_program_stays(tmp_path: Path, command: str) -> None:
    folder = comfyui_folder(tmp_path)
    other = folder / "custom_nodes" / shim.NAME
    other.write_text("NODE_CLASS_MAPPINGS = {}\n")
    code, output = comfy(command, folder)
    assert code == 1 and output.count("\n") == 1
    assert other.read_text() == "NODE_CLASS_MAPPINGS = {}\n"
    other.unlink()
    other.symlink_to(folder / "nodes.py")
    assert comfy(command, folder)[0] == 1
    assert other.is_symlink()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    folder = comfyui_folder(tmp_path)
    (folder / "custom_nodes" / "example.py").unlink()
    (folder / "custom_nodes").rmdir()
    (folder / "custom_nodes").write_text("")
    code, output = comfy("install", folder)
    assert code == 1 and output.count("\n") == 1


def test_without_ltxtui_the_shim_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, _ = shim.install(comfyui_folder(tmp_path))
    monkeypatch.setitem(sys.modules, "recorder.runners.comfyui.nodes", None)
    with caplog.at_level(logging.WARNING):
        found = runpy.run_path(str(path))
    assert found["NODE_CLASS_MAPPINGS"] == {}
    (line,) = caplog.messages
    assert f"{sys.executable} -m pip install ltxtui" in line and "\n" not in line


def test_a_package_that_fails_does_not_reach_comfyui(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, _ = shim.install(comfyui_folder(tmp_path))
    monkeypatch.setitem(sys.modules, "recorder.runners.comfyui.nodes", types.ModuleType("nodes"))
    assert runpy.run_path(str(path))["NODE_CLASS_MAPPINGS"] == {}
