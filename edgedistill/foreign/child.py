"""The guarded process: limit yourself, do one piece of work, write the answer or the refusal.

python -m edgedistill.foreign.child JOB.json RESULT.json
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from edgedistill import packages
from edgedistill.errors import ConfigError, EdgedistillError, WriteError
from edgedistill.files import ROOM, unwritten

WORK = {"look": "edgedistill.foreign.look", "search": "edgedistill.foreign.work"}
MEMORY = ("bad alloc", "bad_alloc", "allocate memory", "MemoryError", "Failed to allocate")


def main(job_file: str, result_file: str) -> None:
    """Do the job."""
    job = json.loads(Path(job_file).read_text(encoding="utf-8"))
    limit(job["limits"])
    result = _result(job, _own_stdout())
    beside = Path(result_file).with_suffix(".part")
    beside.write_text(json.dumps(result, allow_nan=False), encoding="utf-8")
    beside.replace(result_file)


def limit(limits: Mapping[str, Any]) -> None:
    """Bound this process, as far as the system can."""
    signal.alarm(int(limits["wall_s"]) + 5)  # where nobody watches any more
    _die_with_parent()
    try:
        import resource
    except ImportError:  # Windows has none: there only the parent's deadline holds
        return
    seconds = int(limits["cpu_s"]) + 1
    wanted = {resource.RLIMIT_AS: limits["memory_bytes"], resource.RLIMIT_CPU: seconds, resource.RLIMIT_CORE: 0}
    if limits["file_bytes"]:
        wanted[resource.RLIMIT_FSIZE] = limits["file_bytes"]
    for kind, value in wanted.items():
        try:
            resource.setrlimit(kind, (value, value + 2 if kind == resource.RLIMIT_CPU else value))  # CPU: asked first, then killed
        except (ValueError, OSError):  # macOS refuses RLIMIT_AS; a lower hard limit is there already
            continue


def _die_with_parent() -> None:
    """Linux kills this process when its parent dies; elsewhere the alarm does, later."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def _own_stdout() -> int:
    """A descriptor for progress alone: what libraries print goes to stderr."""
    own = os.dup(1)
    os.dup2(2, 1)
    return own


def _result(job: Mapping[str, Any], pipe: int) -> dict[str, Any]:
    def hear(event: Mapping[str, Any]) -> None:
        os.write(pipe, (json.dumps(event) + "\n").encode())

    try:
        return {"found": import_module(WORK[job["work"]]).run(job, hear)}
    except ConfigError as error:
        return _faults(error)
    except WriteError as error:
        return _refusal(3, str(error.args[0]), error.hint) | {"full": True}
    except EdgedistillError as error:
        return _refusal(3, str(error.args[0]), error.hint)
    except ImportError as error:
        return _faults(packages.blamed(job["work"], error))
    except MemoryError:
        return _refusal(3, f"{job['model']} needs more memory than the {job['limits']['memory_bytes'] / 2**30:.1f} GiB that it may use")
    except Exception as error:  # parsers and runtimes raise whatever a hostile file provokes
        if job["work"] == "search" and (why := unwritten(error)):
            return _refusal(3, f"{job['folder']} cannot be written: {why}", ROOM) | {"full": True}
        what = f"{type(error).__name__}: {first_line(error)}"
        if any(word in what for word in MEMORY):
            return _refusal(3, f"{job['model']} needs more memory than the {job['limits']['memory_bytes'] / 2**30:.1f} GiB that it may use")
        return _refusal(2 if job["work"] == "look" else 3, f"{job['model']}: {what}")


def _faults(error: ConfigError) -> dict[str, Any]:
    return _refusal(2, "", "", [{"where": one.where, "what": one.what, "hint": one.hint} for one in error.faults])


def _refusal(code: int, what: str, hint: str = "", faults: Any = ()) -> dict[str, Any]:
    return {"refused": {"exit": code, "what": what, "hint": hint, "faults": list(faults)}}


def first_line(error: BaseException) -> str:
    """The first line of what an error says, short and printable."""
    line = (str(error).strip().splitlines() or [""])[0][:300]
    return "".join(letter if letter.isprintable() else "?" for letter in line)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
