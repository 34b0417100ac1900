"""`ltxtui serve`: who is answered, what is sent, and that every viewer's process ends."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner

from ltxtui.actions import READ_ONLY
from ltxtui.app import Dashboard, Options
from ltxtui.cli import cli
from ltxtui.cli.serve import serve as serve_command
from ltxtui.state import SavedState
from ltxtui.terminal.browser import viewer
from ltxtui.terminal.browser.guard import Guard
from tests import recorded
from tests.chromium import PROGRAM, chromium
from tests.ltxtui.driving import ROOMY, loaded, until
from tests.ltxtui.fake import messages
from tests.ltxtui.fixture import fixture_messages
from tests.ltxtui.sources import Live
from tests.ltxtui.test_run_screen import Recorder
from tests.waiting import PATIENCE_SECONDS
from tests.waiting import until as waited

aiohttp = pytest.importorskip("aiohttp", reason="the extra `serve` is not installed")
pytest.importorskip("textual_serve", reason="the extra `serve` is not installed")

NAME = "20261122-143015-red-disc"
ECHO = """
import os, sys
os.write(1, b"__GANGLION__\\n")
def say(text):
    data = text.encode()
    os.write(1, b"D" + len(data).to_bytes(4, "big") + data)
say(f"pid {os.getpid()} {os.environ['COLUMNS']}x{os.environ['ROWS']} ")
if len(sys.argv) > 1:
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
while True:
    kind, size = sys.stdin.buffer.read(1), int.from_bytes(sys.stdin.buffer.read(4), "big")
    data = sys.stdin.buffer.read(size)
    if b'"quit"' in data and len(sys.argv) == 1 or not kind:
        break
    say(kind.decode() + data.decode() + " ")
"""


# -- the guard


@pytest.mark.parametrize(
    ("headers", "page", "socket"),
    [
        ({"Host": "127.0.0.1:9390"}, True, False),
        ({"Host": "127.0.0.1:9390", "Origin": "http://127.0.0.1:9390"}, True, True),
        ({"Host": "localhost:1234", "Origin": "http://localhost:1234"}, True, True),
        ({"Host": "[::1]:9390", "Origin": "http://[::1]:9390"}, True, True),
        ({"Host": "localhost", "Origin": "https://localhost"}, True, True),
        ({"Host": "127.0.0.1:9390", "Origin": "https://evil.example"}, False, False),
        ({"Host": "127.0.0.1:9390", "Origin": "http://127.0.0.1:9391"}, False, False),
        ({"Host": "127.0.0.1:9390", "Origin": "null"}, False, False),
        ({"Host": "127.0.0.1:9390", "Origin": "http://[x"}, False, False),
        ({"Host": "evil.example:9390", "Origin": "http://evil.example:9390"}, False, False),
        ({"Host": "127.0.0.1.evil.example"}, False, False),
        ({"Host": "127.0.0.1@evil.example"}, False, False),
        ({"Host": "[x"}, False, False),
        ({}, False, False),
    ],
)
def test_only_this_machine_and_the_own_page_are_answered(headers: dict[str, str], page: bool, socket: bool) -> None:
    guard = Guard()
    assert guard.admits(guard.token, headers) is page
    assert guard.admits(guard.token, headers, from_page=True) is socket
    for wrong in ("", guard.token[:-1], guard.token + "x", "é\udcff"):
        assert not guard.admits(wrong, headers) and not guard.admits(wrong, headers, from_page=True)
    assert guard.token not in repr(guard) and Guard().token != guard.token


# -- the server, with real requests


@asynccontextmanager
async def serving(tmp_path: Path, *more: str, most: int = 2) -> AsyncIterator[tuple[Any, str]]:
    """A server whose viewers' process echoes, and its address."""
    from ltxtui.terminal.browser.server import DashboardServer, Served, serve

    program = tmp_path / "echo.py"
    program.write_text(ECHO)
    server = DashboardServer(Served([sys.executable, "-S", str(program), *more], "a <run>", most=most))
    port: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()
    task = asyncio.create_task(serve(server, 0, port.set_result, over))
    try:
        yield server, f"http://127.0.0.1:{await port}"
    finally:
        over.set()
        await task
        assert server.viewers == 0


async def said(socket: Any, text: str) -> str:
    """What a viewer's process said until it has said a text."""
    found = ""
    while text not in found:
        message = await socket.receive(PATIENCE_SECONDS)
        assert message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT), (message, found)
        found += message.data.decode() if isinstance(message.data, bytes) else message.data
    return found


