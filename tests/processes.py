"""Programs that tests run as real processes: a recorder and a viewer."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any


def recorder(runs_dir: str, steps: str, pause: str) -> None:
    """Record a small unguided nano run, pausing after every step; prints the socket once there is one."""
    import torch

    from recorder import nano, record
    from tests.conftest import UNGUIDED, nano_call

    torch.set_num_threads(1)

    def wait(pipe: Any, step: int, timestep: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
        time.sleep(float(pause))
        return kwargs

    pipe = nano.load()
    pipe.set_progress_bar_config(disable=True)
    with record(pipe, runs_dir=runs_dir) as run:
        print(json.dumps({"socket": str(run.socket_path), "path": str(run.path)}), flush=True)
        pipe(**nano_call(steps=int(steps), callback_on_step_end=wait, **UNGUIDED))
    print("done", flush=True)


def faulty(runs_dir: str, steps: str, gate: str, factor: str, stop_if: str) -> None:
    """Record as `recorder` does; something multiplies the latents after the fourth step. Prints how it ended.

    With the factor `swap`, the model's last prediction has other things in the last frames of a longer clip instead.
    After the second step the loop waits until the file `gate` exists, so that a viewer can come in time.
    """
    import torch

    from recorder import nano, record
    from tests.conftest import UNGUIDED, nano_call

    torch.set_num_threads(1)

    swap, longer = factor == "swap", {"num_frames": 65}

    def change(pipe: Any, step: int, timestep: Any, tensors: dict[str, Any]) -> dict[str, Any]:
        while step == 1 and gate and not Path(gate).exists():
            time.sleep(0.01)
        return {"latents": tensors["latents"] * (float(factor) if step == 3 and not swap else 1.0)}

    calls: list[float] = []

    def swapped(module: Any, given: Any, named: dict[str, Any], predicted: Any) -> Any:
        level = float(named["timestep"].flatten()[0]) / 1000
        calls.append(level)
        if len(calls) < int(steps):
            return predicted
        sample, velocity = named["hidden_states"], predicted[0]
        clean = sample - level * velocity
        clean[:, clean.shape[1] * 7 // 9 :] *= -1.5
        return (sample - clean) / level, *predicted[1:]

    pipe = nano.load()
    pipe.set_progress_bar_config(disable=True)
    if swap:
        pipe.transformer.register_forward_hook(swapped, with_kwargs=True)
    more = {"callback_on_step_end": change, "callback_on_step_end_tensor_inputs": ["latents"]}
    with record(pipe, runs_dir=runs_dir, stop_if=stop_if.split()) as run:
        print(json.dumps({"socket": str(run.socket_path), "path": str(run.path)}), flush=True)
        pipe(**nano_call(steps=int(steps), **more, **UNGUIDED, **(longer if swap else {})))
    print(json.dumps({"status": run.status, "rows": run.rows}), flush=True)


def viewer(socket_path: str, out: str) -> None:
    """Receive a run until it ends, noting every row once it has been received."""
    from benchmarks.single_rows import single_rows
    from replay.sources.open import Liveness, SocketSource

    source = SocketSource(Path(socket_path))
    with Path(out).open("w") as file:
        while True:
            messages = source.poll()
            for m in single_rows(messages):
                row = {k: m.get(k) for k in ("t", "stage", "stream", "step")}
                file.write(json.dumps({**row, "data": m["data"].hex() if "data" in m else None}) + "\n")
            file.flush()
            if source.liveness is not Liveness.LIVE:
                break
            if not messages:
                time.sleep(0.005)


def main() -> None:
    """Run the program that the arguments name."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    {"recorder": recorder, "faulty": faulty, "viewer": viewer}[sys.argv[1]](*sys.argv[2:])
