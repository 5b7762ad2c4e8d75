"""The tables of a report as rows of text, the same for every format that people read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgedistill.formats._statistics import RUNS_NEEDED, find, ratio_to_baseline
from edgedistill.formats._summary import rows_of
from edgedistill.formats._text import (
    NOT_MADE,
    NOT_MEASURED,
    megabytes,
    percent,
    percentile_cell,
    plain_number,
    quantity,
    range_cell,
    score,
    score_interval,
    significant,
    times,
    typical_cell,
)
from edgedistill.spec import Candidate, Measurement, Report, Rung


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of text under a title; `align` has one letter per column (l or r); `empty` is the sentence said when there are no rows."""

    title: str
    align: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    empty: str
    note: str = ""


def subjects(report: Report) -> Table:
    """The models, side by side."""
    rows = tuple(
        (
            f"{one.name}: {one.title}" if one.title and one.title != one.name else one.name,
            megabytes(one.bytes),
            score(one.score, report.metric),
            score_interval(one.interval, report.metric),
            percent(one.agreement),
            percentile_cell(find(report, one.name, "latency_ms"), 50),
            times(ratio_to_baseline(report, one.name)),
            *(typical_cell(find(report, one.name, metric)) for metric in ("load_ms", "first_ms", "peak_mib")),
        )
        for one in report.subjects
    )
    return Table(
        title="Models",
        align="lrrrrrrrrr",
        columns=(
            *("model", "size", report.metric, "95 % interval", "agreement", "median latency"),
            *(f"latency ÷ {report.baseline}", "load time", "first inference", "peak memory"),
        ),
        rows=rows,
        empty="The report names no model.",
        note=f"On {report.n_test:,} {rows_of(report)}; agreement is with the {report.baseline}. MB are 10⁶ bytes, MiB 2²⁰. "
        f"Fewer than {RUNS_NEEDED[50]} runs are shown as their range.",
    )


def measurements(report: Report) -> Table:
    """Every measurement, with as many percentiles as its runs can carry; conditions that all share are said once, below."""
    shared = _shared_conditions(report.measurements)
    particulars = tuple(_particulars(one, shared) for one in report.measurements)
    last = ("particulars",) if any(particulars) else ()
    rows = tuple(
        (
            one.subject,
            one.metric,
            f"{len(one.samples):,}",
            f"{len(one.warmups):,}",
            *(percentile_cell(one, at) for at in RUNS_NEEDED),
            range_cell(one),
            *(own for _ in last),
        )
        for one, own in zip(report.measurements, particulars, strict=True)
    )
    return Table(
        title="Measurements",
        align="llrrrrrrr" + "l" * len(last),
        columns=("model", "metric", "runs", "warm-ups", *(f"p{at}" for at in RUNS_NEEDED), "range", *last),
        rows=rows,
        empty="Nothing was measured on the device.",
        note=" ".join(("Percentiles and range are of the runs, warm-ups apart.", _said(shared))).strip(),
    )


def candidates(report: Report) -> Table:
    """The quantisation schemes that were tried, and why each but one lost."""
    return Table(
        title="Quantisation candidates",
        align="llrrrrrll",
        columns=("scheme", "engine", "size", f"{report.metric}", "agreement", "int8 MACs", f"{_speed(report)} ÷ fp32", "outcome", "reason"),
        rows=tuple(_candidate(one, report.metric) for one in report.candidates),
        empty="No quantisation scheme was tried.",
        note="Judged against the fp32 student on validation rows, on the machine that quantised; the models above on the test rows."
        if report.baseline == "teacher"
        else "Judged against the fp32 original on inputs that did not calibrate, on the machine that quantised.",
    )


