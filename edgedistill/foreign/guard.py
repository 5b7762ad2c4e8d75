"""Work on files that may be hostile, in a process of its own: a crash, a hang or a flood of memory there is an error here.

The child is `python -m edgedistill.foreign.child JOB RESULT`; it limits itself before it loads anything, tells its progress as JSON lines on
stdout, and writes its answer or its refusal to RESULT.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from edgedistill.errors import ConfigError, EdgedistillError, Fault, StageError, WriteError
from edgedistill.files import refused

GIB = 2**30
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "ORT_DISABLE_TELEMETRY": "1"}
PROBE = 1 << 16  # bytes: more than an answer has
LONGEST_LINE = 2**20  # of progress: more is a child gone wild
REFUSALS: Mapping[int, type[EdgedistillError]] = {2: ConfigError, 3: StageError}
DEATHS = {"SIGKILL": "was killed (out of memory, or by hand)", "SIGXCPU": "used up its CPU time", "SIGALRM": "ran into its deadline"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a child may use: address space, CPU time, time on the wall, and the largest file that it may write (0: any)."""

    memory_bytes: int
    cpu_s: float
    wall_s: float
    file_bytes: int = 0


class DiedError(StageError):
    """The child ended without an answer; `during` is the last progress that it told."""

    def __init__(self, what: str, during: Mapping[str, Any]) -> None:
        super().__init__(what, hint="the model is odd or hostile, or this machine too small for it; nothing else was harmed")
        self.during = during


Hear = Callable[[Mapping[str, Any]], None]


def run(work: str, job: Mapping[str, Any], limits: Limits, hear: Hear = lambda event: None) -> dict[str, Any]:
    """The answer of `edgedistill.foreign.WORK` to a job.

    Raises what the child refused (ConfigError, StageError), and DiedError when it crashed, hung or was stopped by a limit.
    """
    with tempfile.TemporaryDirectory(prefix="edgedistill-") as folder:
        files = [Path(folder) / name for name in ("job.json", "result.json")]
        _put(files[0], json.dumps({"work": work, "limits": asdict(limits), **job}))
        command = [sys.executable, "-P", "-m", "edgedistill.foreign.child", *map(str, files)]
        with (Path(folder) / "stderr").open("w+b") as errors:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors, start_new_session=True, env=_environment(folder)
            )
            during, late = _attend(process, limits.wall_s, hear)
        if late or process.returncode or not files[1].is_file():
            _put(Path(folder) / "probe", "x" * PROBE)  # a disk that takes nothing is no fault of the model's
            raise DiedError(f"{work}: the guarded process {_end(process.returncode, late, limits)}", during)
        return _answer(json.loads(files[1].read_text(encoding="utf-8")))


def _put(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise refused(f"the temporary file {file}", error) from error


def _environment(folder: str) -> dict[str, str]:
    return {**os.environ, **ONE_THREAD, "TMPDIR": folder, "PYTHONUNBUFFERED": "1"}


def _attend(process: subprocess.Popen[bytes], wall_s: float, hear: Hear) -> tuple[dict[str, Any], bool]:
    """Pass the child's progress on until it ends; the last of it, and whether it had to be stopped."""
    assert process.stdout is not None
    deadline, last = time.monotonic() + wall_s, dict[str, Any]()
    try:
        for line in _lines(process.stdout, deadline):
            last = _heard(line, hear) or last
        try:
            process.wait(timeout=max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return last, True
        return last, False
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        process.stdout.close()


def _lines(stream: IO[bytes], deadline: float) -> Any:
    """Whole lines until the stream ends, the deadline passes or a line is too long."""
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0 and len(rest) < LONGEST_LINE:
            if not selector.select(left):
                return
            chunk = os.read(stream.fileno(), 65536)
            if not chunk:
                return
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines


def _plain(found: Any) -> Any:
    """What a child says, without what a terminal would obey: names in a model are anybody's."""
    if isinstance(found, str):
        return "".join(one if one.isprintable() or one in "\n\t" else "\N{REPLACEMENT CHARACTER}" for one in found)
    if isinstance(found, dict):
        return {_plain(key): _plain(value) for key, value in found.items()}
    return [_plain(one) for one in found] if isinstance(found, list) else found


def _heard(line: bytes, hear: Hear) -> dict[str, Any] | None:
    try:
        event = _plain(json.loads(line))
    except ValueError:  # not ours: a library's own words
        return None
    if not isinstance(event, dict) or "kind" not in event:
        return None
    hear(event)
    return event


def _end(code: int, late: bool, limits: Limits) -> str:
    if late:
        return f"gave no answer in {limits.wall_s:.0f} s"
    if code < 0:
        name = signal.Signals(-code).name
        return DEATHS.get(name, f"crashed with {name}")
    return f"ended with exit {code} and no answer"


def _answer(result: Mapping[str, Any]) -> dict[str, Any]:
    if "refused" not in result:
        found: dict[str, Any] = result["found"]
        return found
    refused = result["refused"]
    if refused["faults"]:
        raise ConfigError([Fault(**_plain(fault)) for fault in refused["faults"]])
    kind = WriteError if result.get("full") else REFUSALS[refused["exit"]]
    raise kind(_plain(refused["what"]), _plain(refused["hint"]))
