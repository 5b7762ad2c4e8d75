"""A Linux machine behind ssh, by the system's own client: its configuration, keys and known hosts hold, and host keys are checked.

ssh:HOST   ssh:USER@HOST:PORT   HOST may be a name in the ssh configuration; EDGEDISTILL_SSH_CONFIG names another configuration
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from edgedistill.devices._remote import Remote, found
from edgedistill.devices._shell import Shell, known, last_line
from edgedistill.errors import ConfigError, DeviceError

HOME = "${XDG_CACHE_HOME:-$HOME/.cache}/edgedistill-device"
CONNECT_S = 15
IDLE_S = 60  # so long the connection outlives a client that was killed
SORRY: Mapping[str, tuple[str, str]] = {
    r"Offending \S+ key in (\S+):\d+[\s\S]*Host key for (\S+) has changed": (
        "the host key of {1} is not the one that is known: another machine answers there, or it was set up anew",
        "if you know why: ssh-keygen -f {0} -R '{1}'   then add the new key (ssh-keyscan)",
    ),
    r"No \S+ host key is known for \[(\S+)\]:(\d+)": (
        "the host key of {0} port {1} is not known",
        "ssh-keyscan -p {1} {0} >> ~/.ssh/known_hosts   after its fingerprint was compared with the machine's own",
    ),
    r"No \S+ host key is known for (\S+)": (
        "the host key of {0} is not known",
        "ssh-keyscan {0} >> ~/.ssh/known_hosts   after its fingerprint was compared with the machine's own",
    ),
    r"Permission denied \(([^)]*)\)": ("it lets nobody in without being asked ({0})", "set up a key: ssh-copy-id"),
    r"Could not resolve hostname (\S+):": ("no machine is called {0}", "check the address and the ssh configuration"),
    r"connect to host (\S+) port (\d+): (.*)": ("nothing answers at {0} port {1}: {2}", "is it on, and does sshd run there?"),
}


def check(rest: str) -> None:
    """Raises ConfigError for an address that is none."""
    _parts(rest)


def connect(rest: str) -> Remote:
    """The machine at HOST or USER@HOST:PORT.

    Raises ConfigError for an address that is none, DeviceError when nobody answers, the host key is not the known one, or ssh is not here.
    """
    host, port = _parts(rest)
    if shutil.which("ssh") is None:
        raise DeviceError("ssh is not here", hint="apt-get install openssh-client")
    folder = tempfile.mkdtemp(prefix="edgedistill-")
    options = ["-S", f"{folder}/s", *_options(), *(["-p", port] if port else []), host]

    def reason(words: str) -> DeviceError:
        what, hint = known(words, SORRY) or (f"the connection broke: {last_line(words)}", f"is it there? ssh {rest}")
        return DeviceError(f"ssh:{rest}: {what}", hint=hint)

    def shut() -> None:
        with suppress(subprocess.TimeoutExpired):  # then it ends by itself, IDLE_S after its last command
            subprocess.run(["ssh", "-O", "exit", *options], capture_output=True, check=False, timeout=CONNECT_S)
        shutil.rmtree(folder, ignore_errors=True)

    shell = Shell(address=f"ssh:{rest}", home=HOME, argv=lambda line: ["ssh", *options, line], reason=reason, shut=shut)
    try:
        _open(Path(folder) / "said", options, shell)
        return found(shell)
    except BaseException:
        shut()
        raise


def _open(said: Path, options: list[str], shell: Shell) -> None:
    """One connection that all commands share. It keeps its streams for as long as it lives, so they are no pipes."""
    with said.open("wb") as stream:
        command = ["ssh", "-M", "-N", "-f", "-o", f"ControlPersist={IDLE_S}", *options]
        try:
            code = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, check=False, timeout=4 * CONNECT_S).returncode
        except subprocess.TimeoutExpired as error:
            raise DeviceError(f"{shell.address} said nothing for {4 * CONNECT_S} s", hint=shell.reason("").hint) from error
    if code:
        raise shell.reason(said.read_text(encoding="utf-8", errors="replace"))


def _options() -> list[str]:
    config = os.environ.get("EDGEDISTILL_SSH_CONFIG")
    told = {"BatchMode": "yes", "StrictHostKeyChecking": "yes", "LogLevel": "ERROR", "ConnectTimeout": CONNECT_S, "ServerAliveInterval": 5}
    return [*(["-F", config] if config else []), *(word for name, value in told.items() for word in ("-o", f"{name}={value}"))]


def _parts(rest: str) -> tuple[str, str]:
    """The host with its user, and the port. A word that ssh would take for an option is no host."""
    parts = re.fullmatch(r"((?:[^@\s:]+@)?(?:\[[0-9a-fA-F:%.\w]+\]|[^-@\s:\[\]][^@\s:\[\]]*))(?::(\d+))?", rest)
    if parts is None or rest.startswith("-"):
        raise ConfigError(f"'ssh:{rest}' is no address", hint="ssh:HOST, ssh:USER@HOST or ssh:USER@HOST:PORT, with IPv6 as [::1]")
    return re.sub(r"[\[\]]", "", parts[1]), parts[2] or ""
