"""Serves dashboards on this machine's loopback address: a page, its files, and a WebSocket with a process behind each.

The terminal in the browser is textual-serve's, and the process is a dashboard under Textual's driver for it. The server
is our own: textual-serve has no token, takes a WebSocket from any page, needs to know its address, and starts a shell.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from aiohttp import WSCloseCode, WSMsgType, web

from ltxtui.terminal.browser.guard import Guard
from ltxtui.terminal.browser.page import HEADERS, full, page, static
from ltxtui.terminal.browser.viewer import Viewer, cells

HOST: Final = "127.0.0.1"
_MAX_MESSAGE: Final = 1 << 20
_HEARTBEAT_SECONDS: Final = 15.0
_ROOM_LOOKS: Final = 40
"""Times, 50 ms apart, that a viewer too many looks whether another one has left."""


@dataclass(frozen=True)
class Served:
    """What is served.

    Attributes:
        command: the words of the process that shows the dashboard, one for each viewer.
        title: of the page.
        read_only: whether the dashboards refuse what changes a run.
        most: viewers at the same time.
        guard: decides whose requests are answered.
        environment: of the processes; by default this one's.
    """

    command: Sequence[str]
    title: str
    read_only: bool = True
    most: int = 4
    guard: Guard = field(default_factory=Guard)
    environment: Mapping[str, str] | None = None


class DashboardServer:
    """Answers requests and keeps the viewers' processes, which end when their browsers leave, or with it."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._open: set[web.WebSocketResponse] = set()
        self._starting = 0

    @property
    def viewers(self) -> int:
        """Browsers that are connected."""
        return len(self._open) + self._starting

    def app(self) -> web.Application:
        """The application, with every route below the token."""
        made = web.Application(middlewares=[self._guarded()])
        made.router.add_get("/{token}/", self._page)
        made.router.add_get("/{token}/socket", self._socket)
        made.router.add_get("/{token}/{name}", self._static)
        made.on_shutdown.append(self._leave)
        return made

    def _guarded(self) -> Any:
        guard = self._served.guard

        @web.middleware  # type: ignore[untyped-decorator]
        async def check(request: web.Request, handler: Callable[[web.Request], Any]) -> web.StreamResponse:
            # A path that is not known has no token either: all of these are the same to a stranger.
            given, socket = request.match_info.get("token", ""), request.path.endswith("/socket")
            if not guard.admits(given, request.headers, from_page=socket):
                return web.Response(status=403, text="403: forbidden", headers=HEADERS)
            try:
                answer: web.StreamResponse = await handler(request)
            except web.HTTPException as error:
                return web.Response(status=error.status, text=f"{error.status}: {error.reason}", headers=HEADERS)
            if not answer.prepared:
                answer.headers.update(HEADERS)
            return answer

        return check

    async def _page(self, request: web.Request) -> web.Response:
        if not await self._room():
            return web.Response(status=503, text=full(self._served.most), content_type="text/html")
        return web.Response(text=page(self._served.title, read_only=self._served.read_only), content_type="text/html")

    async def _static(self, request: web.Request) -> web.Response:
        if (found := static(request.match_info["name"])) is None:
            raise web.HTTPNotFound
        return web.Response(body=found.data, content_type=found.kind)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if not await self._room():
            raise web.HTTPServiceUnavailable
        socket = web.WebSocketResponse(timeout=2.0, heartbeat=_HEARTBEAT_SECONDS, max_msg_size=_MAX_MESSAGE)
        self._starting += 1  # there is an await before it is in the set
        try:
            await socket.prepare(request)
            self._open.add(socket)
        finally:
            self._starting -= 1
        try:
            await self._converse(socket, cells(request.query.get("width"), 80), cells(request.query.get("height"), 24))
        finally:
            self._open.discard(socket)
        return socket

    async def _room(self) -> bool:
        """Whether there is room for a viewer. A page that is loaded again waits for the process that it leaves."""
        for _ in range(_ROOM_LOOKS):
            if self.viewers < self._served.most:
                return True
            await asyncio.sleep(0.05)
        return False

    async def _converse(self, socket: web.WebSocketResponse, columns: int, rows: int) -> None:
        async def show(data: bytes) -> None:
            with contextlib.suppress(ConnectionError, RuntimeError):  # the browser has left
                await socket.send_bytes(data)

        viewer = Viewer(self._served.command, show)
        try:
            await viewer.start(columns, rows, self._served.environment or os.environ)
        except OSError as error:
            await show(f"ltxtui: no dashboard can be started: {error.strerror or error}\r\n".encode())
            await socket.close()
            return
        drawing = asyncio.create_task(viewer.run())
        drawing.add_done_callback(lambda _: asyncio.ensure_future(socket.close()))
        try:
            async for message in socket:
                if message.type is not WSMsgType.TEXT:
                    continue
                try:
                    answer = await viewer.take(json.loads(message.data))
                except (ValueError, RecursionError):
                    continue
                if answer is not None:
                    await socket.send_json(answer)
        except ConnectionError:
            pass
        finally:
            await asyncio.shield(self._ended(viewer, drawing))

    async def _ended(self, viewer: Viewer, drawing: asyncio.Task[None]) -> None:
        await viewer.leave()
        await asyncio.wait([drawing])

    async def _leave(self, _: web.Application) -> None:
        for socket in list(self._open):
            await socket.close(code=WSCloseCode.GOING_AWAY)
        while self.viewers:
            await asyncio.sleep(0.02)


async def serve(server: DashboardServer, port: int, ready: Callable[[int], None], over: asyncio.Event) -> None:
    """Serve until it is over; the viewers' processes have ended when it returns.

    Args:
        server: with what it serves.
        port: of the loopback address; 0 for any that is free.
        ready: called with the port once requests are answered.
        over: set to end it.

    Raises:
        OSError: if the port is taken or may not be used.
    """
    runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, HOST, port)
        await site.start()
        ready(int(runner.addresses[0][1]))
        await over.wait()
    finally:
        await runner.cleanup()
