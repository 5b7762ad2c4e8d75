"""The table of measurements: what rows share is said once below it, so that what is left fits on a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgedistill.formats._statistics import RUNS_NEEDED
from edgedistill.formats._tables import Table
from edgedistill.formats._text import percentile_cell, range_cell
from edgedistill.spec import Measurement, Report


def measurements(report: Report) -> Table:
    """Every measurement, with as many percentiles as its runs can carry.

    Conditions that all share, that all of a device share, and notes that all of a metric share are said once, below.
    """
    taken = report.measurements
    where = tuple(str(one.conditions.get("device", "")) for one in taken)
    several = ("device",) if len(set(where)) > 1 else ()
    everywhere = _shared(taken)
    there = {name: _shared([one for one, at in zip(taken, where, strict=True) if at == name]) for name in dict.fromkeys(where)}
    notes = _notes(taken)
    particulars = tuple(_particulars(one, there[at], notes) for one, at in zip(taken, where, strict=True))
    last = ("particulars",) if any(particulars) else ()
    rows = tuple(
        (*(at for _ in several), one.subject, one.metric, *_figures(one), *(own for _ in last))
        for one, at, own in zip(taken, where, particulars, strict=True)
    )
    each = (_said(f"On {name}", {key: value for key, value in own.items() if key not in (*everywhere, "device")}) for name, own in there.items())
    said = ("Percentiles and range are of the runs, warm-ups apart.", _said("All under", everywhere), *each, *_told(notes))
    return Table(
        title="Measurements",
        align="l" * len(several) + "llrrrrrrr" + "l" * len(last),
        columns=(*several, "model", "metric", "runs", "warm-ups", *(f"p{at}" for at in RUNS_NEEDED), "range", *last),
        rows=rows,
        empty="Nothing was measured on the device.",
        note=" ".join(filter(None, said)),
    )


def _figures(one: Measurement) -> tuple[str, ...]:
    return (f"{len(one.samples):,}", f"{len(one.warmups):,}", *(percentile_cell(one, at) for at in RUNS_NEEDED), range_cell(one))


def _shared(some: Sequence[Measurement]) -> Mapping[str, Any]:
    first: Mapping[str, Any] = some[0].conditions if some else {}
    return {name: value for name, value in first.items() if all(one.conditions.get(name) == value for one in some)}


def _notes(some: Sequence[Measurement]) -> Mapping[str, str]:
    """The note of each metric that has the same wherever it was measured."""
    found: dict[str, set[str]] = {}
    for one in some:
        found.setdefault(one.metric, set()).add(one.note)
    return {metric: next(iter(notes)) for metric, notes in found.items() if len(notes) == 1 and notes != {""}}


def _told(notes: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(f"{metric}: {note.rstrip('.')}." for metric, note in notes.items())


def _said(where: str, conditions: Mapping[str, Any]) -> str:
    return f"{where}: {', '.join(f'{name} {value}' for name, value in conditions.items())}." if conditions else ""


def _particulars(one: Measurement, shared: Mapping[str, Any], notes: Mapping[str, str]) -> str:
    """What this measurement does not share with the others."""
    own = tuple(f"{name} {value}" for name, value in one.conditions.items() if name not in shared)
    origin = () if one.provenance == "measured" else (one.provenance,)
    return "; ".join((*origin, *own, *((one.note,) if one.note and one.metric not in notes else ())))
