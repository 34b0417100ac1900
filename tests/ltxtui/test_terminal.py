"""The dashboard as a real process on a real pseudo-terminal: however it ends, the terminal is as it was."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ltxtui.fixture import journal_file
from tests.nursery import VIEWER, Child, Nursery, Terminal, nursery


@pytest.fixture(scope="module")
def processes() -> Iterator[Nursery]:
    with nursery(VIEWER) as made:
        yield made


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    made = Terminal()
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "runs").mkdir()
    journal_file(tmp_path / "runs")
    return tmp_path


def surroundings(folder: Path, **more: str) -> dict[str, str]:
    named = {f"LTXTUI_{name}": str(folder / name.lower()) for name in ("CONFIG", "STATE", "CACHE", "RUNTIME_DIR")}
    (folder / "config").write_text("tour = false\n")
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TERM": "xterm-256color",
        "LC_ALL": "C.UTF-8",
        **named,
        **more,
    }


def opened(
    processes: Nursery, terminal: Terminal, folder: Path, *arguments: str, ignored: tuple[int, ...] = (), **env: str
) -> Child:
    """A dashboard on a run, drawn and waiting for keys."""
    words = list(arguments) or ["replay", "restart", "--runs-dir", "runs"]
    child = processes.start(words, terminal, folder, surroundings(folder, **env), ignored)
    sign = b"Runs" if not words[0].startswith("replay") else b"REPLAY"
    terminal.until(lambda: sign in terminal.written and terminal.modes[2004])
    return child


ENDING = ("SIGTERM", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGINT", "SIGVTALRM", "SIGXCPU")


@pytest.mark.parametrize("name", ENDING)
def test_a_signal_ends_the_dashboard_and_gives_the_terminal_back(
    name: str, processes: Nursery, terminal: Terminal, folder: Path
) -> None:
    number = getattr(signal, name)
    child = opened(processes, terminal, folder)
    assert not terminal.restored
    child.signal(number)
    assert child.wait(terminal) == 128 + number
    assert terminal.restored and b"Traceback" not in terminal.written


def test_a_storm_of_signals_is_one_signal(processes: Nursery, terminal: Terminal, folder: Path) -> None:
    child = opened(processes, terminal, folder)
    for n in range(200):
        try:
            child.signal(signal.SIGINT if n % 10 else signal.SIGTERM)
        except ProcessLookupError:
            break
        terminal.read()
    assert child.wait(terminal) in (128 + signal.SIGINT, 128 + signal.SIGTERM)
    assert terminal.restored and b"Traceback" not in terminal.written and b"unexpected" not in terminal.written


def test_a_signal_while_a_dialog_is_open(processes: Nursery, terminal: Terminal, folder: Path) -> None:
    child = opened(processes, terminal, folder)
    terminal.type(b":")
    terminal.until(lambda: b"What to do?" in terminal.written)
    child.signal(signal.SIGTERM)
    assert child.wait(terminal) == 128 + signal.SIGTERM and terminal.restored


def state_of(child: Child) -> str:
    return Path(f"/proc/{child.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("stop", [signal.SIGTSTP, signal.SIGSTOP])
def test_stopped_and_continued_it_draws_again_and_ends_in_order(
    stop: int, processes: Nursery, terminal: Terminal, folder: Path
) -> None:
    child = opened(processes, terminal, folder)
    for _ in range(2):
        child.signal(stop)
        terminal.until(lambda: state_of(child) == "T")
        terminal.read(0.05)
        if stop == signal.SIGTSTP:
            assert terminal.restored, "the shell has the terminal meanwhile"
        terminal.written = b""
        child.signal(signal.SIGCONT)
        terminal.until(lambda: b"REPLAY" in terminal.written and terminal.modes[2004])
    child.signal(signal.SIGCONT)  # nobody stopped it: must not take the raw terminal for the one to give back
    terminal.type(b"q")
    assert child.wait(terminal) == 0
    assert terminal.restored


def test_a_thousand_changes_of_size(processes: Nursery, terminal: Terminal, folder: Path) -> None:
    child = opened(processes, terminal, folder)
    for n in range(1000):
        terminal.resize(20 + n % 150, 8 + n % 50)
        child.signal(signal.SIGWINCH)
        if n % 50 == 0:
            terminal.read()
    terminal.resize(100, 30)
    child.signal(signal.SIGWINCH)
    terminal.type(b"q")
    assert child.wait(terminal) == 0 and terminal.restored


def test_changes_of_size_that_come_faster_than_they_are_handled(
    processes: Nursery, terminal: Terminal, folder: Path
) -> None:
    child = opened(processes, terminal, folder)
    terminal.resize(120, 40)
    for _ in range(20_000):
        child.signal(signal.SIGWINCH)
    terminal.written = b""
    terminal.until(lambda: b"\x1b[40;" in terminal.written)  # the last line of the new size is drawn
    terminal.type(b"q")
    assert child.wait(terminal) == 0 and terminal.restored


@pytest.mark.parametrize("ignored", [(), (signal.SIGHUP,)])
def test_a_terminal_that_is_closed_ends_the_dashboard(
    ignored: tuple[int, ...], processes: Nursery, folder: Path
) -> None:
    terminal = Terminal()
    child = opened(processes, terminal, folder, ignored=ignored)
    terminal.close()
    assert child.wait() == 128 + signal.SIGHUP


def test_bytes_that_are_no_text_are_no_end(processes: Nursery, terminal: Terminal, folder: Path) -> None:
    child = opened(processes, terminal, folder)
    terminal.type(b"\xff\x80\xc3")
    terminal.type(b"?")
    terminal.until(lambda: b"Esc: close" in terminal.written)
    terminal.written = b""
    terminal.type(b"\xfeq")
    terminal.until(lambda: b"REPLAY" in terminal.written)  # a dialog ignores keys that come while it closes
    terminal.type(b"q")
    assert child.wait(terminal) == 0 and terminal.restored


def typed_ahead(terminal: Terminal) -> bytes:
    """What a shell would read now, without waiting."""
    os.set_blocking(terminal.slave, False)
    try:
        return os.read(terminal.slave, 100)
    except BlockingIOError:
        return b""


@pytest.mark.parametrize("keys", [b"qls -l\r", b"\x11ls -l\r"])
def test_keys_typed_while_it_quits_are_left_to_the_shell(
    keys: bytes, processes: Nursery, terminal: Terminal, folder: Path
) -> None:
    child = opened(processes, terminal, folder)
    time.sleep(1.1)  # the replies that the terminal gave at the start are old by then
    terminal.type(keys)
    assert child.wait(terminal) == 0 and terminal.restored
    assert typed_ahead(terminal).rstrip(b"\r\n") == b"ls -l"


def test_nothing_but_ascii_reaches_an_ascii_terminal(processes: Nursery, terminal: Terminal, folder: Path) -> None:
    child = opened(processes, terminal, folder, LC_ALL="C", PYTHONUTF8="0", LANG="C")
    for keys, sign in (
        (b"?", b"Esc: close"),
        (b"q", b""),
        (b"3", b"Waterfall"),
        (b"2", b"Filmstrip"),
        (b":", b"What to do?"),
    ):
        terminal.type(keys)
        terminal.until(lambda sign=sign: sign in terminal.written)
    terminal.type(b"\x11")
    assert child.wait(terminal) == 0 and terminal.restored
    assert terminal.written.isascii()


def test_an_error_nobody_foresaw_is_one_line_and_a_file(processes: Nursery, terminal: Terminal, folder: Path) -> None:
    child = opened(processes, terminal, folder, LTXTUI_STATE=str(folder / "kept" / "state.json"), BREAK="1")
    terminal.type(b"?")
    assert child.wait(terminal) == 1
    assert terminal.restored and b"Traceback" not in terminal.written
    (kept,) = (folder / "kept").glob("error-*.txt")
    assert b"ltxtui: unexpected error: RuntimeError: broken on purpose; details are in " in terminal.written
    assert str(kept).encode() in terminal.written.replace(b"\r\n", b"") and kept.stat().st_mode & 0o777 == 0o600
    assert "Traceback" in kept.read_text()
