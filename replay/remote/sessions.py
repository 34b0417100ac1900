"""Connections of ssh that the sessions of this program share: a password is asked for once, before the dashboard."""

from __future__ import annotations

import atexit
import contextlib
import subprocess
from typing import Final

from recorder.format import locations
from replay.remote.address import RemoteHost

PERSIST_SECONDS: Final = 60
"""How long a connection outlives its last session, where this program was killed before it could end it."""
_COMMAND_SECONDS: Final = 5.0
_MAX_PATH: Final = 90
"""ssh adds some characters to the path of a control socket while it makes it."""

_opened: dict[str, tuple[RemoteHost, tuple[str, ...]]] = {}
"""By address, the hosts whose sessions share a connection, and the options that make them do so."""


def options(host: RemoteHost) -> tuple[str, ...]:
    """The options of ssh by which a session shares the connection of its host; none before `open_session`."""
    return _opened[host.address][1] if host.address in _opened else ()


def open_session(host: RemoteHost, *, ask: bool) -> bool:
    """Connect to a host and keep the connection for the sessions that follow; returns whether there is one.

    Connections that the user's configuration shares are used as they are. ssh may ask on the terminal, for a password
    or about an unknown key, if `ask` is true.
    """
    if not host.by_ssh or host.address in _opened:
        return True
    if _said(host.ssh("-O", "check")):
        _opened[host.address] = (host, ())
        return True
    shared = _own_options()
    asking = () if ask else ("-o", "BatchMode=yes")
    try:
        made = subprocess.run(
            # Questions are asked on the terminal itself; what else ssh says comes again, where it is explained.
            [*host.ssh("-T", *asking, *shared), "exit"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except OSError:
        return False
    if made.returncode == 255:  # of ssh itself; any other is that of a shell
        return False
    if not _opened:
        atexit.register(close_sessions)
    _opened[host.address] = (host, shared)
    return True


def share(host: RemoteHost) -> None:
    """Let the sessions of a host share a connection, which the first of them makes; nothing is asked on the terminal.

    For many hosts at once: nothing is waited for but an answer of this machine.
    """
    if not host.by_ssh or host.address in _opened:
        return
    shared = () if _said(host.ssh("-O", "check")) else _own_options()
    if not _opened:
        atexit.register(close_sessions)
    _opened[host.address] = (host, shared)


def _own_options() -> tuple[str, ...]:
    """A control socket in the folder of this user's sockets; none if its path would be too long."""
    try:
        folder = locations.make_runtime_directory()
    except OSError:
        return ()
    path = folder / "ssh-%C"
    if len(str(path)) + 38 > _MAX_PATH:
        return ()
    return (
        "-o", "ControlMaster=auto", "-o", f"ControlPath={path}", "-o", f"ControlPersist={PERSIST_SECONDS}",
    )  # fmt: skip


def close_sessions() -> None:
    """End the connections that this program opened."""
    quiet = subprocess.DEVNULL
    ending = []
    for host, shared in _opened.values():
        if shared:
            with contextlib.suppress(OSError):
                command = host.ssh("-O", "exit", *shared)
                ending.append(subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet))
    _opened.clear()
    for process in ending:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_COMMAND_SECONDS)


def _said(command: list[str]) -> bool:
    """Whether a command of ssh to the process that shares a connection succeeded."""
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        quiet = subprocess.DEVNULL
        done = subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet, timeout=_COMMAND_SECONDS, check=False)
        return done.returncode == 0
    return False