def _candidate(one: Candidate, metric: str) -> tuple[str, ...]:
    share = one.facts.get("int8_macs")
    return (
        one.scheme,
        one.engine,
        NOT_MADE if one.bytes is None else megabytes(one.bytes),
        (NOT_MADE if one.bytes is None else NOT_MEASURED) if one.score is None else score(one.score, metric),
        (NOT_MADE if one.bytes is None else NOT_MEASURED) if one.agreement is None else percent(one.agreement),
        NOT_MEASURED if share is None else percent(share),
        NOT_MEASURED if one.latency_ratio is None else times(one.latency_ratio),
        f"✓ {one.status}" if one.chosen else one.status,
        one.reason.removeprefix(f"{one.status}: ") + _kept(one),
    )


def _speed(report: Report) -> str:
    """What the schemes were chosen by: instructions where latency was emulated."""
    return "instructions" if any(one.latency == "emulated" for one in report.candidates) else "latency"


def _kept(one: Candidate) -> str:
    """Which operators stayed fp32, where some did."""
    names = one.facts.get("kept_fp32", ())
    return f"; in fp32: {', '.join(names)}" if names else ""


def targets(report: Report) -> Table:
    """What each device got that was built for together."""
    rows = tuple(
        (one["target"], "refused", "", "", "", one["refused"])
        if one["scheme"] is None
        else (
            one["target"],
            one["scheme"],
            megabytes(one["bytes"]),
            score(one["score"], report.metric),
            percent(one["agreement"]),
            one["runner_up"],
        )
        for one in report.targets
    )
    return Table(
        title="Devices",
        align="llrrrl",
        columns=("target", "scheme", "size", report.metric, "agreement with fp32", "runner-up"),
        rows=rows,
        empty="Built for this device alone.",
        note="The score is on the test split, the agreement on the rows that the schemes were judged by.",
    )


def devices(report: Report) -> Table:
    """Each model on each device that it was benched on."""
    rows = tuple(
        (
            one["device"],
            one["subject"],
            one["status"],
            _known(one, "score_there", lambda value: score(value, report.metric)),
            _known(one, "agreement_with_here", percent),
            _known(one, "latency_ms", lambda value: quantity(value, "latency_ms")),
            _known(one, "latency_ratio", times),
            _known(one, "peak_mib", lambda value: quantity(value, "peak_mib")),
            _known(one, "instructions", lambda value: f"{value / 1e6:,.1f} million"),
            _known(one, "instruction_ratio", times),
            "" if one.get("latency_ms") is not None else one["detail"],  # a weak figure's reasons are among the notes
        )
        for one in report.devices
    )
    return Table(
        title="On each device",
        align="lllrrrrrrrl",
        columns=(
            *("device", "model", "status", f"{report.metric} there", "agrees with this machine", "median latency", f"÷ {report.baseline}"),
            *("peak memory", "instructions", f"instructions ÷ {report.baseline}", "detail"),
        ),
        rows=rows,
        empty="Benched on no device.",
        note="“There” is on test rows that the device itself answered. Instructions are emulated: a count is not a time.",
    )


def _known(row: Mapping[str, Any], name: str, told: Callable[[Any], str]) -> str:
    return told(row[name]) if row.get(name) is not None else NOT_MEASURED


def graph(report: Report) -> Table:
    """Operators and bytes, before and after quantisation."""
    before, after = report.graph.get("fp32", {}), report.graph.get("chosen", {})
    rows = [("nodes", str(before["nodes"]), str(after["nodes"]))] if before and after else []
    for title, unit in (("operators", str), ("bytes", lambda size: megabytes(size))):
        names = dict.fromkeys([*before.get(title, {}), *after.get(title, {})])
        rows += [(name, *(unit(one[title][name]) if name in one[title] else "" for one in (before, after))) for name in names]
    return Table(
        title="The graph",
        align="lrr",
        columns=("", "fp32", "shipped"),
        rows=tuple(rows),
        empty="The graphs were not counted.",
        note="Nodes by operator, then the bytes of weights by what they are for and how they are kept.",
    )


