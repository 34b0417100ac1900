"""Run in a process of its own: ComfyUI loads the nano checkpoint, and calls it once.

`python -m tests.interop.comfyui_call COMFYUI CHECKPOINT CALL OUT`: CALL is a safetensors file with latents `video`
[B, C, F, H, W] and `audio` [B, C, L, M], `sigma` [B] and `context` [B, tokens, video + audio width]; OUT gets the
velocities. Prints one JSON object: what `Loaded.about` says.
"""

from __future__ import annotations

import json
import sys

from recorder import nano
from tests.interop.comfyui_process import Loaded


def main(root: str, checkpoint: str, call: str, out: str) -> None:
    loaded = Loaded(root, checkpoint)
    import torch
    from safetensors.torch import load_file, save_file

    given = load_file(call)
    with torch.no_grad():
        video, audio = loaded.network(
            [given["video"], given["audio"]], given["sigma"], given["context"], frame_rate=nano.CALL["frame_rate"]
        )
    save_file({"video": video.contiguous(), "audio": audio.contiguous()}, out)
    print(json.dumps(loaded.about()))


if __name__ == "__main__":
    main(*sys.argv[1:])
