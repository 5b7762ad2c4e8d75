"""One process of an agent: blocked on until it ends where it is this machine's, and what is said of one that did not end well."""

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
        return late(deadline_s)
    return crashed(ended.returncode, ended.stderr) if ended.returncode else None


def late(deadline_s: float) -> Ended:
    """A process that had no result by its deadline."""
    return Ended(result={"status": "timeout", "detail": f"no result in {deadline_s:.0f} s"})


def crashed(code: int, said: str) -> Ended:
    """A process that ended with that code, and the last line that it said."""
    last = (said.strip().splitlines() or ["no output"])[-1]
    return Ended(result={"status": "crashed", "exit": code, "detail": f"{_how(code)}: {last}"})


def _how(code: int) -> str:
    """Python says a signal as a negative exit code."""
    return f"killed by {signal.Signals(-code).name}" if -code in set(signal.Signals) else f"exit {code}"