async def test_pages_are_for_the_token_only_and_ask_nobody_else(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, address), aiohttp.ClientSession() as client:
        token = server._served.guard.token
        refused: set[tuple[int, str]] = set()
        for path in ("", "/", "/x/", f"/{token}x/", f"/{token}", f"/{token[:-1]}/textual.js", "/x/socket", "/a/b/c"):
            async with client.get(address + path) as answer:
                refused.add((answer.status, await answer.text()))
        for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
            async with client.get(f"{address}/{token}/", headers=headers) as answer:
                refused.add((answer.status, await answer.text()))
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await client.ws_connect(f"{address}/{token}/socket", headers=headers)
            assert caught.value.status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError):  # no browser leaves it out
            await client.ws_connect(f"{address}/{token}/socket")
        assert refused == {(403, "403: forbidden")}
        async with client.get(f"{address}/{token}/") as answer:
            text = await answer.text()
            assert answer.status == 200 and "a &lt;run&gt; (read-only)" in text and "http" not in text
            assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
            assert answer.headers["Referrer-Policy"] == "no-referrer" and answer.headers["Cache-Control"] == "no-store"
        for name in ("page.js", "page.css", "textual.js", "xterm.css", "mono.ttf"):
            async with client.get(f"{address}/{token}/{name}") as answer:
                assert answer.status == 200 and await answer.read()
        for name in ("nothing", "..%2fguard.py", "guard.py"):
            async with client.get(f"{address}/{token}/{name}") as answer:
                assert answer.status == 404


async def test_viewers_are_few_and_their_processes_end_with_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ltxtui.terminal.browser import server as module

    monkeypatch.setattr(module, "_ROOM_LOOKS", 1)
    monkeypatch.setattr(viewer, "GRACE_SECONDS", 0.2)
    for more in ((), ("stubborn",)):
        async with serving(tmp_path, *more, most=1) as (server, address), aiohttp.ClientSession() as client:
            address += f"/{server._served.guard.token}/"
            headers = {"Origin": address.rstrip("/").rpartition("/")[0]}
            socket = await client.ws_connect(f"{address}socket?width=100000&height=x", headers=headers)
            process = psutil.Process(int((await said(socket, "x24 ")).split()[1]))
            with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
                await client.ws_connect(f"{address}socket", headers=headers)
            assert caught.value.status == 503
            async with client.get(address) as answer:
                assert answer.status == 503 and "1 viewers are connected already" in await answer.text()
            for sent in ('["stdin", "q\\ud800"]', "[", "[]", "{}", '["stdin", 3]', '["resize", [1]]', "[" * 100_000):
                await socket.send_str(sent)
            await socket.send_str('["resize", {"width": 1e99, "height": -4}]')
            await said(socket, '"width": 80, "height": 1}')
            await socket.send_str('["ping", "7"]')
            await said(socket, '["pong", "7"]')
            await socket.close()
            while server.viewers:
                await asyncio.sleep(0.01)
            assert not process.is_running()
            again = await client.ws_connect(f"{address}socket", headers=headers)
            process = psutil.Process(int((await said(again, "80x24 ")).split()[1]))
        assert not process.is_running(), "the server took it along"


async def test_a_dashboard_that_cannot_start_says_why(tmp_path: Path) -> None:
    async with serving(tmp_path) as (server, address), aiohttp.ClientSession() as client:
        (tmp_path / "echo.py").write_text("import sys; sys.exit('ltxtui: it is gone')")
        headers = {"Origin": address}
        socket = await client.ws_connect(f"{address}/{server._served.guard.token}/socket", headers=headers)
        await said(socket, "ltxtui: it is gone\r\n")
        assert (await socket.receive(PATIENCE_SECONDS)).type is aiohttp.WSMsgType.CLOSE


# -- the command


def test_what_cannot_be_served_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = CliRunner().invoke(cli, ["serve", "--port", str(port), "--runs-dir", str(tmp_path)])
    assert done.exit_code == 1
    assert done.output == f"ltxtui: port {port} is taken; choose another with --port, or --port 0 for any\n"
    done = CliRunner().invoke(cli, ["serve", "nothing", "--runs-dir", str(tmp_path)])
    assert done.exit_code == 1 and done.output.count("\n") == 1 and "does not exist" in done.output
    # Its module has the name of its command.
    monkeypatch.setattr(inspect.getmodule(serve_command.callback), "_LIBRARIES", ("no_such_library",))
    done = CliRunner().invoke(cli, ["serve"])
    assert done.output == "ltxtui: serving needs no-such-library; install it with: pip install 'ltxtui[serve]'\n"


# -- read-only


