"""An Android device on adb, by the system's own client: on a cable, or on the network after `adb connect`.

adb:SERIAL   as `adb devices` lists it; `adb` alone is the only one that is there
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping

from edgedistill.devices._remote import Remote, found
from edgedistill.devices._shell import Shell, known, last_line
from edgedistill.errors import ConfigError, DeviceError

HOME = "/data/local/tmp/edgedistill"  # where the shell's user may write and run programs
STATE_S = 15
SORRY: Mapping[str, tuple[str, str]] = {
    "unauthorized": ("the device does not trust this machine", "unlock it and allow USB debugging, then: adb reconnect offline"),
    "offline": ("the device is offline", "adb reconnect offline   (or pull the cable and put it in again)"),
    "more than one device": ("more than one device answers to that name", "adb devices -l   and name one: adb:SERIAL"),
    r"no devices|device '(.*)' not found|device not found": ("no such device", "adb devices -l   (on the network: adb connect HOST:PORT)"),
    "no permissions": ("this user may not use the device", "adb devices -l   names the rule that is missing"),
    "cannot connect to daemon|failed to start daemon": ("the adb server does not start", "adb start-server"),
}


def connect(rest: str) -> Remote:
    """The device with that serial.

    Raises ConfigError for a serial that is none, DeviceError when it is not there, offline, unauthorized, not the only one, or adb is not here.
    """
    if not re.fullmatch(r"[^-\s][^\s]*|", rest):
        raise ConfigError(f"'adb:{rest}' is no address", hint="adb:SERIAL, as `adb devices` lists it")
    if shutil.which("adb") is None:
        raise DeviceError("adb is not here", hint="apt-get install adb")
    address, device = (f"adb:{rest}", ["adb", "-s", rest]) if rest else ("adb", ["adb"])

    def reason(words: str) -> DeviceError:
        """adb says nothing where a link breaks: then the state tells."""
        what, hint = known(words, SORRY) or known(_state(device), SORRY) or (f"the connection broke: {last_line(words)}", "adb devices -l")
        return DeviceError(f"{address}: {what}", hint=hint)

    return found(Shell(address=address, home=HOME, argv=lambda line: [*device, "shell", line], reason=reason))


def _state(device: list[str]) -> str:
    try:
        ended = subprocess.run([*device, "get-state"], capture_output=True, text=True, timeout=STATE_S, check=False)
    except subprocess.TimeoutExpired:
        return "the adb server hangs"
    return ended.stdout + ended.stderr