def ladder(report: Report) -> Table:
    """From torch to the device's own kernels: what each step changes, and which examples it decides otherwise."""
    return Table(
        title="Parity ladder",
        align="lllrrrrrl",
        columns=("outcome", "rung", "held against", "examples", "max abs", "allowed", "agreement", "asked", "decided otherwise (margin)"),
        rows=tuple(_rung(one) for one in report.ladder),
        empty="The bundle was not held against its earlier forms step by step.",
        note="The same test examples on both sides. A margin is the lead that the largest answer had before.",
    )


def _rung(one: Rung) -> tuple[str, ...]:
    outcome = {True: "✓ holds", False: "✗ fails", None: one.provenance}[one.holds]
    name = f"{one.name} (emulated)" if one.provenance == "emulated" else one.name
    if one.max_abs is None or one.agreement is None:
        return (outcome, name, one.against, *[""] * 5, one.note)
    asked = "" if one.agreement_limit is None else percent(one.agreement_limit)
    allowed = "" if one.max_abs_limit is None else plain_number(one.max_abs_limit)
    figures = (f"{one.rows:,}", significant(one.max_abs, 2), allowed, percent(one.agreement), asked)
    return (outcome, name, one.against, *figures, ", ".join(map(_differing, one.differing)) or "none")


def _differing(example: Mapping[str, Any]) -> str:
    margin = "" if example["margin"] is None else f" ({significant(example['margin'], 2)})"
    return f"{example['example']}{margin}"


def verdicts(report: Report) -> Table:
    """The gates: what was asked, what came out."""
    rows = tuple(
        ("✓ holds" if one.ok else "✗ fails", one.rule, plain_number(one.value), plain_number(one.limit), one.sentence) for one in report.verdicts
    )
    return Table(
        title="Gates",
        align="llrrl",
        columns=("outcome", "rule", "value", "limit", "in words"),
        rows=rows,
        empty="No gate was checked.",
    )


def steps(report: Report) -> Table:
    """What was done to make the bundle, and what was already there."""
    rows = tuple((str(one.get("stage", "?")), _cached(one), _seconds(one)) for one in report.steps)
    return Table(
        title="Steps",
        align="llr",
        columns=("stage", "from", "seconds"),
        rows=rows,
        empty="The steps were not recorded.",
    )


def environment(report: Report) -> Table:
    """Where and with what the numbers were made."""
    return Table(
        title="Environment",
        align="ll",
        columns=("fact", "value"),
        rows=_flat(report.environment),
        empty="The environment was not recorded.",
    )


def _cached(step: Mapping[str, Any]) -> str:
    return {True: "cache", False: "this run"}.get(step.get("cached", ""), "not recorded")


def _seconds(step: Mapping[str, Any]) -> str:
    seconds = step.get("seconds")
    return f"{seconds:,.1f}" if isinstance(seconds, int | float) else "not recorded"


def _shared_conditions(all_of_them: tuple[Measurement, ...]) -> Mapping[str, Any]:
    first: Mapping[str, Any] = all_of_them[0].conditions if all_of_them else {}
    return {name: value for name, value in first.items() if all(one.conditions.get(name) == value for one in all_of_them)}


def _said(conditions: Mapping[str, Any]) -> str:
    return f"All under: {', '.join(f'{name} {value}' for name, value in conditions.items())}." if conditions else ""


def _particulars(measurement: Measurement, shared: Mapping[str, Any]) -> str:
    """What this measurement does not share with the others."""
    own = tuple(f"{name} {value}" for name, value in measurement.conditions.items() if name not in shared)
    origin = () if measurement.provenance == "measured" else (measurement.provenance,)
    return "; ".join((*origin, *own, *((measurement.note,) if measurement.note else ())))


def _flat(facts: Mapping[str, Any], prefix: str = "") -> tuple[tuple[str, str], ...]:
    """Nested facts as rows with dotted names."""
    rows: list[tuple[str, str]] = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            shown = ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)
            rows.append((f"{prefix}{name}", shown))
    return tuple(rows)
