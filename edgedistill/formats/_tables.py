"""The tables of a report as rows of text, the same for every format that people read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edgedistill.formats._statistics import RUNS_NEEDED, find, ratio_to_baseline
from edgedistill.formats._summary import is_foreign, judged_on, rows_of
from edgedistill.formats._text import (
    NOT_MADE,
    NOT_MEASURED,
    UNDEFINED,
    count,
    percent,
    percentile_cell,
    plain_number,
    quantity,
    score,
    score_interval,
    times,
    typical_cell,
)
from edgedistill.spec import Candidate, Report, Rung
from edgedistill.wording import left_in_float, megabytes, named, significant


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
        note=f"On {report.n_test:,} {rows_of(report)}; agreement is with the {report.baseline}. MB are 10⁶ bytes, kB 10³, MiB 2²⁰. "
        f"Fewer than {RUNS_NEEDED[50]} runs are shown as their range.",
    )


def candidates(report: Report) -> Table:
    """The quantisation schemes that were tried, and why each but one lost."""
    foreign = is_foreign(report)
    return Table(
        title="Quantisation candidates",
        align="llrrrrrll",
        columns=("scheme", "engine", "size", f"{report.metric}", "agreement", "int8 MACs", f"{_speed(report)} ÷ fp32", "outcome", "reason"),
        rows=tuple(_candidate(one, report.metric) for one in report.candidates),
        empty="No quantisation scheme was tried.",
        note=f"Judged against the fp32 {'original' if foreign else 'student'} on {judged_on(report)}, on the machine that quantised"
        f"{'' if foreign else '; the models above on the test rows'}.",
    )


def _candidate(one: Candidate, metric: str) -> tuple[str, ...]:
    share = one.facts.get("int8_macs")
    return (
        named(one.scheme, one.facts),
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
    left = left_in_float(one.scheme, one.facts)
    return (f"; in fp32: {', '.join(names)}" if names else "") + (f"; {left}" if left else "")


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
        note=f"The score is on the {rows_of(report)}, the agreement on what the schemes were judged by.",
    )


def devices(report: Report) -> Table:
    """Each model on each device that it was benched on; of the figures, those that one of them has."""
    figures = (
        (f"{report.metric} there", "score_there", lambda value: score(value, report.metric)),
        ("agrees with this machine", "agreement_with_here", percent),
        ("median latency", "latency_ms", lambda value: quantity(value, "latency_ms")),
        (f"÷ {report.baseline}", "latency_ratio", times),
        ("peak memory", "peak_mib", lambda value: quantity(value, "peak_mib")),
        ("instructions", "instructions", count),
        (f"instructions ÷ {report.baseline}", "instruction_ratio", times),
    )
    known = [one for one in figures if any(row.get(one[1]) is not None for row in report.devices)]
    last = ("detail",) if any(map(_detail, report.devices)) else ()
    unscored = any(row.get("agreement_with_here") is not None and row.get("score_there") is None for row in report.devices)
    notes = {
        "score_there": "“There” is on test rows that the device itself answered.",
        "agreement_with_here": "Where a device has no score, it agrees on the golden examples." if unscored else "",
        "instructions": "Instructions are emulated: a count is not a time.",
    }
    return Table(
        title="On each device",
        align="lll" + "r" * len(known) + "l" * len(last),
        columns=("device", "model", "status", *(title for title, _, _ in known), *last),
        rows=tuple(
            (one["device"], one["subject"], one["status"], *(_known(one, name, told) for _, name, told in known), *(_detail(one) for _ in last))
            for one in report.devices
        ),
        empty="Benched on no device.",
        note=" ".join(notes[name] for _, name, _ in known if notes.get(name)),
    )


def _detail(row: Mapping[str, Any]) -> str:
    """Why a device gave no latency; a weak figure's reasons are among the notes."""
    return "" if row.get("latency_ms") is not None else str(row["detail"]).removeprefix(f"{row['device']}: ")


def _known(row: Mapping[str, Any], name: str, told: Callable[[Any], str]) -> str:
    return told(row[name]) if row.get(name) is not None else NOT_MEASURED


def graph(report: Report) -> Table:
    """Operators and bytes, before and after quantisation."""
    before, after = report.graph.get("fp32", {}), report.graph.get("chosen", {})
    rows = [("nodes", str(before["nodes"]), str(after["nodes"]))] if before and after else []
    for title, unit in (("operators", str), ("bytes", megabytes)):
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
        note=f"The same {'inputs' if is_foreign(report) else 'test examples'} on both sides. "
        "A margin is the lead that the largest answer had before.",
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
    rows = tuple(("✓ holds" if one.ok else "✗ fails", one.rule, _value(one.value), plain_number(one.limit), one.sentence) for one in report.verdicts)
    return Table(
        title="Gates",
        align="llrrl",
        columns=("outcome", "rule", "value", "limit", "in words"),
        rows=rows,
        empty="No gate was checked.",
    )


def _value(value: float | None) -> str:
    return UNDEFINED if value is None else plain_number(value)


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
