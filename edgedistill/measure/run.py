"""Measure a bundle beside its teacher and fp32 student, or its original: fresh processes in turns, real inputs at natural size, raw samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedistill import devices, providers, runtime
from edgedistill.bundle import tensors
from edgedistill.bundle.lineage import original_files, student_files, teacher_files
from edgedistill.bundle.reader import Bundle, check_model, golden_examples
from edgedistill.cache import digest_file
from edgedistill.errors import DeviceError, EdgedistillError, IntegrityError, StageError
from edgedistill.measure import placement
from edgedistill.progress import Progress
from edgedistill.spec import Measurement, plain

SCHEMA = "edgedistill.bench/1"  # 1: first; provider and placement came later, and may be absent
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


def measure(
    bundle: Bundle,
    store: Path,
    *,
    device: str,
    mode: str,
    threads: int | None,
    progress: Progress,
    provider: str = "cpu",
    strict: bool = False,
) -> dict[str, Any]:
    """One `edgedistill.bench/1` document. Without `threads` the profile's on a device of its system, else 1.

    Raises IntegrityError when a subject answers wrongly (then it has no latency), StageError when one crashes, ConfigError for an unknown
    provider, DeviceError when one hangs, when the provider is not there or did nothing of the bundle, or, where `strict`, not everything.
    """
    check_model(bundle)
    transport = devices.connect(device)
    before = {**transport.facts(), **transport.conditions()}
    asked = placement.ask(provider, bundle.manifest["profile"], before, threads, strict=strict)
    if said := providers.simulated(asked.keys["provider"], before["arch"]):
        progress.warn(said)
    rows = _rows(bundle, store, MODES[mode], asked.keys, progress)
    results: dict[str, list[dict[str, Any]]] = {row.subject: [] for row in rows}
    for turn in range(PROCESSES):
        for row in rows if turn % 2 == 0 else rows[::-1]:  # there and back: drift hits all alike
            result = transport.run({**row.job, "trace": turn == 0}, deadline_s=120 + 10 * MODES[mode].min_s).result
            placement.judge(row.subject, asked, result, progress.warn)
            _raise_unless_ok(row.subject, result)
            results[row.subject].append(result)
            progress.advance(sum(map(len, results.values())), PROCESSES * len(rows), "processes", row.subject)
    note = "the golden inputs, one at a time" if bundle.foreign else "real texts at natural length"
    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "bundle": str(bundle.path.resolve()),
        "bundle_sha256": digest_file(bundle.path / "manifest.json"),
        "name": bundle.manifest["name"],
        "target": bundle.manifest["target"],
        "mode": mode,
        "threads": asked.keys["threads"],
        "provider": asked.keys["provider"],
        "placement": {name: found[0]["placement"] for name, found in results.items() if "placement" in found[0]},
        "environment": {**before, "onnxruntime": results["bundle"][0]["onnxruntime"], "load_1min_after": transport.conditions()["load_1min"]},
        "measurements": [plain(one) for row in rows for one in _measurements(row.subject, results[row.subject], before, asked.keys["threads"], note)],
        "ratios": _ratios(results, bundle.baseline),
        "absent": [name for name in (("original",) if bundle.foreign else ("teacher", "student")) if name not in results],
    }


def _rows(bundle: Bundle, store: Path, mode: Mode, way: Mapping[str, Any], progress: Progress) -> list[Row]:
    """The bundle, and what of its lineage is at hand. All see the same examples, each through its own encoder."""
    golden = bundle.document("golden.json")
    if bundle.foreign:
        return _foreign_rows(bundle, original_files(bundle, store), golden, _pace(mode, way), progress)
    answers = {"golden": [row for case in golden["cases"] for row in case["outputs"]], "tolerance": golden["tolerance"]}
    places = {"teacher": teacher_files(bundle, store), "student": student_files(bundle, store)}
    for name, place in places.items():
        if place is None:
            progress.warn(f"the {name} is not in the store {store}: only the rest is measured (name its store with --store)")
    files = {name: place for name, place in places.items() if place} | {"bundle": (bundle.path / "model.onnx", bundle.path)}
    return [_row(bundle, name, place, mode, way, answers if name == "bundle" else {}) for name, place in files.items()]


def _row(bundle: Bundle, name: str, place: tuple[Path, Path], mode: Mode, way: Mapping[str, Any], golden: Mapping[str, Any]) -> Row:
    model, folder = place
    task, spec = bundle.task, bundle.manifest["encoder"]
    rows = [row for one in task.encode(task.load(folder), golden_examples(bundle), spec["max_length"]) for row in one]
    picks = [{key: value.tolist() for key, value in task.picks([row]).items()} for row in rows] if golden else []
    job = {
        "model": str(model),
        "feeds": [{key: {"dtype": str(value.dtype), "values": value.tolist()} for key, value in _feeds(bundle, name, row).items()} for row in rows],
        "picks": picks,
        **_pace(mode, way),
        **golden,
    }
    return Row(subject=name, job=job)


def _pace(mode: Mode, way: Mapping[str, Any]) -> dict[str, Any]:
    """What every job says of how it is run: its session, and for how long."""
    return {**way, "min_runs": -(-mode.min_runs // PROCESSES), "min_s": mode.min_s / PROCESSES}


def _foreign_rows(
    bundle: Bundle, original: tuple[Path, Path] | None, golden: Mapping[str, Any], pace: Mapping[str, Any], progress: Progress
) -> list[Row]:
    """A model that came as ONNX beside its fp32 original, on the golden inputs."""
    if original is None:
        progress.warn("the fp32 original is not in this store: only the bundle is measured (name the store of its quantize with --store)")
    cases = tensors.cases(bundle)
    feeds = [{name: {"dtype": str(value.dtype), "values": value.tolist()} for name, value in one.items()} for one, _ in cases]
    known = {
        "tensors": [[array.tolist() for array in answers] for _, answers in cases],
        "outputs": [one["name"] for one in bundle.manifest["outputs"]],
        "scales": golden["scales"],
        "tolerance": golden["tolerance"],
    }
    rows = [] if original is None else [Row(subject="original", job={"model": str(original[0]), "feeds": feeds, **pace})]
    return [*rows, Row(subject="bundle", job={"model": str(bundle.path / "model.onnx"), "feeds": feeds, **pace, **known})]


def _feeds(bundle: Bundle, name: str, row: Any) -> dict[str, NDArray[Any]]:
    """A row as inputs, in the bundle's shape where its graph has only one."""
    pad_id = bundle.manifest["encoder"]["pad_id"]
    feeds: dict[str, NDArray[Any]] = bundle.task.feeds([row], pad_id)
    return runtime.filled(feeds, {one["name"]: one["shape"] for one in bundle.manifest["inputs"]}, pad_id) if name == "bundle" else feeds


