"""A process that has loaded torch once and forks the recorders that tests hurt: `python -m tests.faults.nursery`.

Requests and replies are JSON lines. It starts no threads, so that it can be forked safely; a child runs one function
of `scenarios`, with its output and log lines in a file.
"""

from __future__ import annotations

import atexit
import gc
import io
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from contextlib import redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any


def child(request: dict[str, Any]) -> int:
    """Run one scenario as the user and with the environment asked for; returns the exit status."""
    import torch

    from tests.faults import scenarios

    # After a fork torch makes its pool anew at the first use in any thread, and fails if two threads come at once.
    torch.set_num_threads(1)
    # A child that is another user may not be able to read the interpreter's own modules: `main` has loaded them.
    out = os.open(request["out"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    null = os.open(os.devnull, os.O_RDONLY)
    for into, descriptor in ((null, 0), (out, 1), (out, 2)):
        os.dup2(into, descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(request["env"])
    logging.basicConfig(level=logging.WARNING, format="LOG %(name)s %(message)s", stream=sys.stderr, force=True)
    if request["uid"] is not None:
        os.setgroups([])
        os.setgid(request["uid"])
        os.setuid(request["uid"])
    try:
        getattr(scenarios, request["scenario"])(**request["given"])
    except SystemExit as leaving:
        return int(leaving.code or 0)
    except KeyboardInterrupt:
        return 130
    except Exception:  # noqa: BLE001 - the test reads what is printed
        traceback.print_exc()
        return 70
    return 0


def start(request: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = 71
    try:
        status = child(request)
        atexit._run_exitfuncs()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def wait(pid: int, seconds: float) -> int | None:
    """Its exit status, negative for a signal; None while it runs."""
    limit = time.monotonic() + seconds
    while (found := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.monotonic() > limit:
            return None
        time.sleep(0.005)
    return os.waitstatus_to_exitcode(found[1])


def main() -> None:
    import torch

    from tests.faults import scenarios

    for used in ("multiprocessing.popen_fork", "ltxtui.cli.record", "recorder.generate", "recorder.archive.rebuild"):
        import_module(used)
    import_module("replay.sources.open")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="ltx-", dir="/tmp") as folder, redirect_stdout(io.StringIO()):
        os.environ["LTXTUI_RUNTIME_DIR"] = f"{folder}/sock"
        scenarios.plain(folder)  # loads what is loaded on first use
        assert list(Path(folder).glob("*.zarr"))
    while threading.active_count() > 1:
        time.sleep(0.001)
    gc.collect()
    gc.freeze()  # else a child's collector would copy all that has been loaded, page by page
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        if request["do"] == "start":
            reply: dict[str, Any] = {"pid": start(request)}
        else:
            reply = {"status": wait(request["pid"], request["seconds"])}
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
