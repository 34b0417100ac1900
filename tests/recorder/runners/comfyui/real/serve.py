"""A real ComfyUI server, headless on the CPU: `python -m … ROOT BASE PORT`.

`BASE` holds custom_nodes, output and user folders, so that the checkout stays as it is.
"""

from __future__ import annotations

import runpy
import sys

from tests.recorder.runners.comfyui.real import starting


def main(root: str, base: str, port: str) -> None:
    starting.stand_in()
    sys.path.insert(0, root)
    sys.argv = [
        "main.py", *starting.OPTIONS, "--base-directory", base, "--port", port,
        "--disable-api-nodes", "--front-end-root", f"{base}/web", "--disable-auto-launch",
        "--database-url", f"sqlite:///{base}/comfyui.db",
    ]  # fmt: skip
    import torch

    torch.set_num_threads(1)
    runpy.run_path(f"{root}/main.py", run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:4])
