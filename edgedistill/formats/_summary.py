"""What a report says before any table: one sentence, the gates that fail, and four numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgedistill.formats._statistics import RUNS_NEEDED, find, median_latency_ms, ratio_to_baseline, subject
from edgedistill.formats._text import NOT_MEASURED, UNDEFINED, interval, percent, quantity, score
from edgedistill.spec import Report
from edgedistill.wording import megabytes, significant


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One number that a reader looks for first."""

    label: str
    value: str
    detail: str


def headline(report: Report) -> str:
    """The whole report in one sentence, after what must be read before it."""
    return f"{_warned(report)}{_made_up(report)}{_gates(report)}{_devices(report)}: {_kept(report)}."


def _warned(report: Report) -> str:
    """What makes the rest mean less than it seems, a sentence each."""
    return "".join(f"{warning[0].upper()}{warning[1:]}. " for warning in report.warnings)


def _made_up(report: Report) -> str:
    """That inputs were drawn, all of them or some."""
    said = next((note for note in report.notes if "SYNTHETIC" in note), "") if is_foreign(report) else ""
    return said and f"Judged on SYNTHETIC inputs{'' if said.startswith('Inputs: SYNTHETIC') else ' in part'}. "


def failures(report: Report) -> tuple[str, ...]:
    """The sentences of the gates that do not hold."""
    return tuple(verdict.sentence for verdict in report.verdicts if not verdict.ok)


def without_figures(report: Report) -> tuple[str, ...]:
    """Each device, or setting of one, that gave no figures, and why."""
    return tuple(f"{row['device']}: {row['status']}: {row['detail'].removeprefix(row['device'] + ': ')}" for row in report.devices if _is_bare(row))


def tiles(report: Report) -> tuple[Tile, ...]:
    """Size, retention, latency and agreement of the bundle against its baseline: the teacher, or a foreign model's original."""
    return (_size(report), _retention(report), _latency(report), _agreement(report))


def _gates(report: Report) -> str:
    failed, total = len(failures(report)), len(report.verdicts)
    if not total:
        return "No gate was checked"
    if not failed:
        return "Every gate holds"
    return f"{failed} of {total} gates {'does' if failed == 1 else 'do'} not hold"


def _devices(report: Report) -> str:
    """How many devices gave no figures at all, or not at every number of threads and batch that was asked for."""
    asked = {row["device"] for row in report.devices}
    answered = {row["device"] for row in report.devices if not _is_bare(row)}
    partly = {row["device"] for row in report.devices if _is_bare(row)} & answered
    parts = [f"{len(asked - answered)} of {_counted(len(asked), 'device')} gave no figures"] if asked - answered else []
    parts += [f"{len(partly)} of {_counted(len(asked), 'device')} gave only some"] if partly else []
    return f", but {' and '.join(parts)}" if parts else ""


def _is_bare(row: Mapping[str, Any]) -> bool:
    """Whether a row is of a device that could not be used: it is of no model."""
    return not row["subject"]


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _kept(report: Report) -> str:
    share, ratio = _share_of_bytes(report), ratio_to_baseline(report, "bundle")
    parts = [f"{percent(share)} of its bytes"] if share is not None else []
    parts += [f"{significant(ratio, 2)} × its latency{_where(report)}"] if ratio is not None else []
    kept = _alone(report) if report.retention is None else f"the bundle keeps {percent(report.retention)} of the {report.baseline}'s {report.metric}"
    kept += f" at {' and '.join(parts)}" if parts else ""
    return kept if ratio is not None else f"{kept}; its latency was not measured against the {report.baseline}'s"


def _alone(report: Report) -> str:
    """The bundle's own score, where there is nothing that it could keep."""
    bundle = subject(report, "bundle")
    return f"the bundle's {report.metric} is {score(bundle.score, report.metric)}" if bundle else "the bundle has no score"


def _where(report: Report) -> str:
    """The machine that the times are of: a reader of an ARM target must not take an x86 time for its own."""
    latency = find(report, "bundle", "latency_ms")
    arch = latency.conditions.get("arch") if latency else None
    return f" (measured on {arch})" if arch else ""


def _share_of_bytes(report: Report) -> float | None:
    bundle, baseline = subject(report, "bundle"), subject(report, report.baseline)
    return bundle.bytes / baseline.bytes if bundle and baseline and baseline.bytes else None


def _size(report: Report) -> Tile:
    bundle, baseline, share = subject(report, "bundle"), subject(report, report.baseline), _share_of_bytes(report)
    detail = f"the {report.baseline}'s size is not known"
    if baseline and share is not None:
        detail = f"{percent(share)} of the {report.baseline}'s {megabytes(baseline.bytes)}"
    return Tile(label="Size", value=megabytes(bundle.bytes) if bundle else NOT_MEASURED, detail=detail)


def _retention(report: Report) -> Tile:
    if report.retention is None or report.retention_interval is None:
        return Tile(label="Retention", value=UNDEFINED, detail=f"the {report.baseline} is no better than an answer that ignores its input")
    detail = f"of the {report.baseline}'s {report.metric}; 95 % interval {interval(report.retention_interval)}"
    return Tile(label="Retention", value=percent(report.retention), detail=detail)


def _latency(report: Report) -> Tile:
    ratio = ratio_to_baseline(report, "bundle")
    own, baseline = median_latency_ms(report, "bundle"), median_latency_ms(report, report.baseline)
    if ratio is None or own is None or baseline is None:
        detail = (
            f"bundle median {quantity(own, 'latency_ms')}; the {report.baseline} has no measured median"
            if own is not None
            else f"needs {RUNS_NEEDED[50]} measured runs of bundle and {report.baseline}"
        )
        return Tile(label="Latency", value=NOT_MEASURED, detail=detail)
    detail = f"median {quantity(own, 'latency_ms')} against the {report.baseline}'s {quantity(baseline, 'latency_ms')}{_where(report)}"
    return Tile(label="Latency", value=f"{significant(ratio, 2)} ×", detail=detail)


def _agreement(report: Report) -> Tile:
    bundle = subject(report, "bundle")
    value = percent(bundle.agreement) if bundle else NOT_MEASURED
    return Tile(label="Agreement", value=value, detail=f"with the {report.baseline} on {report.n_test:,} {rows_of(report)}")


def rows_of(report: Report) -> str:
    """What quality was counted on: a task's test split; a foreign model has none."""
    return "inputs" if is_foreign(report) else "test rows"


def judged_on(report: Report) -> str:
    """What the quantisation schemes were judged on."""
    return "inputs that did not calibrate" if is_foreign(report) else "validation rows"


def is_foreign(report: Report) -> bool:
    """Whether the model came without a teacher, so that there is neither a student nor a split of data."""
    return report.baseline != "teacher"
