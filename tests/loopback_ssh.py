"""An sshd of the tests' own on loopback, with keys that are made for it; and an ssh that runs commands here."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.waiting import PATIENCE_SECONDS, until

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
MISSING = "" if SSHD and shutil.which("ssh") else "no sshd is installed"
_FAKE = """\
#!/bin/sh
# An ssh without a network: it runs the command here. Options that share connections find none.
while [ $# -gt 0 ]; do
    case $1 in
        --) shift; break ;;
        -O) exit 255 ;;
        -o | -p | -F) shift 2 ;;
        *) shift ;;
    esac
done
export SSH_HOST=$1
shift
{before}
exec sh -c "$*"
"""


def ltxtui_in(folder: Path, program: str | None = None) -> Path:
    """A folder for PATH that has `ltxtui`: this checkout's, or another shell script."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "ltxtui"
    script.write_text(program or f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m ltxtui "$@"\n')
    script.chmod(0o755)
    return folder


def fake_ssh(folder: Path, before: str = "") -> str:
    """The value of LTXTUI_SSH for an ssh that runs commands here, after the shell commands `before`."""
    folder.mkdir(parents=True, exist_ok=True)
    script = folder / "fake-ssh"
    script.write_text(_FAKE.format(before=before))
    script.chmod(0o755)
    return shlex.quote(str(script))


@dataclass
class Sshd:
    """A running sshd. `environment` is what its sessions have; a file that sessions start with can make noise."""

    port: int
    config: Path
    pid: int

    @property
    def command(self) -> str:
        """The value of LTXTUI_SSH."""
        return f"ssh -F {shlex.quote(str(self.config))}"


@contextlib.contextmanager
def loopback_sshd(folder: Path, environment: Mapping[str, str]) -> Iterator[Sshd]:
    """An sshd on a free port of loopback whose host is known as `box`; its sessions have the environment."""
    folder.mkdir(parents=True, exist_ok=True)
    if os.getuid() == 0:  # of root an empty folder is asked for, which the service makes at its start; it stays
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for name in ("host", "user"):
        made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(made, check=True, stdin=subprocess.DEVNULL)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "authorized").write_text((folder / "user.pub").read_text())
    public = " ".join((folder / "host.pub").read_text().split()[:2])
    (folder / "known").write_text(f"[127.0.0.1]:{port} {public}\n")
    given = " ".join(f'"{name}={value}"' for name, value in environment.items())
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder / 'host'}\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"AuthorizedKeysFile {folder / 'authorized'}\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        f"PermitRootLogin yes\nMaxStartups 100\nMaxSessions 50\nSetEnv {given}\n"
    )
    config = folder / "ssh_config"
    config.write_text(
        f"Host box\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {folder / 'user'}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {folder / 'known'}\n  GlobalKnownHostsFile /dev/null\n"
        f"Host refused\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {folder / 'host'}\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {folder / 'known'}\n"
    )
    log = folder / "sshd.log"
    assert SSHD is not None
    with log.open("wb") as said:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=said)
    try:
        until(lambda: b"listening" in log.read_bytes() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        yield Sshd(port, config, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_SECONDS)
