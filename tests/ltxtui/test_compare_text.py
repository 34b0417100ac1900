"""A comparison as JSON, as text and as a command: all of it there, in its width, and nothing obeyed that a run says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from ltxtui.cli import cli
from ltxtui.reports import compare_text
from recorder import record
from recorder.format import locations
from replay.comparison.alignment import ALIGNMENTS, Align
from replay.comparison.compare import DEFAULT_METRICS, compare
from tests.replay.test_compare import SMOOTH, SPIKE, made, rows
from tests.waiting import until


def test_json_has_everything_and_no_nan() -> None:
    found = compare([made(rows(SMOOTH)), made(rows(SPIKE), seed=1)], align="snr", metrics=["value"])
    data = json.loads(json.dumps(found.as_json(), allow_nan=False))
    assert data["axis"]["values"][0] is None and data["axis"]["unit"] == "dB"
    assert data["series"]["value"]["values"][0] == [0, 1, 2, 3, 4, 5]
    assert len(data["series"]["value"]["residuals"]) == 1
    assert data["summaries"]["drift_index"]["differences"] == [None]
    assert data["divergences"][0]["step"] == 4 and data["plans"][0]["value"] == 0.95
    assert [r["letter"] for r in data["runs"]] == ["A", "B"] and data["fair"] is False
    assert {m["what"] for m in data["mismatches"]} == {"model evaluations", "seed"}


@pytest.mark.parametrize("count", [2, 3, 8])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_text_fits_its_width_and_every_run_can_be_told(count: int, ascii_only: bool) -> None:
    runs = [made({"sigma": SMOOTH, "value": np.arange(6) + i * 3.0}, seed=i) for i in range(count)]
    found = compare(runs, align="sigma", metrics=["value"])
    for width in (40, 100):
        text = compare_text.tables(found, width, ascii_only=ascii_only)
        table = text[text.index("stage 0") : text.index("plans")]
        assert max(map(len, table.splitlines())) <= width
        minus = "-" if ascii_only else "−"
        assert all(f"{letter}{minus}A" in table for letter in "BCDEFGH"[: count - 1])
        drawn = compare_text.plots(found, width, ascii_only=ascii_only)
        assert max(map(len, drawn.splitlines())) <= width
        assert drawn.isascii() or not ascii_only
        overlay = re.split("B[-−]A", drawn)[0]
        if ascii_only or count > 3:
            assert all(overlay.count(letter) > 3 for letter in "ABCDEFGH"[:count])
        assert "1.000" in drawn and "0.500" in drawn, "the axis names σ, not steps"


def test_text_is_coloured_only_when_it_is_asked_for() -> None:
    found = compare([made(rows(SMOOTH)), made(rows(SPIKE))], metrics=["value"])
    plain = compare_text.plots(found, 80)
    painted = compare_text.plots(found, 80, paint=lambda text, role: f"<{role}>{text}</>" if role else text)
    assert "<s1>" in painted and "<s2>" in painted
    stripped = "\n".join(line.rstrip() for line in re.sub(r"<[^>]*>", "", painted).splitlines())
    assert stripped == plain


def test_what_a_run_says_of_itself_is_shown_and_never_obeyed() -> None:
    nasty = made(
        rows(SMOOTH), prompt="\x1b[31mred\nball", shocks=["a\x1b]0;title\x07b"], arguments={"x\x1b[2J": "\x9b1m"}
    )
    found = compare([nasty, made(rows(SMOOTH), arguments={"x\x1b[2J": 1})])
    text = compare_text.tables(found, 80)
    assert not any((ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160 for c in text)
    assert "red ball" in text and "shock: ab" in text


def test_differences_that_are_not_there_are_said_not_drawn() -> None:
    blank = made({"sigma": SMOOTH, "value": np.full(6, np.nan), "same": np.ones(6)})
    drawn = compare_text.plots(compare([blank, blank], metrics=["value", "same"]), 80)
    assert "no value in any run" in drawn and "B−A: 0 at all 6 points that both have" in drawn
    apart = made(rows([1.0, 0.95, 0.9])), made(rows([0.5, 0.4]))
    assert "B−A: no point that both have" in compare_text.plots(compare(apart, align="sigma", metrics=["value"]), 80)


# -- the command, on recorded archives


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Three archives of a made-up sampler: twice the same, and one with a spike."""
    runs = tmp_path_factory.mktemp("runs")
    sigmas = {"smooth": SMOOTH, "again": SMOOTH, "spike": SPIKE}
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LTXTUI_RUNTIME_DIR", str(tmp_path_factory.mktemp("s")))
        for name, plan in sigmas.items():
            sample = torch.randn(1, 4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
            with record(runs_dir=runs, name=name, previews=False) as run:
                run.stage(plan, prompt="a red ball", seed=0)
                for sigma, after in zip(plan, [*plan[1:], 0.0], strict=True):
                    velocity = torch.sin(sample)
                    run.step(sigma=sigma, sigma_next=after, sample=sample, velocity=velocity)
                    sample = sample + (after - sigma) * velocity
            found[name] = run.path
    return found


def run_cli(*arguments: object, **environment: str) -> Any:
    return CliRunner().invoke(cli, ["compare", *map(str, arguments)], env={"LC_ALL": "C.UTF-8", **environment})


def test_the_command_compares_by_name_or_path(recorded: dict[str, Path]) -> None:
    runs_dir = recorded["smooth"].parent
    done = run_cli(recorded["smooth"], recorded["again"].stem, recorded["spike"], "--runs-dir", runs_dir)
    assert done.exit_code == 0, done.output
    assert "B and A are a fair pair" in done.output and "C and A are not a fair pair" in done.output
    assert "model evaluations 8, not 6; give both as many" in done.output
    assert "B does not differ from A in any row" in done.output
    assert re.search(r"C plans another σ from stage 0, step 4 on: 0\.95, not 0\.6", done.output)
    assert re.search(
        r"C first differs from A in stage 0, step 3, video: sigma_next is 0\.949999\d*, not 0\.6", done.output
    )
    assert re.search(r"^drift index +0\.\d+ +0\.\d+ +0 +0\.\d+ +[+−]\S+$", done.output, re.MULTILINE)
    assert all(f"({name})" in done.output for name in DEFAULT_METRICS)
    assert "B−A: 0 at all 6 points" in done.output and "\x1b" not in done.output


@pytest.mark.parametrize("align", ALIGNMENTS)
def test_the_command_gives_json_for_scripts(recorded: dict[str, Path], align: Align) -> None:
    options = ["--align", align, "--metric", "velocity_rms", "--metric", "sigma", "--tolerance", "1e-3", "--json"]
    done = run_cli(recorded["smooth"], recorded["spike"], *options)
    assert done.exit_code == 0, done.output
    data = json.loads(done.stdout)
    assert data["align"] == align and list(data["series"]) == ["velocity_rms", "sigma"]
    assert [r["path"] for r in data["runs"]] == [str(recorded["smooth"]), str(recorded["spike"])]
    assert len(data["axis"]["values"]) == (6 if align in ("sigma", "snr") else 8)
    assert data["divergences"][0]["step"] == 3 and data["tolerance"] == 1e-3
    if align == "sigma":
        assert data["series"]["sigma"]["residuals"][0] == pytest.approx([0] * 6, abs=1e-7)


def test_the_command_in_plain_ascii_without_plots(recorded: dict[str, Path]) -> None:
    done = run_cli(recorded["smooth"], recorded["spike"], LC_ALL="C", COLUMNS="64")
    assert done.exit_code == 0 and done.output.isascii() and "B B-A" in done.output
    short = run_cli(recorded["smooth"], recorded["spike"], "--no-plot")
    assert "drift index" in short.output and " over step" not in short.output


def test_an_unfinished_run_is_compared_as_far_as_it_is(recorded: dict[str, Path], tmp_path: Path) -> None:
    with record(runs_dir=tmp_path, name="going", previews=False) as run:
        sample = torch.randn(1, 4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
        run.stage(SMOOTH, prompt="a red ball", seed=0)
        run.step(sigma=1.0, sigma_next=0.9, sample=sample, velocity=torch.sin(sample))
        journal = locations.journal_of(run.path)

        def compared() -> Any:
            done = run_cli(recorded["smooth"], journal, "--json")
            data = json.loads(done.stdout) if done.exit_code == 0 else {}
            return data if data and data["runs"][1]["evaluations"] else None

        data = until(compared)  # the row is on its way to the journal
    assert data["runs"][1]["status"] == "unfinished" and data["runs"][1]["evaluations"] == 1
    assert data["divergences"] == [None] and data["series"]["velocity_rms"]["residuals"][0][0] == 0


def test_mistakes_are_one_line_with_the_way_out(recorded: dict[str, Path], tmp_path: Path) -> None:
    path = recorded["smooth"]
    for arguments, says in [
        ([path], "give 2 to 8 runs, not 1.*ltxtui runs"),
        ([path] * 9, "not 9"),
        ([path, "nobody"], "nobody does not exist.*ltxtui runs"),
        ([path, tmp_path], "not a recorded run"),
        ([path, path, "--metric", "sigmas"], "'sigmas' is not a scalar metric.*velocity_rms"),
        ([path, path, "--stage", "3"], "no stage 3"),
        ([path, path, "--stream", "audio"], "no stream 'audio'"),
    ]:
        done = run_cli(*arguments)
        assert done.exit_code == 1, done.output
        assert len(done.stderr.splitlines()) == 1 and re.match(f"ltxtui: .*{says}", done.stderr), done.stderr


def test_help_teaches_by_example_and_offers_every_alignment() -> None:
    text = run_cli("--help").output
    assert "Examples:" in text and "--align sigma" in text
    assert all(name in text for name in ALIGNMENTS)
