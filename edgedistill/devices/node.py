"""Node.js on this machine, with onnxruntime-node: a fresh process for every job."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgedistill.devices import Ended, _child, _npm, _script
from edgedistill.devices.local import Local
from edgedistill.errors import ConfigError, DeviceError
from edgedistill.plugins import PACKAGE
from edgedistill.runtime import TELEMETRY_OFF

AGENT = PACKAGE / "measure" / "agent_node.mjs"
PROVIDERS = ("CPUExecutionProvider", "cpu")  # as ONNX Runtime calls it, and its JavaScript
START_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """Node.js through the JavaScript agent."""

    executable: str
    runtime: Path
    found: Mapping[str, Any]
    address: str = "node"

    def run(self, job: Mapping[str, Any], deadline_s: float) -> Ended:
        """Run the agent on a job. Raises DeviceError for another provider than the CPU's."""
        _script.require(self.address, PROVIDERS, job["provider"])
        named = {**job, "provider": PROVIDERS[0], "model": str(Path(job["model"]).resolve())}
        return _execute(self.executable, self.runtime, named, deadline_s)

    def facts(self) -> dict[str, Any]:
        """This machine and its Node.js; `timer_us` is the step of its clock."""
        here = Local(self.address).facts()
        return {**{name: value for name, value in here.items() if name != "python"}, **self.found}

    def conditions(self) -> dict[str, Any]:
        """How busy this machine is now."""
        return Local().conditions()

    def close(self) -> None:
        """Every job cleans up after itself."""


def check(rest: str) -> None:
    """Raises ConfigError for an address that says more."""
    if rest:
        raise ConfigError(f"unknown device 'node:{rest}'", hint="Node.js on this machine is `node`")


def connect(rest: str) -> Node:
    """Node.js as it is here. Raises ConfigError for an address that says more, DeviceError when there is none or it does not answer."""
    check(rest)
    executable = shutil.which("node")
    if executable is None:
        raise DeviceError("Node.js is not here", hint=_npm.INSTALL)
    runtime = _npm.package("onnxruntime-node", "onnxruntime-common")
    found = _execute(executable, runtime, None, START_S).result
    if "node" not in found:
        raise DeviceError(f"{executable} does not answer: {found['detail']}", hint=f"{executable} --version   (18 or newer is needed)")
    return Node(executable=executable, runtime=runtime, found=found)


def _execute(executable: str, runtime: Path, job: Mapping[str, Any] | None, deadline_s: float) -> Ended:
    """A job in a fresh process. A crash or a missed deadline is a result with that status, not an exception."""
    with TemporaryDirectory(prefix="edgedistill-") as folder:
        job_file, result_file = Path(folder) / "job.json", Path(folder) / "result.json"
        job_file.write_text(_script.written(job), encoding="utf-8")
        command = [executable, "--expose-gc", str(AGENT), str(runtime), str(job_file), str(result_file)]
        failed = _child.run(command, deadline_s, env={**os.environ, **TELEMETRY_OFF})
        if failed is not None:
            return failed
        return _script.read(result_file.read_text(encoding="utf-8"))
