"""Real runs of the nano model, kept as the bytes of their journals.

To make them again: python -m tests.ltxtui.fixture; to make one: its name behind that.
`restart` has full guidance, previews, video and audio, a restart shock, and a second, shorter stage; `smooth` is the
same seed without the shock. `faulty` has two clips; before step 6 something turns the later frames of the second one
into their opposite, and makes them larger.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from recorder.format.protocol import Message
from replay.model.run import Run
from tests.ltxtui.sources import Archive, Live

DATA: Final = Path(__file__).parent / "data"
NAMES: Final = ("restart", "smooth")
FAULTY: Final = "faulty"
PROMPT: Final = "a red ball moving left"
MOST_BYTES: Final = 300_000
FAULT_STEP: Final = 6
FAULT_FRAME: Final = 3

STEPS, LATER_STEPS, SEED = 12, 4, 0
FRAMES: Final = 6
"""Latent frames of the faulty run."""


def journal_bytes(name: str = "restart") -> bytes:
    """The journal as it was written."""
    return zlib.decompress((DATA / f"{name}.journal.z").read_bytes())


def fixture_messages(name: str = "restart") -> list[Message]:
    """The run's messages, from the header to the end."""
    from recorder.format.framing import Decoder

    decoder = Decoder()
    decoder.feed(journal_bytes(name))
    return list(decoder)


def open_fixture(name: str = "restart") -> Archive:
    """The run as a finished one."""
    return Archive(fixture_messages(name))


def open_fixture_run(name: str = "restart") -> Run:
    """The whole run in memory."""
    run = Run()
    for message in fixture_messages(name):
        run.feed(message)
    return run


def live_fixture(name: str = "restart") -> tuple[Live, Callable[[int], None]]:
    """A live run that has not begun, and a function that advances it to a number of rows of the first stream."""
    source, left = Live(), fixture_messages(name)

    def go_on(rows: int) -> None:
        """Send all that came before the row after the last one asked for."""
        taken = 0
        seen = go_on.seen  # type: ignore[attr-defined]
        for message in left:
            if message["t"] == "step" and message["stream"] == "video":
                if seen == rows:
                    break
                seen += 1
            taken += 1
        source.send(left[:taken])
        del left[:taken]
        go_on.seen = seen  # type: ignore[attr-defined]

    go_on.seen = 0  # type: ignore[attr-defined]
    return source, go_on


def journal_file(folder: Path, name: str = "restart", *, without_end: bool = False) -> Path:
    """The run's journal in a folder, as a recorder leaves it when it is killed."""
    from recorder.format.framing import encode

    path = folder / f"20261122-143015-{name}.journal"
    kept = [m for m in fixture_messages(name) if not (without_end and m["t"] == "end")]
    path.write_bytes(b"".join(encode(message) for message in kept))
    return path


def _record(name: str, shocks: list[Any], folder: Path) -> bytes:
    import torch

    from recorder import nano, record
    from recorder.format import locations
    from recorder.sampling.guidance_presets import GUIDED

    torch.set_num_threads(1)
    pipe = nano.load()
    pipe.set_progress_bar_config(disable=True)
    call = {**nano.CALL, **GUIDED, "prompt": PROMPT, "output_type": "latent"}
    size = {"height": 320, "width": 384, "num_frames": 65}
    with record(pipe, shocks=shocks, runs_dir=folder, name=name, data_eigenvalue=nano.DATA_EIGENVALUE) as run:
        journal = locations.journal_of(run.path).open("rb")  # stays readable when the finished run has removed it
        pipe(num_inference_steps=STEPS, generator=torch.Generator().manual_seed(SEED), **call, **size)
        pipe(num_inference_steps=LATER_STEPS, generator=torch.Generator().manual_seed(SEED), **call, **size)
    with journal:
        return journal.read()


def _record_faulty(folder: Path) -> bytes:
    import torch

    from recorder import nano, record
    from recorder.format import locations
    from recorder.sampling.guidance_presets import UNGUIDED

    torch.set_num_threads(1)
    pipe = nano.load()
    pipe.set_progress_bar_config(disable=True)

    def spoil(pipe: Any, step: int, timestep: Any, kept: dict[str, Any]) -> dict[str, Any]:
        if step == FAULT_STEP - 1:
            tokens = kept["latents"]
            frame = tokens.shape[1] // FRAMES
            tokens[1, FAULT_FRAME * frame :] *= -1.2
        return kept

    call = {**nano.CALL, **UNGUIDED, "prompt": PROMPT, "output_type": "latent", "num_videos_per_prompt": 2}
    size = {"height": 192, "width": 256, "num_frames": 8 * FRAMES - 7}
    with record(pipe, runs_dir=folder, name=FAULTY, data_eigenvalue=nano.DATA_EIGENVALUE) as run:
        journal = locations.journal_of(run.path).open("rb")
        generator = torch.Generator().manual_seed(SEED)
        pipe(num_inference_steps=STEPS, generator=generator, callback_on_step_end=spoil, **call, **size)
    with journal:
        return journal.read()


def _neutral(written: bytes, name: str) -> bytes:
    """The same run without the fields that say where it was recorded."""
    from recorder.format.framing import Decoder, encode

    decoder = Decoder()
    decoder.feed(written)
    kept = []
    for message in decoder:
        if message["t"] == "header":
            message["run"] = f"20261122-143015-{name}"
            message["archive"] = f"runs/{message['run']}.zarr"
            known = {"host": "gpu-box", "process": 4711, "command": "", "user": {}}
            message["metadata"] |= {key: known[key] for key in known if key in message["metadata"]}
        kept.append(encode(message))
    return b"".join(kept)


def make(only: str = "") -> None:
    """Record the runs, or one of them, and write them."""
    import tempfile

    from recorder import Shock

    DATA.mkdir(exist_ok=True)
    total = 0
    for name, shocks in (("restart", [Shock("restart", at=0.9, strength_db=6, seed=1)]), ("smooth", []), (FAULTY, [])):
        if only and name != only:
            continue
        with tempfile.TemporaryDirectory() as folder:
            recorded = _record_faulty(Path(folder)) if name == FAULTY else _record(name, shocks, Path(folder))
            written = _neutral(recorded, name)
        path = DATA / f"{name}.journal.z"
        path.write_bytes(zlib.compress(written, 9))
        total += path.stat().st_size
        print(f"{path.name}: {len(written):,} bytes, {path.stat().st_size:,} compressed")
    if total > MOST_BYTES:
        raise SystemExit(f"{total:,} bytes in all, over {MOST_BYTES:,}")


if __name__ == "__main__":
    import sys

    make(*sys.argv[1:2])
