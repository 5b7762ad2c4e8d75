"""A machine behind ssh for the tests: a real sshd with its own host key in namespaces of its own, on 127.0.0.1 alone.

with ssh_device.running(folder) as machine:
    devices.connect(machine.address)        # with EDGEDISTILL_SSH_CONFIG=machine.config
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

START_S = 20


@dataclass(frozen=True)
class Machine:
    """A running machine: what ssh needs to reach it, and the folder that it keeps its caches in."""

    port: int
    config: Path
    known_hosts: Path
    cache: Path
    daemon: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        """As on the command line."""
        return f"ssh:{getpass.getuser()}@127.0.0.1:{self.port}"

    def vanish(self) -> None:
        """Everything on it ends; its port is free when this returns."""
        self.daemon.kill()
        self.daemon.wait()
        end = time.monotonic() + START_S
        while _is_open(self.port):  # the kernel kills the children when the parent is gone, not with it
            assert time.monotonic() < end, f"something answers at {self.port}"
            time.sleep(0.02)


@contextlib.contextmanager
def running(folder: Path, space_mib: int = 0, **settings: str) -> Iterator[Machine]:
    """The machine, its files in a folder; with so much space for its caches, and settings of sshd. Skips where it cannot be had."""
    sshd = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if sshd is None or not shutil.which("ssh") or not shutil.which("unshare"):
        pytest.skip("no sshd, ssh or unshare here: apt-get install openssh-server openssh-client util-linux")
    if os.getuid() != 0:
        pytest.skip("sshd in namespaces of its own needs root")
    Path("/run/sshd").mkdir(exist_ok=True)
    machine = _configured(folder, _free_port(), settings)
    room = f"mount -t tmpfs -o size={space_mib}m none {machine.cache} && " if space_mib else ""
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += ["sh", "-c", f"{room}exec {sshd} -D -e -f {folder}/sshd_config"]
    with (folder / "log").open("wb") as log:
        daemon = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        if not _answers(machine.port, daemon):
            pytest.skip(f"sshd does not start here: {(folder / 'log').read_text(errors='replace')[-300:]}")
        yield Machine(machine.port, machine.config, machine.known_hosts, machine.cache, daemon)
    finally:
        daemon.kill()
        daemon.wait()


def new_key(file: Path) -> str:
    """A key pair beside a file; the public half, replacing what is there."""
    for old in (file, file.with_name(f"{file.name}.pub")):
        old.unlink(missing_ok=True)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(file)], check=True)
    return " ".join(file.with_name(f"{file.name}.pub").read_text(encoding="ascii").split()[:2])


@dataclass(frozen=True)
class _Files:
    port: int
    config: Path
    known_hosts: Path
    cache: Path


def _configured(folder: Path, port: int, settings: dict[str, str]) -> _Files:
    files = _Files(port, folder / "ssh_config", folder / "known_hosts", folder / "cache")
    files.cache.mkdir()
    files.known_hosts.write_text(f"[127.0.0.1]:{port} {new_key(folder / 'host_key')}\n", encoding="ascii")
    (folder / "authorized_keys").write_text(new_key(folder / "user_key") + "\n", encoding="ascii")
    here = {"Port": port, "ListenAddress": "127.0.0.1", "HostKey": folder / "host_key", "AuthorizedKeysFile": folder / "authorized_keys"}
    here |= {"StrictModes": "no", "UsePAM": "no", "PasswordAuthentication": "no", "PidFile": "none", "SetEnv": f"XDG_CACHE_HOME={files.cache}"}
    there = {"IdentityFile": folder / "user_key", "IdentitiesOnly": "yes", "UserKnownHostsFile": files.known_hosts}
    board = {"HostName": "127.0.0.1", "Port": port, "User": getpass.getuser()}
    (folder / "sshd_config").write_text(_lines(here | settings), encoding="ascii")
    files.config.write_text("Host board\n" + _lines(board) + "Host *\nGlobalKnownHostsFile /dev/null\n" + _lines(there), encoding="ascii")
    return files


def _lines(settings: dict[str, object]) -> str:
    return "".join(f"{name} {value}\n" for name, value in settings.items())


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def _answers(port: int, daemon: subprocess.Popen[bytes]) -> bool:
    until = time.monotonic() + START_S
    while time.monotonic() < until and daemon.poll() is None:
        if _is_open(port):
            return True
        time.sleep(0.05)
    return False


def _is_open(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
