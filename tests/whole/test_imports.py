"""What must stay light stays light, proved in fresh processes."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "diffusers", "transformers", "zarr", "textual", "plotext")


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import ltxtui", set(HEAVY)),
        ("import recorder", set(HEAVY)),
        ("from recorder import Shock, ancestral, spikes", set(HEAVY)),
        ("import replay", set(HEAVY)),
        ("import ltxtui.cli", set(HEAVY)),
        ("import ltxtui.app", {"torch", "diffusers", "transformers", "zarr"}),
        (
            "import replay.sources.open, replay.library.listing",
            {"torch", "diffusers", "transformers", "textual", "zarr"},
        ),
        ("import zarr, replay.archive.reader", {"torch", "diffusers", "textual"}),
        ("from recorder import record", {"textual", "plotext"}),
        (
            "import recorder.archive.writer, recorder.journal.journal, recorder.format.declarations",
            {"torch", "textual", "zarr"},
        ),
        ("import recorder.generate, recorder.nano", {"torch", "diffusers", "textual"}),
    ],
)
def test_imports_stay_light(statement: str, forbidden: set[str]) -> None:
    assert loaded_after(statement) & forbidden == set()
