"""Measure a bundle beside its teacher and its fp32 student: fresh processes in turns, real texts at natural length, raw samples kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import plugins
from edgedistill.bundle.lineage import student_files, teacher_files
from edgedistill.bundle.reader import Bundle, check_model, golden_examples
from edgedistill.cache import digest_file
from edgedistill.errors import DeviceError, EdgedistillError, IntegrityError, StageError
from edgedistill.progress import Progress
from edgedistill.spec import Measurement, plain

SCHEMA = "edgedistill.bench/1"  # 1: first
AGENT = Path(__file__).with_name("agent.py")
PROCESSES = 5  # fresh ones for each subject: each gives a load time, and their spread is the spread between processes
RESAMPLES = 10_000
FAILURES: Mapping[str, type[EdgedistillError]] = {"wrong": IntegrityError, "crashed": StageError, "timeout": DeviceError}


@dataclass(frozen=True, slots=True)
class Mode:
    """How long: at least so many samples and so many seconds of each subject, over all of its processes (MLPerf Mobile's pairs)."""

    min_runs: int
    min_s: float


MODES = {"smoke": Mode(64, 6.0), "quick": Mode(128, 10.0), "full": Mode(1024, 60.0)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One subject: the job that its processes get."""

    subject: str
    job: Mapping[str, Any]


def measure(bundle: Bundle, store: Path, *, device: str, mode: str, threads: int, progress: Progress) -> dict[str, Any]:
    """One `edgedistill.bench/1` document.

    Raises IntegrityError when a subject answers wrongly (then it has no latency), StageError when one crashes, DeviceError when one hangs.
    """
    check_model(bundle)
    transport = plugins.load("devices", device)
    rows = _rows(bundle, store, MODES[mode], threads, progress)
    before = transport.facts()
    results: dict[str, list[dict[str, Any]]] = {row.subject: [] for row in rows}
    for turn in range(PROCESSES):
        for row in rows if turn % 2 == 0 else rows[::-1]:  # there and back: drift hits all alike
            result = transport.run(AGENT, row.job, deadline_s=120 + 10 * MODES[mode].min_s)
            _raise_unless_ok(row.subject, result)
            results[row.subject].append(result)
            progress.advance(sum(map(len, results.values())), PROCESSES * len(rows), "processes", row.subject)
    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "bundle": str(bundle.path.resolve()),
        "bundle_sha256": digest_file(bundle.path / "manifest.json"),
        "name": bundle.manifest["name"],
        "target": bundle.manifest["target"],
        "mode": mode,
        "threads": threads,
        "environment": {**before, "onnxruntime": results["bundle"][0]["onnxruntime"], "load_1min_after": transport.facts()["load_1min"]},
        "measurements": [plain(one) for row in rows for one in _measurements(row.subject, results[row.subject], before, threads)],
        "ratios": _ratios(results),
        "absent": [name for name in ("teacher", "student") if name not in results],
    }


def _rows(bundle: Bundle, store: Path, mode: Mode, threads: int, progress: Progress) -> list[Row]:
    """The bundle, and what of its lineage is at hand. All see the same examples, each through its own encoder."""
    golden = bundle.document("golden.json")
    answers = {"golden": [row for case in golden["cases"] for row in case["outputs"]], "tolerance": golden["tolerance"]}
    places = {"teacher": teacher_files(bundle, store), "student": student_files(bundle, store)}
    for name, place in places.items():
        if place is None:
            progress.warn(f"the {name} is not in the store {store}: only the rest is measured (name its store with --store)")
    files = {name: place for name, place in places.items() if place} | {"bundle": (bundle.path / "model.onnx", bundle.path)}
    return [_row(bundle, name, place, mode, threads, answers if name == "bundle" else {}) for name, place in files.items()]


def _row(bundle: Bundle, name: str, place: tuple[Path, Path], mode: Mode, threads: int, golden: Mapping[str, Any]) -> Row:
    model, folder = place
    task, spec = bundle.task, bundle.manifest["encoder"]
    rows = [row for one in task.encode(task.load(folder), golden_examples(bundle), spec["max_length"]) for row in one]
    picks = [{key: value.tolist() for key, value in task.picks([row]).items()} for row in rows] if golden else []
    job = {
        "model": str(model),
        "feeds": [
            {key: {"dtype": str(value.dtype), "values": value.tolist()} for key, value in task.feeds([row], spec["pad_id"]).items()} for row in rows
        ],
        "picks": picks,
        "provider": "CPUExecutionProvider",
        "threads": threads,
        "min_runs": -(-mode.min_runs // PROCESSES),
        "min_s": mode.min_s / PROCESSES,
        **golden,
    }
    return Row(subject=name, job=job)


def _raise_unless_ok(subject: str, result: Mapping[str, Any]) -> None:
    if result["status"] != "ok":
        detail = result.get("detail", f"golden answers off by {result.get('worst_difference')}")
        raise FAILURES[result["status"]](f"bench: the {subject} {result['status']}: {detail}")


def _measurements(subject: str, results: Sequence[Mapping[str, Any]], facts: Mapping[str, Any], threads: int) -> list[Measurement]:
    conditions = {"threads": threads, "batch": 1, "processes": len(results), "device": facts["device"], "cpu": facts["cpu"]}
    latency = Measurement(
        subject=subject,
        metric="latency_ms",
        samples=tuple(round(sample, 5) for result in results for sample in result["samples_ms"]),
        warmups=tuple(round(sample, 5) for result in results for sample in result["warmups_ms"]),
        conditions=conditions,
        note="real texts at natural length",
    )
    once = {
        "load_ms": "creating the session in a fresh process",
        "first_ms": "the first answer",
        "peak_mib": "high-water mark less what the runtime needs by itself",
    }
    return [latency] + [
        Measurement(subject=subject, metric=name, samples=tuple(round(result[name], 4) for result in results), conditions=conditions, note=note)
        for name, note in once.items()
    ]


def _ratios(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Median latency ÷ the teacher's, with a 95 % bootstrap interval over processes (their medians are the independent draws)."""
    if "teacher" not in results:
        return {}
    medians = {name: np.array([np.median(result["samples_ms"]) for result in rows]) for name, rows in results.items()}
    return {name: _ratio(medians[name], medians["teacher"]) for name in medians if name != "teacher"}


def _ratio(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> dict[str, Any]:
    draws = np.random.default_rng(0).integers(0, len(ours), (RESAMPLES, len(ours)))  # one turn ran both: drawn in pairs
    spread = np.median(ours[draws], axis=1) / np.median(theirs[draws], axis=1)
    low, high = np.percentile(spread, [2.5, 97.5])
    return {"median_ratio": float(np.median(ours) / np.median(theirs)), "interval": [float(low), float(high)]}
