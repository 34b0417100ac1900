"""Why nothing was recorded, from the notes that processes left."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from recorder.runners.launched import notes, watcher
from recorder.runners.launched.environment import START, environment
from recorder.runners.launched.options import OPTIONS, LaunchOptions
from recorder.shocks.spec import Shock

PYTHON = "/usr/bin/python3"


@pytest.mark.parametrize(
    ("noted", "command", "expected"),
    [
        ([("started", PYTHON), ("kept", "a.zarr")], ["python"], ""),
        ([("started", PYTHON), ("called", "LTX2Pipeline"), ("itself", "")], ["python"], ""),
        ([("started", PYTHON)], ["python"], "no LTX pipeline"),
        ([("without", PYTHON)], ["python"], f"{PYTHON} has no ltxtui; install it there: {PYTHON} -m pip install"),
        ([("started", PYTHON), ("imported", "diffusers")], ["python"], "no pipeline of it was called"),
        ([("started", PYTHON), ("called", "LTX2Pipeline")], ["python"], "no step was taken"),
        ([("started", PYTHON), ("rank", "rank 8 of 16")], ["python"], "rank 8 of 16; --ranks all"),
        ([("without", PYTHON), ("trouble", "the disk is full")], ["python"], "the disk is full"),
        ([], ["python3.12", "-uE", "a.py"], "with -E"),
        ([], ["/opt/python", "-I", "-m", "a"], "with -I"),
        ([], ["python", "-X", "dev", "a.py", "-E"], "its environment was cleared"),
        ([], ["python", "a.py", "-E"], "its environment was cleared"),
        ([], ["make"], "its environment was cleared"),
    ],
)
def test_reasons(noted: list[tuple[str, str]], command: Sequence[str], expected: str) -> None:
    found = watcher.verdict([notes.Note(kind, 1, text) for kind, text in noted], command)
    assert expected in found if expected else found == ""
    assert "\n" not in found


def test_notes_are_read_as_they_were_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "notes"
    monkeypatch.setenv(notes.NOTES, str(file))
    notes.note("kept", "lost: there is no file")
    file.write_text("not a note\n")
    notes.note("trouble", "two\nlines\tof text")
    (one,) = notes.read(file)
    assert (one.kind, one.text) == ("trouble", "two lines of text")


def test_options_travel_in_the_environment(tmp_path: Path) -> None:
    asked = LaunchOptions("/runs", "fox", "call", "all", 10, 20, (Shock("restart", at=0.9).as_dict(),), ("not-finite",))
    made = environment({"PYTHONPATH": "/a::/b", "HOME": "/h"}, asked, tmp_path / "notes")
    assert LaunchOptions.from_text(made[OPTIONS]) == asked
    assert made["PYTHONPATH"] == f"{START}:/a::/b" and made["HOME"] == "/h"
    assert environment(made, asked, tmp_path)["PYTHONPATH"] == made["PYTHONPATH"]
    assert environment({}, asked, tmp_path)["PYTHONPATH"] == str(START)
    for text in ("null", "{}", "[1]", "not JSON"):
        with pytest.raises(ValueError):
            LaunchOptions.from_text(text)
