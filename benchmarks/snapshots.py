"""Which compression suits stored latents: time and bytes per chunk of float16, raw and packed in five ways.

`python -m benchmarks.snapshots` takes the sample and the predicted clean sample of a nano run, early and late, and
Gaussian tokens of the size of a real clip. `recorder/archive/stream_writer.py` uses the result.
"""

from __future__ import annotations

import os
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import options
from recorder.format import paths

os.environ.setdefault("HF_HUB_OFFLINE", "1")

REPEATS = 9
WORTH_IT = 0.75
"""A codec has to bring chunks of a real clip's size to this share before it is worth its time."""


def nano_latents(folder: Path) -> dict[str, NDArray[np.float16]]:
    """x and x0 of a nano run's first and last step, from its own archive."""
    import torch
    import zarr

    from recorder import nano, record

    torch.set_num_threads(1)
    pipe = nano.load()
    pipe.set_progress_bar_config(disable=True)
    call = {**nano.HOME, **nano.CALL, **nano.UNGUIDED, "num_inference_steps": 10, "output_type": "latent"}
    with record(pipe, runs_dir=folder, save_latents=True) as run:
        pipe("a red ball moving left", generator=torch.Generator().manual_seed(0), **call)
    group: Any = zarr.open_group(str(run.path), mode="r")[paths.stream(0, "video")]
    return {
        f"nano {name}, step {step + 1} of 10": np.asarray(group[name][step])
        for name in (paths.LATENTS, paths.X0)
        for step in (0, 9)
    }


def real_size() -> dict[str, NDArray[np.float16]]:
    """6,144 tokens of 128 channels: white noise, as a sample is at first, and smooth in space, as a clean one is."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(1, 16, 16, 24, 128))
    power = np.hypot(np.fft.fftfreq(16)[:, None], np.fft.fftfreq(24)[None, :])
    power[0, 0] = 1 / 24
    smooth = np.fft.ifft2(np.fft.fft2(noise, axes=(2, 3)) / power[..., None], axes=(2, 3)).real
    smooth /= smooth.std()
    return {"6,144 × 128, white": noise.astype(np.float16), "6,144 × 128, 1/f": smooth.astype(np.float16)}


def codecs() -> dict[str, Any]:
    from zarr.codecs import BloscCodec, ZstdCodec

    return {
        "raw": None,
        "zstd 1": ZstdCodec(level=1),
        "zstd 3": ZstdCodec(level=3),
        "blosc lz4 + shuffle": BloscCodec(cname="lz4", clevel=3, shuffle="shuffle", typesize=2),
        "blosc zstd + shuffle": BloscCodec(cname="zstd", clevel=3, shuffle="shuffle", typesize=2),
        "blosc zstd + bitshuffle": BloscCodec(cname="zstd", clevel=3, shuffle="bitshuffle", typesize=2),
    }


def measure(values: NDArray[Any], codec: Any, path: Path) -> tuple[float, float, int]:
    """Seconds to write one chunk and to read it back, and its bytes on disk."""
    import zarr

    array: Any = zarr.create_array(
        store=str(path),
        shape=(REPEATS, *values.shape),
        chunks=(1, *values.shape),
        dtype=values.dtype,
        compressors=codec,
    )
    written, read = [], []
    for i in range(REPEATS):
        began = time.perf_counter()
        array[i] = values
        written.append(time.perf_counter() - began)
    for i in range(REPEATS):
        began = time.perf_counter()
        same = np.array_equal(np.asarray(array[i]), values)
        read.append(time.perf_counter() - began)
        if not same:
            raise ValueError(f"{codec} does not give back what was written")
    size = sum(f.stat().st_size for f in (path / paths.CHUNKS).rglob("*") if f.is_file())
    return statistics.median(written), statistics.median(read), size // REPEATS


def main() -> None:
    options.parser("benchmarks.snapshots", __doc__, "").parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ltx-bench-", dir=tempfile.gettempdir()))
    os.environ["LTXTUI_RUNTIME_DIR"] = str(folder / "sockets")
    shares: dict[str, list[float]] = {}
    try:
        chunks = {**nano_latents(folder / "runs"), **real_size()}
        for i, (label, values) in enumerate(chunks.items()):
            print(f"\n{label}: {values.nbytes:,} bytes")
            for j, (name, codec) in enumerate(codecs().items()):
                write, read, size = measure(values, codec, folder / f"{i}-{j}.zarr")
                share = size / values.nbytes
                print(f"  {name:<24} write {write * 1000:7.2f} ms   read {read * 1000:7.2f} ms   {share:6.1%}")
                if values.size > 100_000:
                    shares.setdefault(name, []).append(share)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    best, share = min(((n, statistics.mean(s)) for n, s in shares.items()), key=lambda pair: pair[1])
    choice = best if share < WORTH_IT else "raw"
    print(f"\nsmallest at a real clip's size: {best} with {share:.1%}; choice: {choice}")


if __name__ == "__main__":
    main()
