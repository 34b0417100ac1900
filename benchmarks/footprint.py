"""What one step costs in memory and in operations: counted, not timed, so that any machine gives the same figures.

`python -m benchmarks footprint` measures a clip of 1920×1088 and 257 frames with full guidance and previews.

Memory is what the recorder has at the peak of a step beyond what the sampler has anyway, in float32 latents of that
clip: the copies of the guidance passes, what the step before and the summaries of the stage leave, and everything that
is allocated from the first pass to the end of the step. Sample, velocity, result and the model's outputs are the
sampler's; they count only where the recorder keeps them after the sampler has let go. What a kernel uses inside, such
as the workspace of an FFT, is not seen.

Operations are ATen operations as `TorchDispatchMode` sees them, views included.
"""

from __future__ import annotations

import itertools
import math
import weakref
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.reporting import table
from recorder.metrics.latent_layout import LatentLayout
from recorder.sampling import tokens
from recorder.sampling.guidance_passes import Passes
from recorder.sampling.sampler_step import SamplerStep
from recorder.sampling.stages import Stages

MOST_LATENTS = 12
MOST_OPERATIONS = 200
SIZES: dict[str, tuple[tuple[int, ...], int]] = {"video": ((33, 34, 60), 128), "audio": ((257,), 128)}
"""Grid and channels of both streams of a clip of 1920×1088 and 257 frames."""
PRECISIONS = {
    "float32, passes bfloat16 (LTX2Pipeline)": (torch.float32, torch.bfloat16),
    "all float32": (torch.float32, torch.float32),
    "all bfloat16 (a loop of one's own)": (torch.bfloat16, torch.bfloat16),
}
"""Of what the sampler steps, and of what the model returns."""
SIGMAS = (1.0, 0.9, 0.7, 0.4, 0.0)
CALLS: tuple[tuple[dict[str, Any], int], ...] = (
    ({}, 2),  # without and with the prompt, as one batch
    ({"spatio_temporal_guidance_blocks": [28]}, 1),
    ({"isolate_modalities": True}, 1),
)
"""The model calls of a step: arguments that tell what each is for, and how many clips it holds for one."""


class Ledger(TorchDispatchMode):
    """Counts operations, and the bytes of tensors that they made and that are alive."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.views = 0
        self.live = 0
        self.peak = 0
        self._known: dict[int, Callable[[], Any]] = {}
        self._lent: list[Callable[[], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = {storage._cdata for storage in storages((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        self.operations[str(func)] += 1
        self.views += func.is_view
        for storage in storages(result):
            if storage._cdata not in before:
                self._add(storage)
        return result

    def clear(self) -> None:
        """Forget the counts and the peak, but not what is alive."""
        self.operations, self.views, self.peak = Counter(), 0, self.live

    def lend(self, *tensors: Tensor) -> None:
        """What the sampler owns, and will let go of."""
        self._lent += [weakref.ref(storage) for storage in storages(tensors)]

    def settle(self) -> None:
        """The sampler has let go of what it lent: whatever is still alive is the recorder's."""
        for reference in self._lent:
            if (storage := reference()) is not None:
                self._add(storage)
        self._lent = []

    def _add(self, storage: Any) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def gone(_: Any) -> None:
            self.live -= size
            del self._known[key]

        self._known[key] = weakref.ref(storage, gone)
        self.live += size
        self.peak = max(self.peak, self.live)


def storages(tree: Any) -> Iterable[Any]:
    """The memory of all tensors in nested containers."""
    return [leaf.untyped_storage() for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


@dataclass
class Footprint:
    """The largest figures of any step: memory in float32 latents, and operations."""

    peak: float = 0.0
    held: float = 0.0
    """Between two steps, while the model runs; the passes come on top of it."""
    operations: Counter[str] = field(default_factory=Counter)
    views: int = 0


def measure(stream: str, grid: tuple[int, ...], channels: int, sampled: Any, returned: Any) -> Footprint:
    """Record steps of random latents with full guidance and previews, as the hooks of a pipeline do.

    Args:
        stream: `video` or `audio`.
        grid: (F, H, W) or (L,).
        channels: of a latent.
        sampled: dtype of sample, velocity and result.
        returned: dtype of what the model returns.
    """
    count = math.prod(grid)
    latent = 4 * count * channels
    generator = torch.Generator().manual_seed(0)
    ledger, passes, found = Ledger(), Passes(), Footprint()
    stages = Stages(lambda item: None)
    stages.begin(0, [s for s in SIGMAS if s > 0], {})

    def draw(clips: int, dtype: Any) -> Tensor:
        drawn = torch.randn((clips, count, channels), generator=generator).to(dtype)
        ledger.lend(drawn)
        return drawn

    for sigma, after in itertools.pairwise(SIGMAS):
        ledger.clear()
        for arguments, clips in CALLS:
            out = draw(clips, returned)
            with ledger:
                passes.add(
                    arguments, (out,) if stream == "video" else (None, out), {stream: LatentLayout(stream, 1, grid)}
                )
            del out
        x, velocity, result = (draw(1, sampled) for _ in range(3))
        with ledger:
            layout = tokens.clip_layout(stream, x, grid)
            stages.step(
                SamplerStep(
                    layout,
                    sigma,
                    after,
                    1000 * sigma,
                    tokens.take(x, layout),
                    tokens.take(velocity, layout),
                    tokens.take(result, layout),
                    passes.of_step(stream, 1, x.shape),
                )
            )
        del x, velocity, result
        ledger.settle()
        found.peak = max(found.peak, ledger.peak / latent)
        found.held = max(found.held, ledger.live / latent)
        if ledger.operations.total() > found.operations.total():
            found.operations, found.views = ledger.operations, ledger.views
    return found


def run(folder: Path) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    rows = []
    most: Footprint | None = None
    for stream, (grid, channels) in SIZES.items():
        for name, (sampled, returned) in PRECISIONS.items():
            found = measure(stream, grid, channels, sampled, returned)
            most = most or found
            text = f"{found.peak:.1f} latents at the peak, {found.held:.1f} between steps"
            rows.append(
                (f"{stream}, {name}", f"{text}, {found.operations.total()} operations ({found.views} of them views)")
            )
            if stream == "video" and (found.peak > MOST_LATENTS or found.operations.total() > MOST_OPERATIONS):
                rows.append(("", f"MISSED: at most {MOST_LATENTS} latents and {MOST_OPERATIONS} operations"))
    table("One step at 1920×1088×257: memory in float32 latents (video 34.5 MB), ATen operations", rows)
    assert most is not None
    kinds = [f"{name.removeprefix('aten.')} {n}" for name, n in most.operations.most_common()]
    table("Operations of a video step", [("", ", ".join(kinds[i : i + 8])) for i in range(0, len(kinds), 8)])
