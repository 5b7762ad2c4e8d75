"""Which labelled rows stay and which are held out: repeats, contradictions, strata, groups."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from edgedistill.data._twins import same_as
from edgedistill.errors import DataError, Fault
from edgedistill.spec import Data


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One labelled example, and where it stood."""

    line: int
    example: dict[str, Any]
    target: Any


def unique(task: Any, rows: Iterable[Row]) -> tuple[list[Row], dict[str, int]]:
    """The first row of each example; one under two labels is dropped whole, because nobody knows which is right. And how many went why."""
    first: dict[str, Row] = {}
    count: Counter[str] = Counter()
    torn: set[str] = set()
    for row in rows:
        key = task.identity(row.example)
        count[key] += 1
        if first.setdefault(key, row).target != row.target:
            torn.add(key)
    kept = [row for key, row in first.items() if key not in torn]
    contradictions = sum(count[key] for key in torn)
    return kept, {"repeats": count.total() - contradictions - len(kept), "contradictions": contradictions}


def draw(task: Any, spec: Data, name: str, rows: Sequence[Row], size: int, seed: int) -> tuple[list[Row], list[Row]]:
    """Rows that stay and `size` that are held out: classes in proportion, groups whole. Raises DataError when they cannot be drawn."""
    from sklearn.model_selection import GroupShuffleSplit, train_test_split

    groups = [task.group(row.example) for row in rows]
    try:
        if len(set(groups)) == len(rows):
            strata = [task.stratum(row.target) for row in rows]
            kept, drawn = train_test_split(list(rows), test_size=size, random_state=seed, stratify=None if None in strata else strata)
            return kept, drawn
        share = size / len(rows)
        stay, go = next(GroupShuffleSplit(1, test_size=share, random_state=seed).split(rows, groups=groups))
    except ValueError as error:
        raise DataError([Fault(f"data.{name}", f"{size} cannot be drawn from the {len(rows)} rows of {spec.source}: {error}")]) from error
    return [rows[index] for index in stay], [rows[index] for index in go]


def check_strata(task: Any, spec: Data, rows: Sequence[Row]) -> None:
    """Raise DataError when there is no row, one class only, or a class too rare for every split to have it."""
    counts = Counter(task.stratum(row.target) for row in rows)
    if not counts:
        raise DataError([Fault(spec.source, "there is no row")])
    if None in counts:
        return
    if len(counts) < 2:
        column = spec.label or task.COLUMNS["label"]
        found = f"all {len(rows)} rows have the label '{next(iter(counts))}'"
        raise DataError([Fault(spec.source, f"{found} in column '{column}'; a classifier needs two classes")])
    needed = 1 + sum(not isinstance(size, str) for size in (spec.test, spec.validation))
    rare = [label for label, count in counts.items() if count < needed][:10]
    lines = {task.stratum(row.target): row.line for row in rows}
    if rare:
        what = "{} row(s) in class '{}', the last in line {}: every class needs at least {} (one for each split)"
        often, add = sorted(counts, key=lambda label: -counts[label]), "add rows, or leave that class out of the file"
        raise DataError(
            Fault(spec.source, what.format(counts[label], label, lines[label], needed), same_as(label, often, spec.merge) or add) for label in rare
        )
