"""What a bench document must hold for a report on it: its shape, and every fault of a document that has another."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edgedistill import samples
from edgedistill.spec import Measurement


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    name: str
    bytes: int
    score: float | None
    agreement: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Setting:
    device: str
    threads: int | None = None
    batch: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    conditions: _Setting
    provenance: Literal["measured", "emulated", "unmeasured"]
    subject: str
    metric: str
    samples: list[float]
    warmups: list[float] = field(default_factory=list)
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    device: str
    status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Document:
    bundle: str
    baseline: str
    absent: list[str]
    subjects: list[_Subject]
    devices: list[_Entry]
    measurements: list[_Measured]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Facts:
    device: str
    os: str
    arch: str
    cpu: str
    provenance: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ratio:
    median_ratio: float
    interval: tuple[float, float]
    level: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Placed:
    nodes: int
    time_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _Trust:
    status: str
    why: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answers:
    score: float | None = None
    agreement_with_here: float | None = None
    rows: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Visited:
    """The entry of a device that gave figures."""

    threads: int
    batch: int
    provider: str
    facts: _Facts
    ratios: dict[str, _Ratio] = field(default_factory=dict)
    placement: dict[str, dict[str, _Placed]] = field(default_factory=dict)
    trust: dict[str, _Trust] = field(default_factory=dict)
    answers: _Answers = field(default_factory=_Answers)
    instructions: dict[str, dict[str, int]] = field(default_factory=dict)
    instruction_ratios: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failed:
    """The entry of a device that did not."""

    detail: str


def faults(document: Mapping[str, Any]) -> list[str]:
    """All that keeps a document from being reported on, a dotted place each; keys that no report needs are not looked at."""
    found = [*_faults(_Document, samples.unpacked(document), ""), *_unknown(document.get("measurements"))]
    entries = document.get("devices")
    for index, entry in enumerate(entries if isinstance(entries, list) else ()):
        if isinstance(entry, dict) and isinstance(entry.get("status"), str):
            found += _faults(_Visited if entry["status"] == "ok" else _Failed, entry, f"devices.{index}.")
    return found


def _faults(shape: type[Any], document: Any, place: str) -> Iterator[str]:
    """Strict in JSON's way: an array may be a tuple, but true is no number and "7" neither."""
    from pydantic import TypeAdapter, ValidationError

    try:
        TypeAdapter(shape).validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        for found in error.errors(include_url=False):
            where = place + ".".join(map(str, found["loc"]))
            missing = found["type"].startswith("missing")
            yield f"{where} is missing" if missing else f"{where}: {found['msg'][0].lower()}{found['msg'][1:]} (found {_short(found['input'])})"


def _unknown(measurements: Any) -> Iterator[str]:
    """Keys of a measurement that it has not."""
    for index, one in enumerate(measurements if isinstance(measurements, list) else ()):
        for name in one.keys() - Measurement.__dataclass_fields__.keys() if isinstance(one, dict) else ():
            yield f"measurements.{index}.{name}: unknown key"


def _short(value: Any) -> str:
    shown = json.dumps(value, default=str)
    return shown if len(shown) <= 60 else f"{shown[:57]}…"
