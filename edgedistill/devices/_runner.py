"""The C runner from Python: the job as its binary document, one process of it, its result and its answers.

The job is the one that `measure/agent.py` gets; the layout of the document stands at the top of `measure/runner.c`.
"""

from __future__ import annotations

import json
import os
import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill.devices import Ended, _child
from edgedistill.errors import DeviceError
from edgedistill.runtime import TELEMETRY_OFF

PROVIDER = "CPUExecutionProvider"
NO_LIMIT = float("inf")
REFUSED = 7  # the runner's exit code where the library cannot be used
TYPES = {  # ONNX's numbers
    "float32": 1,
    "uint8": 2,
    "int8": 3,
    "uint16": 4,
    "int16": 5,
    "int32": 6,
    "int64": 7,
    "bool": 9,
    "float16": 10,
    "float64": 11,
    "uint32": 12,
    "uint64": 13,
}
NAMES = {number: name for name, number in TYPES.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class Warm:
    """When a model is warm; the agent's numbers, or `NOT`."""

    max_passes: int = 50
    max_s: float = 20.0
    min_s: float = 0.3
    change: float = 0.02


NOT = Warm(max_passes=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where the runner runs: its file, ONNX Runtime's, what stands before them on the command line."""

    runner: Path
    library: Path
    before: Sequence[str] = ()


def execute(place: Place, job: Mapping[str, Any], deadline_s: float, *, warm: Warm, marked: bool = False) -> Ended:
    """Run a job in a fresh process. A crash or a missed deadline is a result with that status, not an exception.

    Raises DeviceError when ONNX Runtime's library cannot be used there: of another machine, too old, or none.
    """
    answers = job.get("answers", False)
    with tempfile.TemporaryDirectory(prefix="edgedistill-") as folder:
        job_file, result_file, answers_file = (Path(folder) / name for name in ("job", "result.json", "answers"))
        job_file.write_bytes(packed(job, model=str(Path(job["model"]).resolve()), warm=warm, marked=marked))
        command = [*place.before, str(place.runner), str(place.library), str(job_file), str(result_file)]
        if answers:
            command.append(str(answers_file))
        failed = _child.run(command, deadline_s, env={**os.environ, **TELEMETRY_OFF})
        if failed is not None:
            return blamed(failed)
        result = json.loads(result_file.read_text(encoding="utf-8"))
        return Ended(result=result, answers=unpacked(answers_file.read_bytes()) if answers else [])


def blamed(failed: Ended) -> Ended:
    """A failed process. Raises DeviceError where the runner refused its library."""
    if failed.result.get("exit") == REFUSED:
        raise DeviceError(failed.result["detail"].partition("runner: ")[2], hint="ONNX Runtime 1.21 or later, built for this machine, is needed")
    return failed


def packed(job: Mapping[str, Any], *, model: str, warm: Warm, marked: bool) -> bytes:
    """The job as the runner reads it; `model` is the file's name where it runs. Raises DeviceError for a provider that it does not know."""
    if job["provider"] != PROVIDER:
        raise DeviceError(f"the runner has no {job['provider']}", hint=f"it has: {PROVIDER}")
    if job.get("session"):
        raise DeviceError(f"the runner sets no session entries: {', '.join(job['session'])}", hint="the Python agent does: --device local")
    head = [b"EDJ2", _text(model), struct.pack("<IId", job["threads"], marked, job.get("tolerance", NO_LIMIT))]
    most_s = job.get("max_s", NO_LIMIT)
    head.append(struct.pack("<Idd", job["min_runs"], job["min_s"], most_s))
    head.append(struct.pack("<Iddd", warm.max_passes, min(warm.max_s, most_s), warm.min_s, warm.change))
    checks = _checks(job)
    return b"".join([*head, *_feeds(job["feeds"]), struct.pack("<I", bool(checks)), *checks, *_feeds(job.get("timed", ()))])


def unpacked(document: bytes) -> list[NDArray[Any]]:
    """The answers as the runner wrote them, in the order of the feeds."""
    found, at = [], 0
    while at < len(document):
        number, rank = struct.unpack_from("<II", document, at)
        dims = struct.unpack_from(f"<{rank}q", document, at + 8)
        (size,) = struct.unpack_from("<Q", document, at + 8 + 8 * rank)
        at += 16 + 8 * rank
        found.append(np.frombuffer(document[at : at + size], NAMES[number]).reshape(dims))
        at += size
    return found


def _text(words: str) -> bytes:
    encoded = words.encode()
    return struct.pack("<I", len(encoded)) + encoded


def _dims(shape: Sequence[int]) -> bytes:
    return struct.pack(f"<I{len(shape)}q", len(shape), *shape)


def _feeds(feeds: Sequence[Mapping[str, Any]]) -> list[bytes]:
    return [struct.pack("<I", len(feeds)), *(_feed(one) for one in feeds)]


def _feed(feed: Mapping[str, Any]) -> bytes:
    parts = [struct.pack("<I", len(feed))]
    for name, tensor in feed.items():
        array = np.ascontiguousarray(np.array(tensor["values"], tensor["dtype"]))
        parts += [_text(name), struct.pack("<I", TYPES[str(array.dtype)]), _dims(array.shape), struct.pack("<Q", array.nbytes), array.tobytes()]
    return b"".join(parts)


def _checks(job: Mapping[str, Any]) -> list[bytes]:
    """For each feed the golden answers: of the first output where some of it counts, or of every output of a foreign model."""
    if "tensors" in job:
        return [_whole(job["outputs"], wanted, job["scales"]) for wanted in job["tensors"]]
    return [_picked(picks, wanted) for picks, wanted in zip(job["picks"], job["golden"], strict=True)] if job.get("golden") else []


def _whole(outputs: Sequence[str], wanted: Sequence[Any], scales: Sequence[float]) -> bytes:
    parts = [struct.pack("<I", len(outputs))]
    for name, values, scale in zip(outputs, wanted, scales, strict=True):
        parts += [_text(name), struct.pack("<IdI", 1, scale, 0), _values(values)]
    return b"".join(parts)


def _picked(picks: Mapping[str, Any], wanted: Any) -> bytes:
    """Where in the raw answer the golden ones are: `row` and `at`, or `row`, `at` and `side`."""
    axes = [np.asarray(picks[name], np.int64) for name in ("row", "at", "side") if name in picks]
    where = _dims(axes[0].shape) + b"".join(axis.tobytes() for axis in axes) if axes else b""
    return struct.pack("<I", 1) + _text("") + struct.pack("<IdI", 0, 1.0, len(axes)) + where + _values(wanted)


def _values(wanted: Any) -> bytes:
    values = np.array(wanted, np.float64)
    return _dims(values.shape) + values.tobytes()
