"""A report on a bench document: what is damaged in it is named, all of it, and nothing of it is rendered."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from conftest import run_cli

from edgedistill.measure.document import faults
from edgedistill.measure.report import instructions

DOCUMENT: dict[str, Any] = {
    "schema": "edgedistill.bench/1",
    "bundle": "bundle",
    "baseline": "teacher",
    "absent": [],
    "subjects": [{"name": "bundle", "bytes": 9_000, "score": 0.88, "agreement": 0.95}],
    "devices": [
        {
            "device": "local",
            "threads": 1,
            "batch": 1,
            "provider": "CPUExecutionProvider",
            "status": "ok",
            "facts": {"device": "local", "os": "linux", "arch": "x86_64", "cpu": "a CPU", "provenance": "measured"},
            "ratios": {"bundle": {"median_ratio": 0.25, "interval": [0.2, 0.3], "level": 0.95}},
            "own_mib": 9.5,
        },
        {"device": "ssh:gone", "status": "unmeasured", "detail": "nobody answers", "hint": "ssh gone"},
    ],
    "measurements": [
        {"subject": "bundle", "metric": "latency_ms", "samples": [1.0, 2], "conditions": {"device": "local"}, "provenance": "measured"},
    ],
}


def damaged(place: str, *value: Any) -> dict[str, Any]:
    """The document with another value at a dotted place, or none."""
    document = deepcopy(DOCUMENT)
    *outer, last = [int(part) if part.isdigit() else part for part in place.split(".")]
    inside: Any = document
    for part in outer:
        inside = inside[part]
    if value:
        inside[last] = value[0]
    else:
        del inside[last]
    return document


def test_document_has_no_fault_when_it_is_as_the_bench_writes_it() -> None:
    assert faults(DOCUMENT) == []


@pytest.mark.parametrize(
    "place",
    [
        *(f"devices.0.{name}" for name in ("device", "status", "threads", "batch", "provider", "facts", "facts.cpu", "ratios.bundle.interval")),
        *("devices.1.detail", "measurements.0.conditions.device", "measurements.0.samples", "subjects.0.bytes", "absent", "measurements"),
    ],
)
def test_fault_is_named_when_a_key_is_missing(place: str) -> None:
    assert faults(damaged(place)) == [f"{place} is missing"]


@pytest.mark.parametrize(
    ("place", "value"),
    [("devices.0.status", 7), ("devices.0.threads", True), ("devices.1", 3), ("devices", {}), ("measurements.0.samples.1", "2"), ("bundle", None)],
)
def test_fault_is_named_when_a_value_is_of_another_kind(place: str, value: Any) -> None:
    (fault,) = faults(damaged(place, value))
    assert fault.startswith(f"{place}: input should be a")
    assert f"(found {json.dumps(value)})" in fault


def test_fault_is_named_when_a_measurement_has_a_key_that_none_has() -> None:
    assert faults(damaged("measurements.0.colour", "red")) == ["measurements.0.colour: unknown key"]


def test_report_exits_2_with_every_fault_when_devices_are_damaged(tmp_path: Path) -> None:
    file = tmp_path / "bench.json"
    file.write_text(json.dumps(damaged("devices", [{"device": "local"}])), encoding="utf-8")
    done = run_cli("report", str(file), cwd=tmp_path, check=2)
    assert f"{file} is not an edgedistill.bench/2 document: devices.0.status is missing" in done.stderr
    file.write_text(json.dumps(damaged("devices", [{"device": "local"}, {"status": "gone"}])), encoding="utf-8")
    done = run_cli("report", str(file), cwd=tmp_path, check=2)
    for place in ("devices.0.status", "devices.1.device", "devices.1.detail"):
        assert f"{file} is not an edgedistill.bench/2 document: {place} is missing" in done.stderr
    assert "Traceback" not in done.stderr


def test_instructions_are_no_zero_millions_when_they_are_few() -> None:
    classes = {"int_matrix": 0, "int_dot": 0, "int_multiply": 352, "float_multiply_add": 16, "other": 37_092}
    fp32 = {**dict.fromkeys(classes, 0), "float_multiply_add": 2_000_000, "other": 1_746_000}
    said = instructions({"scheme": "int8-dynamic", "facts": {"instructions": {"cpu": "cortex-a53", "classes": classes, "fp32": fp32}}})
    assert "takes 37,460 instructions an input, 0.01 of fp32's 3.7 M. Of them 352 are multiplies" in said
