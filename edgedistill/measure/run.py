"""Measure a bundle beside its teacher and fp32 student, or any ONNX file, on one or several devices: one document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgedistill import devices
from edgedistill.bundle.reader import Bundle, check_model
from edgedistill.cache import digest_file
from edgedistill.errors import DeviceError, EdgedistillError, IntegrityError, StageError
from edgedistill.measure.subjects import Asked, of_bundle, of_file
from edgedistill.measure.visit import Mode, Pace, Visit, visit
from edgedistill.progress import Progress
from edgedistill.spec import plain

SCHEMA = "edgedistill.bench/1"  # 1: first
FAILURES: Mapping[str, type[EdgedistillError]] = {"wrong": IntegrityError, "crashed": StageError, "timeout": DeviceError, "unmeasured": DeviceError}
MODES = {"smoke": Mode(64, 6.0), "quick": Mode(128, 10.0), "full": Mode(1024, 60.0)}
ROWS = 256  # test rows that each device answers


def measure(
    bundle: Bundle, store: Path, *, addresses: Sequence[str], mode: str, threads: int, progress: Progress, rows: int = ROWS
) -> dict[str, Any]:
    """One `edgedistill.bench/1` document on a bundle. What fails on one device is in its entry, and does not stop the others: see `failure`.

    Raises IntegrityError when the bundle is not what was packed, ConfigError for an address that cannot be read.
    """
    check_model(bundle)
    asked = of_bundle(bundle, store, rows, progress)
    return _document(asked, addresses, mode, threads, progress) | {"bundle_sha256": digest_file(bundle.path / "manifest.json")}


def measure_file(
    model: Path, *, addresses: Sequence[str], mode: str, threads: int, shapes: Mapping[str, Sequence[int]], progress: Progress
) -> dict[str, Any]:
    """The same on any ONNX file, with made-up inputs; `shapes` says the sizes of inputs that the graph leaves open."""
    return _document(of_file(model, shapes), addresses, mode, threads, progress)


def failure(document: Mapping[str, Any]) -> EdgedistillError | None:
    """What went wrong on the first device that something went wrong on, as the error of its kind: wrong answers 6, a crash 3, no device 7."""
    bad = next((one for one in document["devices"] if one["status"] in FAILURES), None)
    return FAILURES[bad["status"]](f"bench: {bad['device']}: {bad['status']}: {bad['detail']}", bad.get("hint", "")) if bad else None


def _document(asked: Asked, addresses: Sequence[str], mode: str, threads: int, progress: Progress) -> dict[str, Any]:
    pace = Pace(mode=MODES[mode], threads=threads)
    visits = [_visit(address, asked, pace, progress) for address in dict.fromkeys(addresses)]
    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **asked.about,
        "mode": mode,
        "threads": threads,
        "baseline": asked.baseline,
        "inputs": asked.note,
        "subjects": [{"name": one.name, "bytes": one.bytes, "score": one.score, "agreement": one.agreement} for one in asked.subjects],
        "absent": list(asked.absent),
        "devices": [one.entry for one in visits],
        "measurements": [plain(one) for visited in visits for one in visited.measurements],
    }


def _visit(address: str, asked: Asked, pace: Pace, progress: Progress) -> Visit:
    def seen(done: int, total: int, subject: str) -> None:
        progress.advance(done, total, "processes", f"{subject} on {address}")

    try:
        with closing(devices.connect(address)) as device:
            return visit(device, asked, pace, seen)
    except DeviceError as error:
        progress.warn(f"{address}: {error}")
        return Visit(entry={"device": address, "status": "unmeasured", "detail": error.args[0], "hint": error.hint}, measurements=[])