def _raise_unless_ok(subject: str, result: Mapping[str, Any]) -> None:
    if result["status"] not in ("ok", "fell_back"):
        detail = result.get("detail", f"golden answers off by {result.get('worst_difference')}")
        raise FAILURES[result["status"]](f"bench: the {subject} {result['status']}: {detail}")


def _measurements(subject: str, results: Sequence[Mapping[str, Any]], facts: Mapping[str, Any], threads: int, note: str) -> list[Measurement]:
    conditions = {"threads": threads, "batch": 1, "processes": len(results), "device": facts["device"], "cpu": facts["cpu"]}
    latency = Measurement(
        subject=subject,
        metric="latency_ms",
        samples=tuple(round(sample, 5) for result in results for sample in result["samples_ms"]),
        warmups=tuple(round(sample, 5) for result in results for sample in result["warmups_ms"]),
        conditions=conditions,
        note=note,
    )
    once = {
        "load_ms": "creating the session in a fresh process",
        "first_ms": "the first answer",
        "peak_mib": "high-water mark less what the runtime needs by itself",
    }
    return [latency] + [
        Measurement(subject=subject, metric=name, samples=tuple(round(result[name], 4) for result in results), conditions=conditions, note=said)
        for name, said in once.items()
    ]


def _ratios(results: Mapping[str, Sequence[Mapping[str, Any]]], baseline: str) -> dict[str, dict[str, Any]]:
    """Median latency ÷ the baseline's, with a 95 % bootstrap interval over processes (their medians are the independent draws)."""
    if baseline not in results:
        return {}
    medians = {name: np.array([np.median(result["samples_ms"]) for result in rows]) for name, rows in results.items()}
    return {name: _ratio(medians[name], medians[baseline]) for name in medians if name != baseline}


def _ratio(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> dict[str, Any]:
    draws = np.random.default_rng(0).integers(0, len(ours), (RESAMPLES, len(ours)))  # one turn ran both: drawn in pairs
    spread = np.median(ours[draws], axis=1) / np.median(theirs[draws], axis=1)
    low, high = np.percentile(spread, [2.5, 97.5])
    return {"median_ratio": float(np.median(ours) / np.median(theirs)), "interval": [float(low), float(high)]}
