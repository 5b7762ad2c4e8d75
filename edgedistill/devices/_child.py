"""One process of an agent on this machine: blocked on until it ends, and what became of it where it did not end well."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Mapping, Sequence

from edgedistill.devices import Ended


def run(command: Sequence[str], deadline_s: float, env: Mapping[str, str] | None = None) -> Ended | None:
    """None when a process has ended well; else a result with the status crashed (and its `exit`, negative: a signal) or timeout."""
    try:
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=deadline_s, check=False, env=env)
    except subprocess.TimeoutExpired:
        return Ended(result={"status": "timeout", "detail": f"no result in {deadline_s:.0f} s"})
    if not ended.returncode:
        return None
    last = (ended.stderr.strip().splitlines() or ["no output"])[-1]
    return Ended(result={"status": "crashed", "exit": ended.returncode, "detail": f"{_how(ended.returncode)}: {last}"})


def _how(code: int) -> str:
    """Python says a signal as a negative exit code."""
    return f"killed by {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"exit {code}"
