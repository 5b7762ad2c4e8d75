"""Measure a bundle beside its teacher and fp32 student, or any ONNX file, on one or several devices: one document."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from typing import Any

from edgedistill import devices
from edgedistill.bundle.reader import Bundle, check_model
from edgedistill.errors import DeviceError, EdgedistillError, IntegrityError, StageError
from edgedistill.measure.modes import MODES, shaped
from edgedistill.measure.subjects import Asked, of_bundle, of_file
from edgedistill.measure.visit import Pace, Visit, visit
from edgedistill.progress import Progress
from edgedistill.spec import plain

SCHEMA = "edgedistill.bench/2"  # 1: samples are lists; 2: many may be values with their counts, see `edgedistill.samples`
READ = ("edgedistill.bench/1", SCHEMA)
FAILURES: Mapping[str, type[EdgedistillError]] = {
    "wrong": IntegrityError,
    "crashed": StageError,
    "fell_back": DeviceError,
    "no_provider": DeviceError,
    "timeout": DeviceError,
    "unmeasured": DeviceError,
}
ROWS = 256  # test rows that each device answers
Keep = Callable[[Mapping[str, Any]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Where and how: on which devices, in which mode, with how many threads and at which batches, each with each.

    Without a number of threads it is the profile's on a device of its system, else 1; without a provider each device's own. `strict` refuses a
    device where another provider ran a node.
    """

    addresses: Sequence[str] = ("local",)
    mode: str = "quick"
    threads: Sequence[int | None] = (None,)
    batches: Sequence[int] = (1,)
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    provider: str = ""
    strict: bool = False


def forget(document: Mapping[str, Any]) -> None:
    """Nobody asks for what was measured before the end."""


def measure(bundle: Bundle, store: Path, plan: Plan, progress: Progress, keep: Keep = forget, *, rows: int = ROWS) -> dict[str, Any]:
    """One `edgedistill.bench/2` document on a bundle, its samples as lists.

    What fails on one device is in its entry, and does not stop the others: see `failure`.

    `keep` is given the document after every device with what was measured until then, for the case that no more follows.

    Raises IntegrityError when the bundle is not what was packed, ConfigError for an address or a shape that does not fit.
    """
    check_model(bundle)
    asked = of_bundle(bundle, store, rows, progress)
    if plan.shapes:
        subjects = [replace(one, job=shaped(one.job, plan.shapes)) for one in asked.subjects]
        asked = replace(asked, subjects=subjects, note=f"{asked.note}, in the shape {_shapes(plan.shapes)}")
    return _measured(asked, plan, progress, keep)


def measure_file(model: Path, plan: Plan, progress: Progress, keep: Keep = forget) -> dict[str, Any]:
    """The same on any ONNX file, with made-up inputs; the plan's shapes are the sizes of inputs that the graph leaves open."""
    return _measured(of_file(model, plan.shapes), plan, progress, keep)


def failure(document: Mapping[str, Any]) -> EdgedistillError | None:
    """What went wrong on the first device that something went wrong on, as the error of its kind: wrong answers 6, a crash 3, no device 7."""
    bad = next((one for one in document["devices"] if one["status"] in FAILURES), None)
    return FAILURES[bad["status"]](f"bench: {bad['device']}: {bad['status']}: {bad['detail']}", bad.get("hint", "")) if bad else None


def _measured(asked: Asked, plan: Plan, progress: Progress, keep: Keep) -> dict[str, Any]:
    visits: list[Visit] = []
    for address in dict.fromkeys(plan.addresses):
        visits += _visits(address, asked, plan, progress)
        keep(_document(asked, plan, visits))
    return _document(asked, plan, visits)


def _document(asked: Asked, plan: Plan, visits: Sequence[Visit]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        **asked.about,
        "mode": plan.mode,
        "baseline": asked.baseline,
        "inputs": asked.note,
        "subjects": [{"name": one.name, "bytes": one.bytes, "score": one.score, "agreement": one.agreement} for one in asked.subjects],
        "absent": list(asked.absent),
        "devices": [one.entry for one in visits],
        "measurements": [plain(one) for visited in visits for one in visited.measurements],
    }


def _visits(address: str, asked: Asked, plan: Plan, progress: Progress) -> Iterator[Visit]:
    """A device, once for each number of threads and each batch; answers are looked at the first time."""

    def seen(done: int, total: int, subject: str) -> None:
        progress.advance(done, total, "processes", f"{subject} on {address}")

    try:
        with closing(devices.connect(address)) as device:
            for threads, batch in product(plan.threads, plan.batches):
                pace = Pace(mode=MODES[plan.mode], threads=threads, batch=batch, provider=plan.provider, strict=plan.strict)
                found = visit(device, asked, pace, seen, progress.warn)
                yield found
                asked = replace(asked, rows=None)
                if found.entry["facts"]["provenance"] == "emulated":
                    break  # it is counted one way only
    except EdgedistillError as error:
        progress.warn(f"{address}: {error}")
        entry = {"device": address, "status": "unmeasured", "detail": str(error.args[0]), "hint": error.hint}
        yield Visit(entry=entry, measurements=[])


def _shapes(shapes: Mapping[str, Sequence[int]]) -> str:
    return ", ".join(f"{name} {list(sizes)}" for name, sizes in shapes.items())
