"""This machine: a fresh process for every job, blocked on until it ends.

EDGEDISTILL_PYTHON names another Python for those processes, with numpy and the ONNX Runtime that is to be measured.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgedistill.devices import Ended, _child, _cores
from edgedistill.errors import ConfigError, DeviceError
from edgedistill.plugins import PACKAGE

Given = TypeVar("Given")
Found = TypeVar("Found")
AGENT = PACKAGE / "measure" / "agent.py"
STATE = ("load_1min", "governor", "mhz", "celsius")


@dataclass(frozen=True, slots=True)
class Local:
    """The machine that edgedistill runs on, through the Python agent."""

    address: str = "local"

    def run(self, job: Mapping[str, Any], deadline_s: float) -> Ended:
        """Run the agent on a job. A crash or a missed deadline is a result with that status, not an exception.

        Raises DeviceError where EDGEDISTILL_PYTHON names no Python.
        """
        with tempfile.TemporaryDirectory(prefix="edgedistill-") as folder:
            job_file, result_file = Path(folder) / "job.json", Path(folder) / "result.json"
            job_file.write_text(json.dumps(job, default=_listed), encoding="utf-8")
            command = [interpreter(), "-I", str(AGENT), str(job_file), str(result_file)]
            failed = _child.run(command, deadline_s, env={**os.environ, "EDGEDISTILL_ASKER": str(os.getpid())})
            if failed is not None:
                return failed
            result: dict[str, Any] = json.loads(result_file.read_text(encoding="utf-8"))
            answers = [np.array(one["values"], one["dtype"]) for one in result.pop("answers", [])]
            return Ended(result=result, answers=answers)

    def facts(self) -> dict[str, Any]:
        """What this machine is."""
        return {
            "device": self.address,
            "os": platform.system().lower(),
            "arch": platform.machine(),
            "cpu": cpu_name(),
            "cores": cores(),
            "kernel": platform.release(),
            "python": _version(interpreter()),
            "provenance": "measured",
        }

    def conditions(self) -> dict[str, Any]:
        """What the agent can read of this machine now, but the counters: they mean something only between two readings."""
        told = subprocess.run([sys.executable, "-I", str(AGENT), "/"], capture_output=True, text=True, check=True).stdout
        now = {name: value for name, value in json.loads(told).items() if name in STATE}
        return {"load_1min": round(os.getloadavg()[0], 2), **now}

    def close(self) -> None:
        """Every job cleans up after itself."""


def check(rest: str) -> None:
    """Raises ConfigError for an address that says more."""
    if rest:
        raise ConfigError(f"unknown device 'local:{rest}'", hint="this machine is `local`")


def connect(rest: str) -> Local:
    """This machine. Raises ConfigError for an address that says more."""
    check(rest)
    return Local()


def _listed(array: NDArray[Any]) -> Any:
    return array.tolist()


def cores() -> int:
    """How many this process may use: those that it may run on, and no more than its quota of their time comes to."""
    return _cores.usable()


def side_by_side(work: Callable[[Given], Found], every: Iterable[Given]) -> Iterator[Found]:
    """What work that waits for other processes finds of each, in order, one for each core at once. On an error what has not begun is dropped."""
    pool = ThreadPoolExecutor(cores())
    try:
        yield from pool.map(work, every)
    finally:
        pool.shutdown(cancel_futures=True)


def interpreter() -> str:
    """The Python that runs the agent: EDGEDISTILL_PYTHON, else this one. Raises DeviceError where that cannot be run."""
    named = os.environ.get("EDGEDISTILL_PYTHON", "")
    if named and shutil.which(named) is None:
        hint = "python -m venv DIR && DIR/bin/pip install onnxruntime; then name DIR/bin/python"
        raise DeviceError(f"EDGEDISTILL_PYTHON names {named}, which cannot be run", hint=hint)
    return named or sys.executable


def _version(python: str) -> str:
    if python == sys.executable:
        return platform.python_version()
    told = subprocess.run([python, "--version"], capture_output=True, text=True, check=False).stdout
    return told.removeprefix("Python").strip()


def cpu_name() -> str:
    """What this machine's processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor() or "unknown")
