"""A bench document as one table: a row for each model on each device."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from edgedistill import samples

MEDIANS = ("latency_ms", "load_ms", "first_ms", "peak_mib")


def rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One dict a row; what was not measured is None. A device that could not be used has one row with its status and why."""
    sampled = [one for one in samples.unpacked(document)["measurements"] if one["samples"]]
    medians = {(*_setting(one["conditions"]), one["subject"], one["metric"]): statistics.median(one["samples"]) for one in sampled}
    return [row for entry in document["devices"] for row in _device(entry, document["subjects"], document["baseline"], medians)]


def _device(
    entry: Mapping[str, Any], subjects: list[Mapping[str, Any]], baseline: str, medians: Mapping[tuple[Any, ...], float]
) -> list[dict[str, Any]]:
    if entry["status"] != "ok":
        return [{"device": entry["device"], "subject": "", "status": entry["status"], "detail": entry.get("detail", "")}]
    return [_row(entry, one, baseline, medians) for one in subjects]


def _row(entry: Mapping[str, Any], subject: Mapping[str, Any], baseline: str, medians: Mapping[tuple[Any, ...], float]) -> dict[str, Any]:
    name = subject["name"]
    answers = entry.get("answers", {}) if name == "bundle" else {}
    counts = entry.get("instructions", {}).get(name)
    known = {metric: medians.get((*_setting(entry), name, metric)) for metric in MEDIANS}
    trust = entry.get("trust", {}).get(name, {"status": entry["status"], "why": ()})
    return {
        "device": entry["device"],
        "threads": entry["threads"],
        "batch": entry["batch"],
        "subject": name,
        "status": trust["status"],
        "detail": "; ".join(trust["why"]),
        "bytes": subject["bytes"],
        "score": subject["score"],
        "agreement": subject["agreement"],
        "score_there": answers.get("score"),
        "agreement_with_here": answers.get("agreement_with_here"),
        "rows": answers.get("rows"),
        **known,
        "latency_ratio": 1.0 if name == baseline and known["latency_ms"] else entry.get("ratios", {}).get(name, {}).get("median_ratio"),
        "latency_interval": entry.get("ratios", {}).get(name, {}).get("interval"),
        "instructions": sum(counts.values()) if counts else None,
        "instruction_ratio": 1.0 if name == baseline and counts else entry.get("instruction_ratios", {}).get(name),
    }


def _setting(where: Mapping[str, Any]) -> tuple[Any, ...]:
    return where["device"], where.get("threads"), where.get("batch")
