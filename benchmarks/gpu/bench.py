"""What the questions of the GPU benchmark share: where they run, the time that is left, goals, the nano pipeline."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.full_size import SEED

ROOT = Path(__file__).parent.parent.parent
"""Where child processes find these modules."""

Answer = dict[str, Any]
"""What is known, as JSON; `goals` are taken out and judged."""

SMALL_CLIP = {"height": 128, "width": 160, "num_frames": 33, "output_type": "latent"}
STEPS = 3
"""Of a nano call: the first one, one that is compared with it, and one that is compared with a compared one."""


class NotHere(Exception):
    """A question that has no answer on this machine; the text is the reason."""


@dataclass
class Goal:
    """Something that an answer is judged by."""

    name: str
    value: Any
    limit: Any
    met: bool

    @classmethod
    def at_most(cls, name: str, value: float, limit: float) -> Goal:
        return cls(name, value, limit, value <= limit)  # NaN misses

    @classmethod
    def is_(cls, name: str, value: Any, wanted: Any = True) -> Goal:
        return cls(name, value, wanted, bool(value == wanted))


@dataclass
class Bench:
    """Where the questions are asked. `deadline` is in seconds of `time.monotonic`."""

    device: torch.device
    small: bool
    folder: Path
    deadline: float
    made: dict[str, Any] = field(default_factory=dict)
    """What several questions need and one makes: pipelines."""

    @property
    def cuda(self) -> bool:
        return self.device.type == "cuda"

    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()

    def need_cuda(self) -> None:
        """Raises NotHere without a GPU."""
        if not self.cuda:
            raise NotHere("needs CUDA")

    def once(self, name: str, make: Callable[[], Any]) -> Any:
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    def nano(self) -> Any:
        """The nano pipeline on the device, loaded once."""
        return self.once("nano", lambda: load_nano(self.device))

    def settle(self) -> None:
        """Wait until the device has nothing to do."""
        if self.cuda:
            torch.cuda.synchronize(self.device)


def load_nano(device: torch.device) -> Any:
    """A separate nano pipeline."""
    from diffusers.utils import logging as of_diffusers
    from transformers.utils import logging as of_transformers

    from recorder import nano

    of_diffusers.disable_progress_bar()
    of_transformers.disable_progress_bar()
    pipe = nano.load(device)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def generate(pipe: Any, device: torch.device, guided: bool = False) -> tuple[Tensor, Tensor]:
    """Latents of video and audio of one short nano call, the same for every call on one device."""
    from recorder import nano
    from recorder.nano import components

    pipe.scheduler = components.scheduler()
    call = {**nano.CALL, **SMALL_CLIP, **(nano.GUIDED if guided else nano.UNGUIDED), "num_inference_steps": STEPS}
    made = torch.Generator(device).manual_seed(SEED)
    result = pipe(prompt="a red ball moving left", generator=made, **call)
    return result.frames, result.audio


def troubles(path: Path) -> list[str]:
    """What went wrong during the recording, from the run's events."""
    from replay.sources.open import load

    run = load(path)
    return [e["text"] for e in run.events if e["kind"] in ("error", "warning", "degraded")]


def bare_and_recorded(
    bench: Bench, pipe: Any, guided: bool = False, around: Callable[[], Any] = contextlib.nullcontext
) -> Answer:
    """A nano call without and with the recorder: whether latents are the same bits, rows, and what the run reports."""
    from recorder import record
    from replay.sources.open import load

    with around():
        try:
            bare = generate(pipe, bench.device, guided)
        except Exception as error:
            raise NotHere(f"without the recorder it fails too: {type(error).__name__}: {error}"[:300]) from error
        with record(pipe, runs_dir=bench.folder) as run:
            recorded = generate(pipe, bench.device, guided)
    stages = load(run.path).stages
    rows = {name: stream.rows for name, stream in stages[0].streams.items()} if stages else {}
    same = all(torch.equal(a, b) for a, b in zip(bare, recorded, strict=True))
    reported = troubles(run.path)
    goals = [Goal.is_("bit_identical", same), Goal.is_("rows", rows, {"video": STEPS, "audio": STEPS})]
    return {"said": reported, "goals": [*goals, Goal.is_("troubles", len(reported), 0)]}


@contextlib.contextmanager
def patched(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Something replaced for a while."""
    original = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)
