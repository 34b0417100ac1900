"""One dashboard process for one browser: what it draws goes to the browser, keys and sizes come back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from ltxtui.terminal.served import DRIVER, VARIABLE

GRACE_SECONDS: Final = 3.0
"""How long a dashboard may take to end, before it is terminated, then killed."""
MAX_CELLS: Final = 1000
"""Most columns and rows: a browser asks for what its window holds."""
_READY: Final = b"__GANGLION__\n"
"""After this line, textual's driver writes packets: a letter, a length of four bytes, and that many bytes."""
_MAX_ERRORS: Final = 4096
_MAX_PACKET: Final = 16 << 20


def cells(value: object, otherwise: int) -> int:
    """A number of columns or rows as a browser gave it, within bounds."""
    try:
        return max(1, min(MAX_CELLS, int(str(value))))
    except ValueError:
        return otherwise


class Viewer:
    """A process in a session of its own. `show` takes what a terminal would show."""

    def __init__(self, command: Sequence[str], show: Callable[[bytes], Awaitable[None]]) -> None:
        self._command = command
        self._show = show
        self._process: Process | None = None

    async def start(self, columns: int, rows: int, environment: Mapping[str, str]) -> None:
        """Raises OSError if no process can be started."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            start_new_session=True,
            env={
                **environment,
                VARIABLE: DRIVER,
                "TEXTUAL_COLOR_SYSTEM": "truecolor",
                "COLUMNS": str(columns),
                "ROWS": str(rows),
                # A browser has fonts for every drawing, whatever the locale of this program.
                "LC_ALL": "C.UTF-8",
                "TERM": "xterm-256color",
            },
        )

    async def run(self) -> None:
        """Pass on what the dashboard draws until it ends; then show the line of an error, if there was one."""
        process = self._process
        assert process is not None and process.stdout is not None and process.stderr is not None
        errors = asyncio.create_task(_last(process.stderr))
        try:
            await self._packets(process.stdout)
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                await self._end(process)
            said = await errors
        if process.returncode and said:
            await self._show(b"\x1bc" + said.strip().replace(b"\n", b"\r\n") + b"\r\n")

    async def _packets(self, output: asyncio.StreamReader) -> None:
        try:
            if await output.readline() != _READY:
                return
            while True:
                kind, size = await output.readexactly(1), int.from_bytes(await output.readexactly(4), "big")
                if size > _MAX_PACKET:
                    return
                data = await output.readexactly(size)
                if kind == b"D":
                    await self._show(data)
        except (asyncio.IncompleteReadError, ConnectionError, ValueError):
            return

    async def take(self, message: object) -> object:
        """Take a message of the browser's terminal: keys, a size, focus; gives the answer to a ping, else None."""
        kind, given = (*message, None, None)[:2] if isinstance(message, list) else (None, None)
        if kind == "stdin" and isinstance(given, str):
            await self._send(b"D", given.encode("utf-8", "replace"))
        elif kind == "resize" and isinstance(given, dict):
            size = {"width": cells(given.get("width"), 80), "height": cells(given.get("height"), 24)}
            await self._meta(type="resize", **size)
        elif kind in ("focus", "blur"):
            await self._meta(type=kind)
        elif kind == "ping" and isinstance(given, str):
            return ["pong", given[:100]]
        return None

    async def leave(self) -> None:
        """Ask the dashboard to end; `run` then returns."""
        if self._process is not None:
            await self._end(self._process)

    async def _end(self, process: Process) -> None:
        await self._meta(type="quit")
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, number)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(process.wait(), GRACE_SECONDS)
                return

    async def _meta(self, **said: Any) -> None:
        await self._send(b"M", json.dumps(said).encode())

    async def _send(self, kind: bytes, data: bytes) -> None:
        process = self._process
        if process is None or process.stdin is None or process.returncode is not None:
            return
        with contextlib.suppress(OSError, RuntimeError):  # it has ended
            process.stdin.write(kind + len(data).to_bytes(4, "big") + data)
            await process.stdin.drain()


async def _last(stream: asyncio.StreamReader) -> bytes:
    """The last bytes of a stream, read to its end."""
    found = b""
    while data := await stream.read(_MAX_ERRORS):
        found = (found + data)[-_MAX_ERRORS:]
    return found
