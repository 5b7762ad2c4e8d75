"""One device: what it is, what it answers, and how long it takes — or, where it is emulated, how many instructions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgedistill import providers
from edgedistill.devices import Device, Ended, qemu
from edgedistill.errors import DeviceError
from edgedistill.measure import conditions, modes, placement, trust, turns
from edgedistill.measure.modes import Mode
from edgedistill.measure.ratios import ratios
from edgedistill.measure.subjects import Asked, Subject
from edgedistill.measure.turns import BadResultError, LateError
from edgedistill.spec import Measurement

COUNTED = 4  # rows whose instructions are counted, spread over all lengths; a count repeats to 0.01 %
PATIENCE_S = 120.0  # of a process before its work begins
PATIENT = 10  # times what the work should take by the first answer
SLOWEST_ROW_S = 10.0  # before anything is known of a device
LATE = "--threads 1, a smaller --shape or --batch, or --mode full, which waits for up to an hour"
BEYOND = "the shape or batch that was asked for may be beyond what the model takes: try a smaller one, or none"
EMULATED_ROW_S = 60.0  # an fp32 row of a small BERT takes seconds under emulation, and this machine may be busy
ONCE = {
    "load_ms": "creating the session in a fresh process",
    "first_ms": "the first answer",
    "peak_mib": "high-water mark less what was resident before the session and what one of an empty graph takes",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How every process runs: for how long, with how many threads at which batch, on which provider.

    Without `threads` the profile's number on a device of its system, else 1; without `provider` the device's own.
    """

    mode: Mode
    threads: int | None = None
    batch: int = 1
    provider: str = ""
    strict: bool = False

    def job(self, job: Mapping[str, Any], way: placement.Asked) -> dict[str, Any]:
        """A job with a process's share of it."""
        (asked,) = modes.swept({**job, **way.keys}, threads=[way.keys["threads"]], batches=[self.batch])
        return {**asked, **modes.pace(self.mode)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """A device's entry in the document, and what was measured there."""

    entry: dict[str, Any]
    measurements: Sequence[Measurement]


def visit(device: Device, asked: Asked, pace: Pace, seen: Callable[[int, int, str], None], warn: Callable[[str], None]) -> Visit:
    """Golden answers first: what is wrong has no latency. Raises DeviceError when the device goes away, or has no such provider.

    An emulated device is counted on one thread, row by row, whatever the pace. However slow the device is, a process ends by its deadline and a
    subject's runs by what the mode gives them.
    """
    facts, before = device.facts(), device.conditions()
    emulated = facts["provenance"] == "emulated"
    if emulated:
        pace = replace(pace, threads=1, batch=1)
    way = placement.ask(pace.provider or getattr(device, "provider", "cpu"), asked.profile, facts, pace.threads, strict=pace.strict)
    for said in filter(None, (providers.simulated(way.keys["provider"], facts["arch"]), _crowded(device.address, way.keys["threads"], facts))):
        warn(said)
    entry: dict[str, Any] = {"device": device.address, "threads": way.keys["threads"], "batch": pace.batch, "provider": way.keys["provider"]}
    entry |= {"status": "ok", "facts": facts, "before": before}
    stay = _Stay(device, asked, pace, way, facts, seen, warn)
    measured: list[Measurement] = []
    try:
        if emulated:
            found, measured = _counted(stay)
            entry |= found | _answered(stay, EMULATED_ROW_S / 10)
        else:
            first_s = {one.name: _first_s(stay, one) for one in asked.subjects}
            entry |= _answered(stay, PATIENT * max(first_s.values()))
            found, measured = _timed(stay, first_s)
            entry |= found
    except BadResultError as bad:
        entry |= {"status": bad.status, "detail": str(bad), "hint": bad.hint}
    return Visit(entry=entry | {"after": device.conditions()}, measurements=measured)


def _crowded(address: str, threads: int, facts: Mapping[str, Any]) -> str:
    """What is to be said of more threads than the device has cores for; empty where it has enough, or does not tell."""
    cores = facts.get("cores") or threads
    if threads <= cores:
        return ""
    usable = f"{cores} usable core{'s' * (cores > 1)}"
    return f"{address} has {usable} for {threads} threads, which wait for each other: --threads {cores} is the most that helps"


@dataclass(frozen=True, slots=True)
class _Stay:
    """All that measuring on one device needs."""

    device: Device
    asked: Asked
    pace: Pace
    way: placement.Asked
    facts: Mapping[str, Any]
    seen: Callable[[int, int, str], None]
    warn: Callable[[str], None]

    def run(self, subject: str, job: Mapping[str, Any], deadline_s: float) -> Ended:
        """A process that ended well, on the provider that was asked for."""
        ended = self.device.run(job, deadline_s)
        try:
            placement.judge(subject, self.way, ended.result, self.warn, traced=bool(job.get("trace")))
        except DeviceError as error:
            status = ended.result["status"] if ended.result["status"] in ("fell_back", "no_provider") else "unmeasured"
            raise BadResultError(status, str(error.args[0]), error.hint) from error
        _check(subject, ended.result, BEYOND if "timed" in job else LATE if ended.result["status"] == "timeout" else "")
        return ended


def _first_s(stay: _Stay, subject: Subject) -> float:
    """The time of a first answer, and the golden answers held; nothing is timed."""
    job = {**subject.job, **stay.way.keys, "strict": False, "min_runs": 0, "min_s": 0.0}
    deadline_s = min(PATIENCE_S + len(job["feeds"]) * SLOWEST_ROW_S, stay.pace.mode.last_s)
    return float(stay.run(subject.name, job, deadline_s).result["first_ms"]) / 1e3


def _answered(stay: _Stay, row_s: float) -> dict[str, Any]:
    """What the shipped file says of the test rows there; nothing where there are none."""
    rows = stay.asked.rows
    if rows is None:
        return {}
    threads = stay.way.keys["threads"]
    threads = min(threads, stay.facts.get("cores") or threads)  # the answers are the same, and nothing is timed
    job = {**rows.job, **stay.way.keys, "threads": threads, "strict": False}
    found = rows.judged(stay.run("bundle", job, min(PATIENCE_S + len(job["feeds"]) * row_s, stay.pace.mode.last_s)).answers)
    if not np.isfinite(found["max_abs"]):
        raise BadResultError("wrong", "the bundle: answers to test rows are no numbers")
    return {"answers": found}


def _timed(stay: _Stay, first_s: Mapping[str, float]) -> tuple[dict[str, Any], list[Measurement]]:
    """Every subject's processes in turns. The first of each also says which provider ran what."""
    asked, pace = stay.asked, stay.pace
    jobs = {one.name: pace.job(one.job, stay.way) for one in asked.subjects}
    own_mib = conditions.own_mib(stay.device, jobs[asked.subjects[-1].name])
    done = Counter[str]()

    def run(name: str, turn: int) -> dict[str, Any]:
        deadline_s = PATIENCE_S + 10 * pace.mode.min_s + PATIENT * len(jobs[name]["feeds"]) * pace.batch * first_s[name]
        result = stay.run(name, {**jobs[name], "trace": turn == 0}, min(deadline_s, pace.mode.last_s)).result
        done[name] += 1
        stay.seen(done.total(), pace.mode.processes * len(jobs), name)
        return _less(result, own_mib)

    taken = turns.take(list(jobs), pace.mode, run)
    results = taken.results
    one_cpu = stay.way.keys["provider"] == providers.CPU.name and stay.way.keys["threads"] == 1
    under: dict[str, Any] = {"threads": stay.way.keys["threads"], "batch": pace.batch, "processes": len(results[asked.baseline])}
    under |= {"device": stay.device.address, "cpu": stay.facts["cpu"], "arch": stay.facts["arch"]}
    found = {
        "onnxruntime": results[asked.subjects[-1].name][0]["onnxruntime"],
        "own_mib": own_mib,
        "ratios": ratios(results, asked.baseline),
        "placement": {name: some[0]["placement"] for name, some in results.items() if "placement" in some[0]},
        "trust": {
            name: trust.judged(some, pace.mode.minute_s, one_cpu=one_cpu, cut=taken.cut.get(name, ""))._asdict() for name, some in results.items()
        },
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


def _counted(stay: _Stay) -> tuple[dict[str, Any], list[Measurement]]:
    """Instructions of a run on one thread by class, the mean over some rows; golden answers of those rows are held first.

    An emulated device that counts nothing, as a browser's software adapter, is only asked for its answers.
    """
    found: dict[str, dict[str, int]] = {}
    measured, version = [], ""
    for index, one in enumerate(stay.asked.subjects):
        job = _some({**one.job, **stay.way.keys, "min_runs": 0, "min_s": 0.0})
        deadline_s = PATIENCE_S + len(job["feeds"]) * EMULATED_ROW_S
        if isinstance(stay.device, qemu.Emulated):
            counted = qemu.observe(stay.device.name, job, deadline_s, counted=True)
            result = dict(counted.result)
            _check(one.name, result)
            found[one.name] = qemu.mean(counted.counts)
            measured.append(_instructions(one.name, counted.counts, stay))
        else:
            result = stay.run(one.name, job, deadline_s).result
        version = result["onnxruntime"]
        stay.seen(index + 1, len(stay.asked.subjects), one.name)
    base = sum(found.get(stay.asked.baseline, {}).values())
    shares = {name: sum(classes.values()) / base for name, classes in found.items() if base and name != stay.asked.baseline}
    return {"onnxruntime": version, "instructions": found, "instruction_ratios": shares}, measured


def _instructions(subject: str, counts: Sequence[Mapping[str, int]], stay: _Stay) -> Measurement:
    return Measurement(
        subject=subject,
        metric="instructions",
        samples=tuple(float(sum(count.values())) for count in counts),
        conditions={"threads": stay.way.keys["threads"], "batch": stay.pace.batch, "device": stay.device.address},
        provenance="emulated",
        note="emulated: a count is not a time",
    )


def _some(job: Mapping[str, Any]) -> dict[str, Any]:
    """The job on a few of its rows, spread over all."""
    at = np.unique(np.linspace(0, len(job["feeds"]) - 1, COUNTED).round().astype(int))
    return {**job, **{name: [job[name][index] for index in at] for name in ("feeds", "picks", "golden", "tensors") if job.get(name)}}


def _check(subject: str, result: Mapping[str, Any], hint: str = "") -> None:
    if result["status"] not in ("ok", "fell_back"):
        raise (LateError if result["status"] == "timeout" else BadResultError)(
            result["status"], f"the {subject}: {result.get('detail') or _off(result)}", hint
        )


def _off(result: Mapping[str, Any]) -> str:
    return f"golden answers off by {result.get('worst_difference')}"
