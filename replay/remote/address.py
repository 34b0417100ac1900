"""Addresses of hosts and their runs, and the commands that reach them."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import unquote, urlsplit

SSH_VARIABLE: Final = "LTXTUI_SSH"
"""The environment variable that names another ssh command, with its options."""
SCHEMES: Final = ("ssh", "host")
CONNECT_SECONDS: Final = 15
_KEEP_ALIVE: Final = (
    "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3", "-o", f"ConnectTimeout={CONNECT_SECONDS}",
)  # fmt: skip
_NAME: Final = re.compile(r"[\w.:%\[\]-]+", re.ASCII)
_USER: Final = re.compile(r"[\w.@+-]+", re.ASCII)


class BadAddress(ValueError):
    """An address that cannot be used; the message says why."""


@dataclass(frozen=True)
class RemoteHost:
    """A machine with runs, and how it is reached: by ssh, or by a prefix such as `srun --jobid 4711 --overlap`.

    Attributes:
        name: what it is called on the screen.
        destination: what ssh gets as its host, with the user if one is named.
        port: of ssh; None for that of its configuration.
        prefix: the words of another command that runs a command there; empty for ssh.
        command: the words of ltxtui there.
        runs_dir: the folder of runs there; empty for the one that ltxtui takes there.
    """

    name: str
    destination: str = ""
    port: int | None = None
    prefix: tuple[str, ...] = ()
    command: tuple[str, ...] = ("ltxtui",)
    runs_dir: str = ""

    @property
    def by_ssh(self) -> bool:
        return not self.prefix

    @property
    def address(self) -> str:
        """What the command line takes for it."""
        if not self.by_ssh:
            return f"host://{self.name}"
        port = "" if self.port is None else f":{self.port}"
        return f"ssh://{self.destination}{port}"

    def relay(self, *words: str) -> list[str]:
        """The words that start its relay on the host itself."""
        folder = [f"--runs-dir={self.runs_dir}"] if self.runs_dir else []
        return [*self.command, "relay", *folder, *words]

    def reached(self, words: Sequence[str], *options: str) -> list[str]:
        """The command that runs words on the host from here, with options of ssh; it never asks for a password."""
        if not self.by_ssh:
            return [*self.prefix, *words]
        # A shell reads the words on the other side.
        return [*self.ssh("-T", "-o", "BatchMode=yes", *options), shlex.join(words)]

    def ssh(self, *options: str) -> list[str]:
        """The ssh command with options, up to the host."""
        port = [] if self.port is None else ["-p", str(self.port)]
        return [*ssh_command(), *_KEEP_ALIVE, *options, *port, "--", self.destination]


def ssh_command() -> list[str]:
    """The ssh of the system, or the words of `LTXTUI_SSH`."""
    return shlex.split(os.environ.get(SSH_VARIABLE, "")) or ["ssh"]


@dataclass(frozen=True)
class Address:
    """A host, and part of the name of one of its runs; empty for none."""

    host: RemoteHost
    run: str = ""


def is_address(text: str) -> bool:
    """Whether a word of the command line is the address of a host."""
    return text.startswith(tuple(f"{scheme}://" for scheme in SCHEMES))


def parse_address(text: str, hosts: Mapping[str, RemoteHost] | None = None) -> Address:
    """Read `ssh://[user@]host[:port][/run]`, or `host://name[/run]` of a host in the settings.

    Args:
        text: the address.
        hosts: the hosts of the settings by their names, whose folder and command are taken for ssh too.

    Raises:
        BadAddress: if it is anything else.
    """
    hosts = hosts or {}
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise BadAddress(f"{text}: {error}; write ssh://[user@]host[:port][/run]") from None
    user, at, name = parts.netloc.rpartition("@")
    name = name if port is None else name[: -len(f":{port}")]
    run = unquote(parts.path).strip("/")
    if parts.query or parts.fragment or ":" in user:
        raise BadAddress(f"{text}: write ssh://[user@]host[:port][/run], without a password, ? and #")
    if "/" in run:
        raise BadAddress(f"{text}: name a run, not a path; the folder of runs is given with --runs-dir")
    if parts.scheme == "host":
        if name not in hosts:
            known = ", ".join(hosts) or "none"
            raise BadAddress(f"{text}: {name!r} is not in [hosts] of the settings ({known})")
        return Address(hosts[name], run)
    name = name.rstrip(":")
    _check(name, user, text)
    settings = hosts.get(name)
    if settings is not None and settings.by_ssh and not at and port is None:
        return Address(settings, run)
    host = RemoteHost(name, f"{user}{at}{name.strip('[]')}", port)
    if settings is not None:
        host = replace(host, command=settings.command, runs_dir=settings.runs_dir)
    return Address(host, run)


def _check(name: str, user: str, text: str) -> None:
    """Refuse what ssh would take for an option, or a shell for more than a word."""
    if not _NAME.fullmatch(name) or name.startswith("-"):
        raise BadAddress(f"{text}: {name!r} is not the name of a host; write ssh://[user@]host[:port][/run]")
    if user and (not _USER.fullmatch(user) or user.startswith("-")):
        raise BadAddress(f"{text}: {user!r} is not the name of a user")


def named_hosts(text: str, hosts: Mapping[str, RemoteHost]) -> list[RemoteHost]:
    """The hosts of a list such as `a,b,ssh://me@c:2222`: names of the settings, of ssh, or addresses.

    Raises:
        BadAddress: if one of them is not a host.
    """
    found = []
    for word in dict.fromkeys(filter(None, (part.strip() for part in text.split(",")))):
        if word in hosts:
            found.append(hosts[word])
            continue
        address = parse_address(word if "://" in word else f"ssh://{word}", hosts)
        if address.run:
            raise BadAddress(f"{word}: name hosts only, without a run")
        found.append(address.host)
    return found


def read_host(name: str, value: object) -> RemoteHost:
    """A host of the settings: its address, or a table with `address` or `prefix`, and `command` and `runs_dir`.

    Raises:
        BadAddress: if it is anything else.
    """
    table = {"address": value} if isinstance(value, str) else value
    known = ("address", "prefix", "command", "runs_dir")
    if not isinstance(table, dict) or not all(isinstance(table.get(key, ""), str) for key in known):
        raise BadAddress('is neither an address such as "ssh://me@gpu-box" nor a table of text')
    if unknown := [key for key in table if key not in known]:
        raise BadAddress(f"{unknown[0]!r} is not known; a host has {', '.join(known)}")
    if "prefix" in table and "address" in table:
        raise BadAddress("has both an address and a prefix")
    if not _NAME.fullmatch(name) or name.startswith("-"):
        raise BadAddress("is not a name of letters, digits, . - and _")
    try:
        prefix, command = (tuple(shlex.split(table.get(key, ""))) for key in ("prefix", "command"))
    except ValueError as error:
        raise BadAddress(f"cannot be read as words: {error}") from None
    if prefix:
        host = RemoteHost(name, prefix=prefix)
    else:
        address = parse_address(table.get("address") or f"ssh://{name}")
        if address.run:
            raise BadAddress("names a run; an address of a host ends with the host")
        host = replace(address.host, name=name)
    return replace(host, command=command or host.command, runs_dir=table.get("runs_dir", ""))
