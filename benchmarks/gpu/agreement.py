"""Does the device measure correctly, and does recording leave the generation unchanged?"""

from __future__ import annotations

import contextlib
import itertools
import queue
import subprocess
import sys
import threading
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch

from benchmarks.full_size import SEED
from benchmarks.gpu.bench import ROOT, Answer, Bench, Goal, NotHere, bare_and_recorded, generate

GRIDS = ((16, 16, 24), (9, 10, 12), (3, 5, 7), (126,))


def taken(grid: tuple[int, ...], device: torch.device, dtype: torch.dtype = torch.float32) -> list[tuple[Any, ...]]:
    """Arguments for `Stages.step` of three steps of random latents, the same on every device."""
    from recorder.metrics.latent_layout import LatentLayout

    layout = LatentLayout("video" if len(grid) == 3 else "audio", 2, grid)
    made = torch.Generator("cpu").manual_seed(SEED)
    shape = (2, int(np.prod(grid)), 8)

    def latents() -> torch.Tensor:
        return torch.randn(shape, generator=made, device="cpu").to(device, dtype)

    levels = (0.9, 0.7, 0.4, 0.1)
    found = []
    for sigma, after in itertools.pairwise(levels):
        passes = {"conditional": latents(), "cfg": latents()}
        found.append((layout, sigma, after, 1000 * sigma, latents(), latents(), latents(), passes))
    return found


def sent_of(steps: list[tuple[Any, ...]]) -> list[Any]:
    """What the sampling thread hands over for these steps. Raises RuntimeError if one could not be measured."""
    from recorder.sampling.sampler_step import SamplerStep
    from recorder.sampling.stages import Stages

    sent: list[Any] = []
    stages = Stages(sent.append)
    stages.begin(0, [], {})
    for arguments in steps:
        stages.step(SamplerStep(*arguments))
    if failed := [m["text"] for m in sent if isinstance(m, dict) and m.get("kind") == "error"]:
        raise RuntimeError("; ".join(failed))
    return sent


def rows_of(steps: list[tuple[Any, ...]]) -> tuple[np.ndarray, list[Any]]:
    """Measured numbers of every step [steps, metrics], and pictures, through the same code as any recording."""
    from recorder.format import declarations
    from recorder.writing.items import RowItem
    from recorder.writing.joined_rows import values_of

    known = sum(m.on_host for m in declarations.on_stream(steps[0][0].stream))
    rows = [item for item in sent_of(steps) if isinstance(item, RowItem)]
    return values_of(rows, _raise)[:, known:], [row.picture()["data"] for row in rows if row.picture is not None]


def _raise(error: Exception) -> None:
    raise error


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    """The largest error in parts of what is allowed (rtol 1e-4, atol 1e-5); NaN, if NaNs are in other places."""
    if not (np.isnan(found) == np.isnan(wanted)).all() or not (np.isinf(found) == np.isinf(wanted)).all():
        return float("nan")
    finite = np.isfinite(wanted)
    allowed = 1e-5 + 1e-4 * np.abs(wanted[finite])
    return float((np.abs(found[finite] - wanted[finite]) / allowed).max())


def rows(bench: Bench) -> Answer:
    """Rows and pictures of random latents against the CPU's."""
    worst, apart = 0.0, 0
    for grid in GRIDS[:2] if bench.small else GRIDS:
        here, pictures = rows_of(taken(grid, bench.device))
        there, wanted = rows_of(taken(grid, torch.device("cpu")))
        worst = max(worst, difference(here, there))
        for a, b in zip(pictures, wanted, strict=True):
            levels = np.frombuffer(a, np.uint8).astype(int) - np.frombuffer(b, np.uint8)
            apart = max(apart, int(np.abs(levels).max()))
    return {"goals": [Goal.at_most("error_in_tolerances", worst, 1), Goal.at_most("picture_levels_apart", apart, 2)]}


def half(bench: Bench) -> Answer:
    """The same of bfloat16 latents."""
    here, _ = rows_of(taken(GRIDS[1], bench.device, torch.bfloat16))
    there, _ = rows_of(taken(GRIDS[1], torch.device("cpu"), torch.bfloat16))
    return {"goals": [Goal.at_most("error_in_tolerances", difference(here, there), 1)]}


