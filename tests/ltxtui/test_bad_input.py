"""Commands with values that cannot be meant, and with outputs that take nothing: one line, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from ltxtui import cli as cli_module
from ltxtui.cli import BROKEN_PIPE, cli, main
from ltxtui.cli.options.numbers import strict
from recorder.format.numerals import counted, real, whole
from recorder.shocks.parse import parse_shocks
from replay.library import listing
from tests.ltxtui.fixture import journal_file

OTHER_DIGITS = "٣"


def numbers() -> list[tuple[list[str], str]]:
    """Every option of every command that takes a number."""
    found = []

    def walk(command: click.Command, words: list[str]) -> None:
        for parameter in command.params:
            if isinstance(parameter, click.Option) and parameter.type.name.split()[0] in ("integer", "float"):
                found.append((words, parameter.opts[0]))
        for name, each in getattr(command, "commands", {}).items():
            walk(each, [*words, name])

    walk(cli, [])
    return found


@pytest.mark.parametrize("value", [OTHER_DIGITS, "nan", "1_0", "x", "", "9" * 400])
def test_a_number_that_cannot_be_meant_is_refused_by_every_option(value: str) -> None:
    assert len(numbers()) > 30
    for words, option in numbers():
        result = CliRunner().invoke(cli, [*words, option, value])
        taken = value == "9" * 400 and result.exit_code == 1  # as a number it is none that is too large for a limit
        assert result.exit_code == 2 or taken, f"{words} {option} {value[:9]}: {result.output}"
        assert isinstance(result.exception, SystemExit | type(None)), result.exception


def test_only_the_digits_0_to_9_are_read_in_shocks_and_numbers() -> None:
    for text in (f"restart:step={OTHER_DIGITS},db=6", f"restart:sigma=0.9,db={OTHER_DIGITS}", "restart:at=1_0"):
        with pytest.raises(ValueError, match="cannot be read"):
            parse_shocks(text)
    assert whole(" -12 ") == -12 and real("1e-3") == 0.001
    for wrong in (OTHER_DIGITS, "1_0", "½", ""):
        with pytest.raises(ValueError):
            whole(wrong)
        with pytest.raises(ValueError):
            real(wrong)


def test_a_number_is_said_with_its_noun() -> None:
    assert counted(1, "run") == "1 run" and counted(0, "run") == "0 runs" and counted(1024, "row") == "1,024 rows"


def test_a_command_keeps_its_ranges_and_its_help() -> None:
    @click.command()
    @click.option("--n", type=click.IntRange(1, 5))
    def command(n: int) -> None:
        click.echo(n)

    run = CliRunner().invoke
    assert "1<=x<=5" in run(strict(command), ["--help"]).output
    assert run(command, ["--n", "5"]).output == "5\n" and run(command, ["--n", "6"]).exit_code == 2


def test_one_step_of_a_stretched_schedule_is_refused_before_anything_is_recorded(tmp_path: Path) -> None:
    asked = [["plan"], ["plan", "--json"], ["record", "--runs-dir", str(tmp_path / "runs")]]
    for words in asked:
        result = CliRunner().invoke(cli, [*words, "--model", "nano", "--steps", "1"])
        assert result.exit_code == 1 and "no noise level for 1 step" in result.output, result.output
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())
    one = CliRunner().invoke(cli, ["plan", "--sigmas", "[1.0]"])
    assert one.exit_code == 0 and "1 explicit noise level, used unchanged" in one.output
    assert "1 model evaluation, as many" in one.output


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "runs").mkdir()
    for name in ("restart", "smooth"):
        journal_file(tmp_path / "runs", name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LTXTUI_STATE", str(tmp_path / "state" / "state.json"))
    return tmp_path / "runs"


WRITING = (
    ["runs"],
    ["runs", "--json"],
    ["compare", "restart", "smooth"],
    ["config"],
    ["--help"],
    ["plan", "--sigmas", "1,.5"],
)


def ended(arguments: list[str], **streams: object) -> tuple[int, str]:
    """Exit status and standard error of the command as a separate process: streams are a process's, not a call's."""
    done = subprocess.run(
        [sys.executable, "-c", "from ltxtui.cli import main; main()", *arguments],
        stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False, **streams,  # type: ignore[call-overload]
    )  # fmt: skip
    return done.returncode, done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", WRITING, ids=" ".join)
def test_an_output_that_is_full_is_one_line(arguments: list[str], runs: Path) -> None:
    with Path("/dev/full").open("w") as full:
        status, said = ended(arguments, stdout=full)
    assert status == 1 and said.count("\n") == 1 and "No space left on device" in said, said


def test_a_pipe_that_nobody_reads_is_no_word(runs: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        status, said = ended(["compare", "restart", "smooth"], stdout=write)
    finally:
        os.close(write)
    assert status in (1, BROKEN_PIPE) and said == ""


def test_standard_streams_that_are_closed_are_no_error(runs: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", '"$0" -c "from ltxtui.cli import main; main()" runs <&- >&- 2>&-', sys.executable],
        check=False,
    )
    assert done.returncode == 0


def test_what_nobody_foresaw_is_one_line_and_a_file(
    runs: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(*arguments: object) -> None:
        raise ZeroDivisionError("of something")

    monkeypatch.setattr(listing, "cached_look", broken)
    monkeypatch.setattr(cli_module, "_without_output", lambda status: status)
    monkeypatch.setattr(sys, "argv", ["ltxtui", "runs"])
    with pytest.raises(SystemExit) as end:
        main()
    said = capfd.readouterr().err
    (kept,) = (runs.parent / "state").glob("error-*.txt")
    assert end.value.code == 1
    assert said == f"ltxtui: unexpected error: ZeroDivisionError: of something; details are in {kept}\n"
    assert "Traceback" in kept.read_text()


def test_without_a_home_nothing_is_kept_and_nothing_fails(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ltxtui.settings import load, settings_path
    from ltxtui.state import SavedState, state_path
    from replay.library.cache import cache_file

    def nobody(path: str) -> str:
        return path

    for kind in ("STATE", "CONFIG", "CACHE"):
        monkeypatch.delenv(f"LTXTUI_{kind}", raising=False)
        monkeypatch.delenv(f"XDG_{kind}_HOME", raising=False)
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", nobody)
    assert state_path() is None and settings_path() is None and cache_file(runs) is None
    state = SavedState()
    state.set_tour_seen(True)
    assert state.tour_seen and load().notice == ""
    assert "restart" in CliRunner().invoke(cli, ["runs"]).output
    told = CliRunner().invoke(cli, ["config"])
    assert told.exit_code == 0 and "the home directory is unknown" in told.output
    for option in ("--edit", "--tour"):
        told = CliRunner().invoke(cli, ["config", option])
        assert told.exit_code == 1 and "home directory" in told.output, told.output


def test_a_run_of_before_1970_is_listed(tmp_path: Path) -> None:
    from tests import recorded

    recorded.archive(tmp_path, "19600101-000000-old", at=-3e8)
    assert "old" in CliRunner().invoke(cli, ["runs", "--runs-dir", str(tmp_path)]).output


def test_waiting_in_a_runtime_directory_open_to_others_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    monkeypatch.setenv("LTXTUI_RUNTIME_DIR", str(folder))
    result = CliRunner().invoke(cli, ["watch", "--wait"])
    assert result.exit_code == 1 and str(folder) in result.output and result.output.count("\n") == 1
    from ltxtui.cli.watch_replay import _first_since

    with pytest.raises(LookupError, match="open"):
        _first_since(0.0, None)