async def test_a_read_only_dashboard_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    some = list(messages(5))
    live = Live()
    app = Dashboard(live, Options(runs_dir=tmp_path, read_only=True))
    async with app.run_test(size=ROOMY) as pilot:
        live.send([{**some[0], "control": True}, *some[1:-1]])
        await loaded(pilot)
        for key in ("x", "s", "k", "e", "ctrl+s"):
            await pilot.press(key)
            await pilot.pause()
            assert len(app.screen_stack) == 1
        assert [n.message for n in app._notifications] == [READ_ONLY], "once while keys are held"
        await pilot.press("h")
        await pilot.press("question_mark")
        await pilot.pause()
        assert len(app.screen_stack) == 2, "help is there"
    assert not list(tmp_path.iterdir()) and not SavedState().tour_seen
    recorded.archive(tmp_path, NAME)
    app = Dashboard(options=Options(runs_dir=tmp_path, read_only=True))
    async with app.run_test(size=ROOMY) as pilot:
        await until(pilot, lambda: app.screen.model.current is not None)  # type: ignore[attr-defined]
        for key in ("x", "delete", "n", "number_sign"):
            await pilot.press(key)
            await pilot.pause()
            assert len(app.screen_stack) == 1


# -- in a browser


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="no headless Chromium is installed")
def test_in_a_browser_a_live_run_is_watched_and_stopped_only_if_that_is_allowed(tmp_path: Path) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir(0o700)
    recorder = Recorder(runtime)
    try:
        with served_by(tmp_path) as address, chromium() as browser:
            child = shown(browser, address)
            for key in "xsk":
                press(browser, key)
            waited(lambda: browser.ask("Page.captureScreenshot", format="png")["data"] != child.first)
            origin = address.rpartition("/")[0].rpartition("/")[0]
            assert browser.value("location.origin") == origin
            asked = [url for url in browser.requests() if not url.startswith(("data:", "blob:"))]
            assert len(asked) >= 5 and all(url.startswith(address) for url in asked), asked
            assert not [c for c in browser.complaints() if "Security" in c or "exceptionDetails" in c]
            browser.open(write(tmp_path / "evil.html", "<title>evil</title>"))
            waited(lambda: not child.process.is_running())
            socket = json.dumps(f"{address.replace('http', 'ws')}socket")
            foreign = (
                f"new Promise(done => {{ const s = new WebSocket({socket}); s.onopen = () => done('open');"
                "s.onerror = () => done('refused') })"
            )
            answer = browser.ask("Runtime.evaluate", expression=foreign, awaitPromise=True, returnByValue=True)
            assert answer["result"]["value"] == "refused"
        assert recorder.heard == []
        with served_by(tmp_path, "--control") as address, chromium() as browser:
            shown(browser, address)
            press(browser, "x")
            waited(lambda: press(browser, "y") or recorder.heard)
            assert [m["command"] for m in recorder.heard] == ["stop"]
    finally:
        recorder.close()


@dataclass
class Child:
    """The process behind a page, and the page as it was first drawn."""

    process: psutil.Process
    first: str


def shown(browser: Any, address: str) -> Child:
    """Open a served page and wait for its dashboard."""
    before = {p.pid for p in psutil.process_iter()}
    browser.ask("Page.navigate", url=address)
    waited(lambda: browser.value("document.body && document.body.classList.contains('-first-byte')"))
    # The command of a process that ends meanwhile is None.
    new = [p for p in psutil.process_iter(["cmdline"]) if p.pid not in before]
    found = [p for p in new if "ltxtui.terminal.browser.dashboard" in (p.info["cmdline"] or ())]
    (process,) = found
    waited(lambda: len(browser.ask("Page.captureScreenshot", format="png")["data"]) > 30_000)
    return Child(process, browser.ask("Page.captureScreenshot", format="png")["data"])


@contextmanager
def served_by(folder: Path, *more: str) -> Iterator[str]:
    """The address of a real `ltxtui serve` of the run that is live."""
    own = {"LTXTUI_RUNTIME_DIR": str(folder / "runtime"), "LTXTUI_STATE": str(folder / "state")}
    server = subprocess.Popen(
        [sys.executable, "-m", "ltxtui", "serve", fixture_messages()[0]["run"], "--port", "0", *more],
        env={**os.environ, **own}, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        server.send_signal(signal.SIGTERM)
        assert server.wait(PATIENCE_SECONDS) == 0
    finally:
        server.kill()
        server.wait()


def press(browser: Any, key: str) -> None:
    for kind in ("keyDown", "keyUp"):
        browser.ask("Input.dispatchKeyEvent", type=kind, key=key, text=key if kind == "keyDown" else "")


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path
