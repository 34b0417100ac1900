"""`make wheel`: builds sdist and wheel, installs the wheel in a clean environment, and uses it there as a user would.

The environment has no torch and is outside the checkout. The wheel is built from the sdist, which is therefore known
to be complete. Prints a line per check; ends with status 1 at the first one that fails.
"""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import tempfile
import termios
import time
import venv
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
FIXTURE = ROOT / "tests" / "ltxtui" / "data" / "restart.journal.z"
RUN = "20261122-143015-restart"
PACKAGES = ("ltxtui", "recorder", "replay")
HEAVY = ("torch", "diffusers", "transformers", "pytest", "mypy")
PATIENCE_SECONDS = 120.0
USER_SCRIPT = """\
from pathlib import Path

from recorder import Shock, record
from replay import compare

shock: int = Shock("restart", at=0.93)
with record(runs_dir=Path("runs"), name=3):
    pass
compare(0)
"""
"""A script with three wrong types, each of which mypy finds only if it sees the types of both packages."""
WRONG_LINES = (6, 7, 9)


def main() -> None:
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ltxtui-wheel-") as made:
        folder = Path(made).resolve()
        tools = environment(folder / "tools")
        install(tools, "hatchling", "mypy")
        sdist, wheel = build(tools, folder)
        check_contents(sdist, wheel)
        user = environment(folder / "user")
        install(user, str(wheel))
        Use(user.parent, folder).check(wheel)
        check_types(tools, user, folder)
    shown = ", ".join(str(path.relative_to(ROOT)) for path in (sdist, wheel))
    print(f"{shown}: all checks passed in {time.monotonic() - began:.0f} s")


def passed(what: str) -> None:
    print(f"  ok  {what}", flush=True)


def require(true: object, what: str, output: object = "") -> None:
    """End with status 1 unless something holds."""
    if not true:
        sys.exit(f"FAIL  {what}\n{output}")
    passed(what)


def environment(path: Path) -> Path:
    """A new virtual environment; returns its interpreter."""
    venv.create(path, with_pip=True, symlinks=True)
    return path / "bin" / "python"


def install(python: Path, *what: str) -> None:
    constraints = ("--constraint", str(ROOT / "constraints.txt"))
    subprocess.run([python, "-m", "pip", "install", "--quiet", *constraints, *what], check=True, cwd=python.parent)


# -- what is built


def build(tools: Path, folder: Path) -> tuple[Path, Path]:
    """The sdist of the checkout and the wheel of the sdist, both in `dist/`."""
    shutil.rmtree(DIST, ignore_errors=True)
    subprocess.run([tools, "-m", "hatchling", "build", "-t", "sdist", "-d", DIST], check=True, cwd=ROOT)
    (sdist,) = DIST.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "sdist", filter="data")
    (source,) = (folder / "sdist").iterdir()
    subprocess.run([tools, "-m", "hatchling", "build", "-t", "wheel", "-d", DIST], check=True, cwd=source)
    (wheel,) = DIST.glob("*.whl")
    return sdist, wheel


def check_contents(sdist: Path, wheel: Path) -> None:
    with tarfile.open(sdist) as archive:
        listed = {name.partition("/")[2] for name in archive.getnames()}
    folders = {name.partition("/")[0] for name in listed if "/" in name}
    require(folders == set(PACKAGES), "the sdist carries the three packages, not tests and benchmarks", folders)
    expected = {"CHANGELOG.md", "CITATION.cff", "LICENSE", "README.md", "SECURITY.md", "pyproject.toml"}
    require(expected <= listed, f"the sdist carries {', '.join(sorted(expected))}", listed)
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = (n for n in names if n.endswith(".dist-info/METADATA"))
        needed = re.findall(r"^Requires-Dist: ([A-Za-z0-9_-]+)[^;\n]*$", archive.read(metadata).decode(), re.M)
    tracked = subprocess.run(["git", "ls-files", *PACKAGES], cwd=ROOT, capture_output=True, text=True, check=False)
    missing = set(tracked.stdout.split()) - names
    require(not missing, "the wheel has every file of the packages that git has", missing)
    require(all(f"{p}/py.typed" in names for p in PACKAGES), "the wheel has py.typed in each package")
    require(not set(needed) & set(HEAVY), f"the wheel's base needs neither {' nor '.join(HEAVY)}", needed)


# -- what a user does


