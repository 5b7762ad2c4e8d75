"""One device: what it is, what it answers, and how long it takes — or, where it is emulated, how many instructions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgedistill.devices import Device, qemu
from edgedistill.measure import conditions, modes, trust
from edgedistill.measure.modes import Mode
from edgedistill.measure.ratios import ratios
from edgedistill.measure.subjects import Asked
from edgedistill.spec import Measurement

COUNTED = 4  # rows whose instructions are counted, spread over all lengths; a count repeats to 0.01 %
PATIENCE_S = 120.0  # of a process before its work begins
EMULATED_ROW_S = 60.0  # an fp32 row of a small BERT takes seconds under emulation, and this machine may be busy
ONCE = {
    "load_ms": "creating the session in a fresh process",
    "first_ms": "the first answer",
    "peak_mib": "high-water mark less what was resident before the session and what one of an empty graph takes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How every process runs: for how long, and with how many threads at which batch."""

    mode: Mode
    threads: int
    batch: int = 1
    provider: str = "CPUExecutionProvider"

    def job(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """A job with a process's share of it."""
        (asked,) = modes.swept({**job, "provider": self.provider}, threads=[self.threads], batches=[self.batch])
        return {**asked, **modes.pace(self.mode)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A device's entry in the document, and what was measured there."""

    entry: dict[str, Any]
    measurements: Sequence[Measurement]


class _BadResultError(Exception):
    """A process that did not end well; `status` is its result's."""

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status


def visit(device: Device, asked: Asked, pace: Pace, seen: Callable[[int, int, str], None]) -> Visit:
    """Answers first: what is wrong has no latency. Raises DeviceError when the device goes away."""
    facts, before = device.facts(), device.conditions()
    entry: dict[str, Any] = {"device": device.address, "threads": pace.threads, "batch": pace.batch, "status": "ok", "facts": facts, "before": before}
    measured: list[Measurement] = []
    try:
        if asked.rows is not None:
            entry["answers"] = _answered(device, asked, pace, emulated=facts["provenance"] == "emulated")
        if facts["provenance"] == "emulated":
            found, measured = _counted(device, asked, seen)
        else:
            found, measured = _timed(device, asked, pace, facts, seen)
        entry |= found
    except _BadResultError as bad:
        entry |= {"status": bad.status, "detail": str(bad)}
    return Visit(entry=entry | {"after": device.conditions()}, measurements=measured)


def _answered(device: Device, asked: Asked, pace: Pace, *, emulated: bool) -> dict[str, Any]:
    """What the shipped file says of the test rows there."""
    assert asked.rows is not None
    job = {**asked.rows.job, "provider": pace.provider, "threads": pace.threads}
    ended = device.run(job, PATIENCE_S + len(job["feeds"]) * (EMULATED_ROW_S / 10 if emulated else 1.0))
    _check("bundle", ended.result)
    return asked.rows.judged(ended.answers)


def _timed(
    device: Device, asked: Asked, pace: Pace, facts: Mapping[str, Any], seen: Callable[[int, int, str], None]
) -> tuple[dict[str, Any], list[Measurement]]:
    """Fresh processes in turns, there and back: drift hits all alike."""
    results: dict[str, list[dict[str, Any]]] = {one.name: [] for one in asked.subjects}
    jobs = {one.name: pace.job(one.job) for one in asked.subjects}
    own_mib = conditions.own_mib(device, jobs[asked.subjects[-1].name])
    for turn in range(pace.mode.processes):
        for name in list(jobs) if turn % 2 == 0 else list(jobs)[::-1]:
            result = device.run(jobs[name], PATIENCE_S + 10 * pace.mode.min_s).result
            _check(name, result)
            results[name].append(_less(result, own_mib))
            seen(sum(map(len, results.values())), pace.mode.processes * len(jobs), name)
    under: dict[str, Any] = {"threads": pace.threads, "batch": pace.batch, "processes": pace.mode.processes}
    under |= {"device": device.address, "cpu": facts["cpu"], "arch": facts["arch"]}
    found = {
        "onnxruntime": results[asked.subjects[-1].name][0]["onnxruntime"],
        "own_mib": own_mib,
        "ratios": ratios(results, asked.baseline),
        "trust": {name: trust.judged(some, pace.mode.minute_s)._asdict() for name, some in results.items()},
        "processes": {name: [conditions.during(result) for result in some] for name, some in results.items()},
    }
    return found, [one for name, some in results.items() for one in _measurements(name, some, under, asked.note)]


def _less(result: dict[str, Any], own_mib: float | None) -> dict[str, Any]:
    """The result with what a session needs by itself taken off its peak, where both are known."""
    peak = result.get("peak_mib")
    return result if peak is None or own_mib is None else {**result, "peak_mib": max(peak - own_mib, 0.0)}


def _measurements(subject: str, results: Sequence[Mapping[str, Any]], under: Mapping[str, Any], note: str) -> list[Measurement]:
    latency = Measurement(
        subject=subject,
        metric="latency_ms",
        samples=tuple(round(sample, 5) for result in results for sample in result["samples_ms"]),
        warmups=tuple(round(sample, 5) for result in results for sample in result["warmups_ms"]),
        conditions=under,
        note=note,
    )
    told = {name: [result[name] for result in results if result.get(name) is not None] for name in ONCE}
    return [latency] + [
        Measurement(subject=subject, metric=name, samples=tuple(round(value, 4) for value in values), conditions=under, note=ONCE[name])
        for name, values in told.items()
        if values
    ]


def _counted(device: Device, asked: Asked, seen: Callable[[int, int, str], None]) -> tuple[dict[str, Any], list[Measurement]]:
    """Instructions of a run on one thread by class, the mean over some rows; golden answers of those rows are held first."""
    found: dict[str, dict[str, int]] = {}
    measured, version = [], ""
    for index, one in enumerate(asked.subjects):
        job = _some({**one.job, "provider": "CPUExecutionProvider", "threads": 1})
        counted = qemu.observe(device.address.partition(":")[2], job, PATIENCE_S + len(job["feeds"]) * EMULATED_ROW_S, counted=True)
        _check(one.name, counted.result)
        version = counted.result["onnxruntime"]
        found[one.name] = {name: round(float(np.mean([count[name] for count in counted.counts]))) for name in counted.counts[0]}
        measured.append(_instructions(one.name, counted.counts, device.address))
        seen(index + 1, len(asked.subjects), one.name)
    base = sum(found[asked.baseline].values()) if asked.baseline in found else None
    shares = {name: sum(classes.values()) / base for name, classes in found.items() if base and name != asked.baseline}
    return {"onnxruntime": version, "instructions": found, "instruction_ratios": shares}, measured


def _instructions(subject: str, counts: Sequence[Mapping[str, int]], address: str) -> Measurement:
    return Measurement(
        subject=subject,
        metric="instructions",
        samples=tuple(float(sum(count.values())) for count in counts),
        conditions={"threads": 1, "batch": 1, "device": address},
        provenance="emulated",
        note="emulated: a count is not a time",
    )


def _some(job: Mapping[str, Any]) -> dict[str, Any]:
    """The job on a few of its rows, spread over all."""
    at = np.unique(np.linspace(0, len(job["feeds"]) - 1, COUNTED).round().astype(int))
    return {**job, **{name: [job[name][index] for index in at] for name in ("feeds", "picks", "golden", "tensors") if job.get(name)}}


def _check(subject: str, result: Mapping[str, Any]) -> None:
    if result["status"] != "ok":
        raise _BadResultError(result["status"], f"the {subject}: {result.get('detail') or _off(result)}")


def _off(result: Mapping[str, Any]) -> str:
    return f"golden answers off by {result.get('worst_difference')}"
