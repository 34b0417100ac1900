"""What is run on a host without ltxtui, by its python3: joins the pipe to the socket of a live run.

Sent as text, so it needs nothing but the standard library, of old versions too. Arguments: part of a run's name, and
`wait` to wait for the next run.
"""

import json
import os
import select
import socket
import sys
import tempfile
import time
from typing import Any

ENDING = ".sock"


def folder():
    # type: () -> str
    made = os.path.join(tempfile.gettempdir(), "ltxtui-%d" % os.getuid())  # noqa: UP031, PTH118
    return os.environ.get("LTXTUI_RUNTIME_DIR") or made


def names():
    # type: () -> list[str]
    try:
        return sorted(name[: -len(ENDING)] for name in os.listdir(folder()) if name.endswith(ENDING))  # noqa: PTH208
    except OSError:
        return []


def connected(name):
    # type: (str) -> socket.socket | None
    found = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        found.connect(os.path.join(folder(), name + ENDING))  # noqa: PTH118
        return found
    except OSError:
        found.close()
        return None


def say(**said):
    # type: (object) -> None
    os.write(1, json.dumps(said).encode() + b"\n")


def viewer_left(seconds):
    # type: (float) -> bool
    return bool(select.select([0], [], [], seconds)[0]) and not os.read(0, 65536)


def choose(asked, wait):
    # type: (str, bool) -> tuple[str, socket.socket] | None
    known = names() if wait else []
    if wait:
        say(waiting=True)
    while True:
        there = [n for n in names() if n not in known and asked in n]
        there = [n for n in there if n == asked] or there
        pairs = [(n, c) for n, c in ((n, connected(n)) for n in there) if c is not None]
        if len(pairs) == 1 or (wait and pairs):
            return pairs[0]
        if not wait:
            if pairs:
                choices = [{"name": n, "host": "", "started": time.time(), "answers": True} for n, _ in pairs[:50]]
                say(choose=choices)
            else:
                named = " with %r in its name" % asked if asked else ""  # noqa: UP031
                say(error="no live run" + named + "; without ltxtui there, runs that have ended cannot be read")
            return None
        if viewer_left(0.5):
            return None


def join(run):
    # type: (socket.socket) -> None
    while True:
        both: Any = [run, 0]
        ready = select.select(both, [], [])[0]
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                return
            run.sendall(data)
        if run in ready:
            data = run.recv(65536)
            if not data:
                return
            while data:
                data = data[os.write(1, data) :]


def main():
    # type: () -> None
    say(ltxtui="", relay=1, oldest=1, plain=True)
    found = choose(sys.argv[1], sys.argv[2:] == ["wait"])
    if found is not None:
        say(run=found[0], stream=True, live=True)
        join(found[1])


if __name__ == "__main__":
    main()
