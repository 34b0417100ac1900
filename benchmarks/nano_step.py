"""`python -m benchmarks.nano_step FOLDER`: what a guided step of the nano costs, beside one of an earlier model.

Both models make the same clip at home size on one thread, in turns, without a recorder. FOLDER holds the earlier one;
docs/nano.md says how to get the first nano.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks import options

STEPS = 4


def seconds_of_a_step(pipe: Any) -> float:
    """CPU seconds of one step under full guidance, without decoding."""
    import torch

    from recorder import nano

    start = time.process_time()
    pipe(
        prompt="a red ball moving left",
        generator=torch.Generator().manual_seed(0),
        num_inference_steps=STEPS,
        output_type="latent",
        **nano.HOME,
        **nano.CALL,
        **nano.GUIDED,
    )
    return (time.process_time() - start) / STEPS


def main() -> None:
    parser = options.parser("benchmarks.nano_step", __doc__, "first-nano", "first-nano --turns 5")
    parser.add_argument("earlier", type=Path, metavar="FOLDER", help="the earlier model, as save_pretrained wrote it")
    parser.add_argument("--turns", type=int, default=9, help="calls of each model [9]")
    asked = parser.parse_args()

    import torch

    from recorder import nano

    torch.set_num_threads(1)
    try:
        pipes = {"earlier": nano.load(weights=asked.earlier), "now": nano.load()}
    except FileNotFoundError as error:
        parser.error(str(error))
    found: dict[str, list[float]] = {name: [] for name in pipes}
    for turn in range(asked.turns + 1):
        for name, pipe in pipes.items():
            pipe.set_progress_bar_config(disable=True)
            seconds = seconds_of_a_step(pipe)
            if turn:  # the first one warms up
                found[name].append(seconds)
    earlier, now = (statistics.median(seconds) for seconds in found.values())
    ratio = statistics.median(b / a for a, b in zip(*found.values(), strict=True))
    print(f"a guided step, CPU seconds: earlier {earlier:.3f}, now {now:.3f}; now/earlier {ratio:.2f} (limit 1.3)")


if __name__ == "__main__":
    main()