def side_stream(bench: Bench) -> Answer:
    """The same in a stream that is not the default one."""
    arguments = taken(GRIDS[1], bench.device)
    bench.settle()
    with torch.cuda.stream(torch.cuda.Stream(bench.device)) if bench.cuda else contextlib.nullcontext():
        here, _ = rows_of(arguments)
    there, _ = rows_of(taken(GRIDS[1], torch.device("cpu")))
    return {"goals": [Goal.at_most("error_in_tolerances", difference(here, there), 1)]}


def nano(bench: Bench) -> Answer:
    """A nano call, unguided and with full guidance, bare and recorded."""
    found = bare_and_recorded(bench, bench.nano())
    guided = bare_and_recorded(bench, bench.nano(), guided=True)
    return {"said": found["said"] + guided["said"], "goals": found["goals"] + guided["goals"]}


def deterministic(bench: Bench) -> Answer:
    """The same where torch refuses what is not deterministic; cuBLAS needs CUBLAS_WORKSPACE_CONFIG=:4096:8 for it."""
    torch.use_deterministic_algorithms(True)
    try:
        return bare_and_recorded(bench, bench.nano())
    finally:
        torch.use_deterministic_algorithms(False)


def default_device(bench: Bench) -> Answer:
    """The same under `torch.device(...)` as the default for everything that is made."""
    return bare_and_recorded(bench, bench.nano(), around=lambda: bench.device)


def shocks(bench: Bench) -> Answer:
    """Every kind of shock in a nano call: it ends, and its latents are finite."""
    from recorder import Shock, record

    found: dict[str, str] = {}
    kinds = ("restart", "renoise", "additive", "predict_perturb")
    pipe = bench.nano()
    for kind in kinds:
        try:
            with record(pipe, runs_dir=bench.folder, shocks=[Shock(kind, at=1)]):  # type: ignore[arg-type]
                latents = generate(pipe, bench.device)
            found[kind] = "finite" if all(bool(t.isfinite().all()) for t in latents) else "NaN or Inf"
        except Exception as error:  # noqa: BLE001 - the other kinds are still tried
            found[kind] = f"{type(error).__name__}: {error}"
    return {"kinds": found, "goals": [Goal.is_("finite", sum(v == "finite" for v in found.values()), len(kinds))]}


def race(bench: Bench) -> Answer:
    """Rows are read once they have arrived: sources are overwritten with the next step's number at once."""
    from recorder.metrics.device_copy import to_host

    count = 50 if bench.small else 2000
    devices = [bench.device]
    if bench.cuda and torch.cuda.device_count() > 1:  # one that is not current
        devices.append(torch.device("cuda", (bench.device.index or 0) ^ 1))
    wrong = 0
    for device in devices:
        source = torch.zeros(1 << 16, device=device)
        waiting: queue.SimpleQueue[Any] = queue.SimpleQueue()
        bad: list[int] = []

        def read(waiting: Any = waiting, bad: list[int] = bad) -> None:
            while (item := waiting.get()) is not None:
                step, host, wait = item
                wait()
                if not bool((host["row"] == step).all()):
                    bad.append(step)

        reader = threading.Thread(target=read)
        reader.start()
        for step in range(count):
            source.fill_(step)
            # On the CPU the copy is the source itself: in the recorder each step makes a separate row.
            waiting.put((step, *to_host({"row": source if device.type == "cuda" else source.clone()})))
        waiting.put(None)
        reader.join()
        wrong += len(bad)
    return {"steps": count, "devices": len(devices), "goals": [Goal.is_("rows_read_too_early", wrong, 0)]}


def suite(bench: Bench) -> Answer:
    """The test suite's own GPU tests."""
    bench.need_cuda()
    if find_spec("pytest") is None or find_spec("hypothesis") is None:
        raise NotHere("needs pytest and hypothesis")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-m",
        "gpu",
        "tests/recorder/test_closed_forms.py",
        "-p",
        "no:cacheprovider",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=max(1, min(90, bench.left())))
    return {"tail": done.stdout[-500:], "goals": [Goal.is_("exit_status", done.returncode, 0)]}


def never_waits(bench: Bench) -> Answer:
    """Measuring a warm step in the mode in which torch raises at every synchronisation."""
    steps = taken(GRIDS[1], bench.device)
    rows_of(steps)
    if not bench.cuda:
        return {"goals": []}
    found = []
    torch.cuda.set_sync_debug_mode("error")
    try:
        sent_of(steps)
    except RuntimeError as error:
        found.append(str(error))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return {"synchronisations": found, "goals": [Goal.is_("synchronisations", len(found), 0)]}