class Use:
    """Commands of the installed wheel, in a separate folder with its own home."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self.binaries = binaries
        self.folder = folder / "home"
        self.runs = self.folder / "runs"
        self.runs.mkdir(parents=True)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "LTXTUI", "XDG", "VIRTUAL_ENV"))}
        (folder / "t").mkdir(mode=0o700)
        self.environment = {
            **kept,
            "HOME": str(self.folder),
            "LTXTUI_RUNTIME_DIR": str(folder / "t"),
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "TERM": "xterm-256color",
        }

    def run(self, *command: str, status: int = 0) -> str:
        """A command's text on both outputs. Ends the checks if its status differs."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS
        )
        output = done.stdout + done.stderr
        if done.returncode != status:
            sys.exit(f"FAIL  `{' '.join(command)}` ended with status {done.returncode}, not {status}\n{output}")
        return output

    def check(self, wheel: Path) -> None:
        version = wheel.name.split("-")[1]
        where = (
            "import ltxtui, recorder, replay; print(ltxtui.__version__, *map(lambda p: p.__file__, (recorder, replay)))"
        )
        output = self.run("python", "-c", where).split()
        inside = all(Path(p).is_relative_to(self.binaries.parent) for p in output[1:])
        require(inside and output[0] == version, "the packages come from the wheel, with its version", output)
        specs = f"from importlib.util import find_spec; print(*map(find_spec, {HEAVY!r}))"
        found = set(self.run("python", "-c", specs).split())
        require(found == {"None"}, f"{', '.join(HEAVY)} are not installed", found)
        for command in (("ltxtui",), ("python", "-m", "ltxtui")):
            output = self.run(*command, "--version")
            require(
                output == f"ltxtui, version {version}\n", f"`{' '.join(command)} --version` prints {version}", output
            )
        self._runs()
        self._without_torch()
        self._dashboard()
        output = self.run("bash", "-c", "_LTXTUI_COMPLETE=bash_source ltxtui")
        require("complete -o nosort" in output, "completion for bash is printed", output)

    def _runs(self) -> None:
        output = self.run("ltxtui", "runs")
        require(
            "no runs in runs" in output and output.count("\n") == 1,
            "`ltxtui runs` without a run prints one line",
            output,
        )
        (self.runs / f"{RUN}.journal").write_bytes(zlib.decompress(FIXTURE.read_bytes()))
        listed = json.loads(self.run("ltxtui", "runs", "--json"))["runs"]
        require([r["name"] for r in listed] == [RUN], "`ltxtui runs --json` lists a journal", listed)
        self.run("ltxtui", "runs", "repair", RUN)
        require((self.runs / f"{RUN}.zarr" / "zarr.json").is_file(), "`ltxtui runs repair` makes its archive")
        output = self.run("ltxtui", "runs", "check", "restart")
        require(f"{RUN}.zarr" in output and "checksum" in output, "`ltxtui runs check` verifies the archive", output)
        require(RUN in self.run("ltxtui", "runs"), "`ltxtui runs` lists it")

    def _without_torch(self) -> None:
        for command in (("record", "--model", "nano"), ("demo",)):
            output = self.run("ltxtui", *command, status=1)
            one = output.count("\n") == 1 and "pip install 'ltxtui[ltx]'" in output
            require(one, f"`ltxtui {command[0]}` without torch names the extra to install in one line", output)

    def _dashboard(self) -> None:
        screen = Screen([str(self.binaries / "ltxtui"), "replay", "restart"], self.folder, self.environment)
        try:
            screen.wait_for("Tour of the screen")
            screen.press(b"\r")
            # The tour may open before the panels under it are drawn, so they are only sure to show once it is closed.
            screen.wait_for("restart", "noise level", "rules looked at the run")
            passed("`ltxtui replay` shows the archive in a pseudo-terminal")
            status = screen.leave()
            require(status == 0, "`q` leaves it with status 0", status)
        finally:
            screen.close()


class Screen:
    """A command in a pseudo-terminal of 120×36."""

    def __init__(self, command: Sequence[str], folder: Path, environment: dict[str, str]) -> None:
        self._shown = ""
        self._fd, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 36, 120, 0, 0))
        self._process = subprocess.Popen(
            command,
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            cwd=folder,
            env=environment,
            start_new_session=True,
        )
        os.close(terminal)

    def _read(self, seconds: float) -> None:
        if select.select([self._fd], [], [], seconds)[0]:
            try:
                self._shown += os.read(self._fd, 1 << 16).decode(errors="replace")
            except OSError:  # it has ended: Linux reports its end as an error
                time.sleep(seconds)

    @property
    def text(self) -> str:
        """All that was drawn, without control sequences."""
        return re.sub(r"\x1b(\[[0-9;?<>=]*[A-Za-z]|\][^\x07\x1b]*(\x07|\x1b\\)|.)", "", self._shown)

    def wait_for(self, *words: str) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while not all(word in self.text for word in words):
            if self._process.poll() is not None or time.monotonic() > end:
                sys.exit(f"FAIL  a screen with {words}\n{self.text[-4000:]}")
            self._read(0.2)

    def press(self, key: bytes) -> None:
        os.write(self._fd, key)

    def leave(self) -> int | None:
        """Press `q` until the command ends; returns its status."""
        end = time.monotonic() + PATIENCE_SECONDS
        while self._process.poll() is None and time.monotonic() < end:
            self.press(b"q")
            self._read(0.5)
        return self._process.poll()

    def close(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self._fd)


def check_types(tools: Path, user: Path, folder: Path) -> None:
    script = folder / "script.py"
    script.write_text(USER_SCRIPT)
    command = [tools, "-m", "mypy", "--python-executable", user, "--cache-dir", folder / "mypy", script.name]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    lines = sorted({int(line) for line in re.findall(r"^script\.py:(\d+): error", done.stdout, re.M)})
    require(lines == list(WRONG_LINES), "mypy finds the wrong types in a user's script", done.stdout + done.stderr)


if __name__ == "__main__":
    main()
