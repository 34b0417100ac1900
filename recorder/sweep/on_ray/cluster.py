"""The connection to a Ray cluster, as a driver. Ray is imported when a cluster is asked for."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import IO, Any, Final

from recorder.format.events import reason_of
from recorder.sweep.on_ray.request import ADDRESS, AUTO, CLIENT, LOCAL

EXTRA: Final = "--ray needs Ray; install it: pip install 'ltxtui[ray]'"
CONNECT_SECONDS: Final = 10.0
"""How long the port of a cluster may take to answer; Ray itself tries for minutes."""
OBJECT_STORE_BYTES: Final = 256 * 2**20
"""Of a cluster that is started for one sweep: it holds a few archives at a time."""
_VERSIONS: Final = re.compile(r"Ray: (\S+)\s+Python: (\S+)")
_RAISED: Final = re.compile(r"^(\w+Error: .*[^:\n])$", re.MULTILINE)
_LOOPBACK: Final = re.compile(r"localhost|127(?:\.\d+){3}|\[::1\]")


class NoCluster(RuntimeError):
    """A cluster that cannot be used; the message has the reason and the way out."""


@dataclass(frozen=True)
class Cluster:
    """What a cluster has when it is connected to: nodes, GPUs and CPUs that are part of it, in use or not."""

    nodes: int
    gpus: int
    cpus: int


@contextlib.contextmanager
def connected(address: str, log: IO[str]) -> Iterator[Cluster]:
    """Be a driver of a cluster while the block runs.

    Args:
        address: from `read_address`. `auto` is the address in RAY_ADDRESS, or the cluster that this machine is a node
            of. `local` starts a cluster of this machine alone, which only this process can use, and ends it.
        log: gets what Ray prints.

    Raises:
        NoCluster: if Ray is missing, no cluster answers, or it runs another version of Ray or Python.
    """
    if find_spec("ray") is None:
        raise NoCluster(EXTRA)
    if address == AUTO and (given := os.environ.get("RAY_ADDRESS")):
        address = given
    if found := ADDRESS.fullmatch(address):
        _check_port(address, found["host"].strip("[]"), int(found["port"]))
    with contextlib.ExitStack() as stack:
        _set_environment(address, found["host"] if found else "")
        import ray

        # Ray prints messages of its nodes on standard output, which belongs to the results.
        stack.enter_context(contextlib.redirect_stdout(log))
        try:
            with _own_signals():
                ray.init(
                    **_where(address, stack), log_to_driver=False, configure_logging=False, logging_level="CRITICAL"
                )
        except (ConnectionError, RuntimeError, ValueError, OSError, TypeError, ray.exceptions.RayError) as error:
            raise NoCluster(_refusal(address, error)) from error
        stack.callback(ray.shutdown)
        has = ray.cluster_resources()
        nodes = sum(name.startswith("node:") and not name.startswith("node:__") for name in has)
        yield Cluster(nodes, int(has.get("GPU", 0)), int(has.get("CPU", 0)))


def _check_port(address: str, host: str, port: int) -> None:
    try:
        socket.create_connection((host, port), CONNECT_SECONDS).close()
    except OSError as error:
        raise NoCluster(f"no Ray cluster answers at {address}: {reason_of(error)}") from error


def _set_environment(address: str, host: str) -> None:
    """Set what Ray reads when it is imported and started."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # a lost connection is not replaced by a cluster of this machine
    if address == LOCAL or _LOOPBACK.fullmatch(host):
        # The name is historical: without clusters, Ray keeps a loopback address as it is and listens nowhere else.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    if address == LOCAL:
        # Whoever reaches a port of Ray can run code; other users of this machine reach loopback too.
        os.environ["RAY_AUTH_MODE"] = "token"
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)


def _where(address: str, stack: contextlib.ExitStack) -> dict[str, Any]:
    if address != LOCAL:
        return {"address": address}
    # Not the usual folder for temporary files, whose path may be too long for sockets.
    folder = tempfile.mkdtemp(prefix="ltxtui-ray-", dir="/tmp")
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return {
        "address": LOCAL,
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
        "_node_ip_address": "127.0.0.1",
        "_temp_dir": folder,
    }


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """`ray.init` replaces the handler of SIGTERM by one that ends the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _refusal(address: str, error: BaseException) -> str:
    versions = _VERSIONS.findall(str(error))
    if len(versions) == 2:
        (there, python_there), (here, python_here) = versions
        return (
            f"the cluster runs Ray {there} on Python {python_there}, this process Ray {here} on Python {python_here}; "
            "install the same versions here, or run ltxtui on a node of the cluster"
        )
    if address == AUTO:
        return (
            "no Ray cluster runs on this machine; give the address of one, begin one with ray start --head, "
            "or use --ray local"
        )
    way_out = (
        "" if address == LOCAL or address.startswith(CLIENT) else "; run ltxtui on a node, or use ray://HOST:10001"
    )
    reason = (last_raised(error) or reason_of(error)).rstrip(".:")
    return f"the Ray cluster at {address} cannot be used: {reason}{way_out}"


def last_raised(error: BaseException) -> str | None:
    """Ray's errors quote tracebacks of other processes: the last exception in them; None if there is none."""
    found = _RAISED.findall(str(error))
    return str(found[-1]) if found else None
