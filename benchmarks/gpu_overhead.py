"""What recording costs on a GPU, and whether it is correct there: each answer is printed as soon as it is known.

    python -m pip install --no-deps diffusers==0.42.1
    python -m benchmarks.gpu_overhead --minutes 8 --output gpu.jsonl

On a machine that has torch, transformers, safetensors, numpy, psutil and msgpack, only diffusers has to be brought:
`pip download --no-deps diffusers==0.42.1 -d carried`, and there `pip install --no-deps --no-index carried/*.whl`. One
80 GB GPU is enough. Set `CUBLAS_WORKSPACE_CONFIG=:4096:8` for the question about deterministic algorithms.

Every question is independent: a failure in one, or a lack of time for it, does not affect the other answers. The cheap
ones come first. Answers are lines of JSON, on standard output and in the file; the last line sums them up. The exit
status is 0 if every goal was met, 1 if one was missed or a question failed. `--small`, the default without CUDA, asks
the same at toy size on the CPU in half a minute, which says nothing about a GPU.
"""

from __future__ import annotations

import gc
import json
import math
import os
import platform
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch

from benchmarks import options
from benchmarks.gpu import agreement, cold, full, memory, modes, profiled
from benchmarks.gpu.bench import Answer, Bench, NotHere

MINUTES = 7.5


@dataclass(frozen=True)
class Question:
    """Something to ask, and about how many seconds it takes on a GPU: with less left it is not asked."""

    name: str
    seconds: float
    ask: Callable[[Bench], Answer]


QUESTIONS = (
    Question("rows agree with the CPU's", 5, agreement.rows),
    Question("rows of bfloat16 latents", 3, agreement.half),
    Question("a side stream", 3, agreement.side_stream),
    Question("a warm step never waits", 3, agreement.never_waits),
    Question("rows have arrived when they are read", 5, agreement.race),
    Question("a nano call is left alone", 15, agreement.nano),
    Question("every kind of shock", 8, agreement.shocks),
    Question("deterministic algorithms", 5, agreement.deterministic),
    Question("a default device", 5, agreement.default_device),
    Question("a cold process, and the thread that waits", 15, cold.cold),
    Question("operations of a step", 5, profiled.profiled),
    Question("out of memory", 10, memory.out_of_memory),
    Question("the suite's GPU tests", 20, agreement.suite),
    Question("a step of 512×768×121", 45, full.full(0, 0.4)),
    Question("a step of 1024×1536×121", 100, full.full(1, 0.6)),
    # Last, since a compiler that hangs or a device that is left in disorder would take the others with it.
    Question("model offload", 10, modes.offloaded("model")),
    Question("sequential offload", 10, modes.offloaded("sequential")),
    Question("group offload", 10, modes.offloaded("group")),
    Question("a whole compiled graph", 30, modes.compiled(fullgraph=True)),
    Question("compiled with CUDA graphs", 30, modes.compiled(mode="reduce-overhead")),
)


class Report:
    """Prints every answer at once, and keeps count."""

    def __init__(self, file: TextIO | None) -> None:
        self._file = file
        self.missed: list[str] = []
        self.failed: list[str] = []
        self.skipped: list[str] = []

    def line(self, found: dict[str, Any]) -> None:
        text = json.dumps(_finite(found), ensure_ascii=False, allow_nan=False)
        print(text, flush=True)
        if self._file is not None:
            self._file.write(text + "\n")
            self._file.flush()

    def answer(self, name: str, seconds: float, found: Answer) -> None:
        goals = found.pop("goals")
        self.missed += [f"{name}: {g.name}" for g in goals if not g.met]
        self.line({"question": name, "seconds": round(seconds, 2), **found, "goals": [asdict(g) for g in goals]})

    def failure(self, name: str, seconds: float, error: Exception) -> None:
        self.failed.append(name)
        where = traceback.format_exception(error)[-4:-1]
        text = f"{type(error).__name__}: {error}"[:1000]
        self.line({"question": name, "seconds": round(seconds, 2), "failed": text, "where": where})

    def skip(self, name: str, why: str) -> None:
        self.skipped.append(name)
        self.line({"question": name, "skipped": why})

    def end(self, seconds: float) -> int:
        self.line({"seconds": round(seconds, 1), "missed": self.missed, "failed": self.failed, "skipped": self.skipped})
        return 1 if self.missed or self.failed else 0


def _finite(value: Any) -> Any:
    """The same without NaN and Inf, which JSON does not have: as null and as text."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def ask_all(bench: Bench, report: Report, questions: tuple[Question, ...] = QUESTIONS) -> None:
    """Ask every question that there is time for; none of them raises."""
    for question in questions:
        if bench.left() < (0 if bench.small else question.seconds):
            report.skip(question.name, f"{bench.left():.0f} s are left, it takes some {question.seconds:.0f} s")
            continue
        began = time.monotonic()
        try:
            found = question.ask(bench)
            report.answer(question.name, time.monotonic() - began, found)
        except NotHere as why:
            report.skip(question.name, str(why))
        except Exception as error:  # noqa: BLE001 - whatever fails here, the other questions have their answers
            report.failure(question.name, time.monotonic() - began, error)
        gc.collect()


def main(arguments: list[str] | None = None) -> int:
    parser = options.parser("benchmarks.gpu_overhead", __doc__, "--minutes 8 --output gpu.jsonl", "--small --minutes 1")
    parser.add_argument("--small", action="store_true", help="toy size on the CPU; the default without CUDA")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="ask nothing after that (default %(default)s)")
    parser.add_argument("--output", type=Path, help="write the answers here too (default: $OUT/gpu_overhead.jsonl)")
    given = parser.parse_args(arguments)
    output = given.output
    if output is None and os.environ.get("OUT"):
        output = Path(os.environ["OUT"]) / "gpu_overhead.jsonl"
    began = time.monotonic()
    small = given.small or not torch.cuda.is_available()
    device = torch.device("cpu") if small else torch.device("cuda", torch.cuda.current_device())
    if small:
        torch.set_num_threads(1)  # tiny tensors: more threads only wait for each other
    folder = Path(tempfile.mkdtemp(prefix="ltx-bench-", dir=tempfile.gettempdir()))
    before = os.environ.get("LTXTUI_RUNTIME_DIR")
    os.environ["LTXTUI_RUNTIME_DIR"] = str(folder / "sockets")
    try:
        with output.open("w") if output is not None else open(os.devnull, "w") as file:  # noqa: PTH123
            report = Report(file)
            report.line(about(small, device))
            bench = Bench(device, small, folder, began + 60 * given.minutes)
            ask_all(bench, report)
            return report.end(time.monotonic() - began)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if before is None:
            del os.environ["LTXTUI_RUNTIME_DIR"]
        else:
            os.environ["LTXTUI_RUNTIME_DIR"] = before


def about(small: bool, device: torch.device) -> dict[str, Any]:
    """The first line: what ran where."""
    import diffusers

    diffusers.utils.logging.set_verbosity_error()  # it says of every part that nothing needs to stay in float32
    name = f"{platform.machine()}, {os.cpu_count()} CPUs" if small else torch.cuda.get_device_name(device)
    what = "SMALL, ON THE CPU: says nothing about a GPU" if small else "ON A GPU"
    versions = {"python": platform.python_version(), "torch": torch.__version__, "diffusers": diffusers.__version__}
    return {"what": what, "machine": name, **versions}


if __name__ == "__main__":
    sys.exit(main())
