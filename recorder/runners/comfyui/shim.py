"""The one file that makes ComfyUI load ltxtui's nodes: its text, where it goes, and how it is removed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from recorder.system.open_folders import make_folders, replace_file

MARK: Final = "# ltxtui's shim for ComfyUI: `ltxtui comfy install` writes it, `ltxtui comfy uninstall` removes it."
"""First line of the file, by which it is recognised."""
NAME: Final = "ltxtui_nodes.py"
"""Not `ltxtui.py`: with its folder on `sys.path` that would hide the package."""
_PROOF: Final = ("comfy/samplers.py", "comfy/model_patcher.py", "nodes.py")
"""Files that every ComfyUI has."""

_TEXT: Final = """{mark}
import logging
import sys

RECORD_ALL = {record_all}  # True: every LTX sampling is recorded, without a node in the graph

NODE_CLASS_MAPPINGS = {{}}
NODE_DISPLAY_NAME_MAPPINGS = {{}}
try:
    from recorder.runners.comfyui.nodes import load
except Exception as error:
    logging.getLogger("ltxtui").warning(
        "ltxtui: nothing is recorded (%s: %s); install it where ComfyUI runs with: %s -m pip install ltxtui",
        type(error).__name__, error, sys.executable,
    )
else:
    NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS = load(RECORD_ALL)
"""


class CannotInstall(ValueError):
    """The shim cannot be written or removed there; the message has the reason and what would work."""


def shim_text(record_all: bool) -> str:
    """The file; `record_all` records every LTX sampling without a node in the graph."""
    return _TEXT.format(mark=MARK, record_all=record_all)


def comfyui_folder(given: Path) -> Path:
    """The folder of ComfyUI that a path names: itself, or `ComfyUI` in it, as in a portable installation.

    Raises:
        CannotInstall: if neither is one.
    """
    for folder in (given, given / "ComfyUI"):
        if all((folder / part).is_file() for part in _PROOF):
            return folder
    if not given.is_dir():
        raise CannotInstall(f"{given} is not a folder; name the folder of ComfyUI, which holds main.py and nodes.py")
    raise CannotInstall(f"{given} is not ComfyUI: it has no {_PROOF[0]}; name the folder that holds main.py")


def install(given: Path, record_all: bool = False) -> tuple[Path, bool]:
    """Write the shim into `custom_nodes`.

    Returns:
        Its path, and whether anything changed.

    Raises:
        CannotInstall: if the folder is not ComfyUI, or another program has a file of that name.
        OSError: if it cannot be written.
    """
    path = comfyui_folder(given) / "custom_nodes" / NAME
    text = shim_text(record_all)
    if path.exists() or path.is_symlink():
        if not is_shim(path):
            raise CannotInstall(f"{path} exists and is not ltxtui's; move it away first")
        if path.read_text(encoding="utf-8") == text:
            return path, False
    make_folders(path.parent)
    replace_file(path, text.encode())
    return path, True


def uninstall(given: Path) -> tuple[Path, bool]:
    """Remove the shim from `custom_nodes`; nothing else is touched.

    Returns:
        Its path, and whether it was there.

    Raises:
        CannotInstall: if the folder is not ComfyUI, or the file of that name is not the shim.
        OSError: if it cannot be removed.
    """
    path = comfyui_folder(given) / "custom_nodes" / NAME
    if not path.exists() and not path.is_symlink():
        return path, False
    if not is_shim(path):
        raise CannotInstall(f"{path} is not ltxtui's, so it stays")
    path.unlink()
    return path, True


def is_shim(path: Path) -> bool:
    """Whether a file begins as the shim does; a link is never one."""
    if path.is_symlink() or not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MARK.encode())) == MARK.encode()
