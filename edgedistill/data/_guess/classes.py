"""Texts or pairs with a class, or with several: text-classification, multi-label-classification."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from edgedistill.data._guess._names import LABELS, hint
from edgedistill.data._guess._noun import Guess
from edgedistill.data._guess._table import Column, Table, listed
from edgedistill.data._guess._texts import LONGEST, length, other_texts, pair, texts
from edgedistill.data._twins import missing, remedy, twins

TASKS = ("text-classification", "multi-label-classification")
LONG_LABEL = 64  # characters, on average: beyond it is prose
SEPARATORS = (",", ";", "|")
SHARED = 0.8  # of the parts of label sets are in several of them, or alone somewhere


def guesses(table: Table) -> list[Guess]:
    """At most one guess for each of the two tasks."""
    two = pair(table)
    found = texts(table.columns.values())
    if not found:
        return []
    sides = two or (found[0],)
    tokens, fits = length(*sides)
    base = Guess(
        path=table.path,
        task=TASKS[0],
        rows=table.rows,
        text=sides[0].name,
        pair=two[1].name if two else None,
        tokens=tokens,
        fits=fits,
        remarks={"text": "the first text of each pair" if two else LONGEST, "pair": "and the second"},
        doubts={} if two else {"text": other_texts(found)},
    )
    rest = [column for column in table.columns.values() if column not in sides]
    return [*_single(base, rest), *_several(base, rest)]


def labels(columns: Iterable[Column], rows: int) -> list[Column]:
    """Columns that may be the label, best first: a telling name, then few distinct values."""
    usable = [column for column in columns if is_classes(column, rows)]
    return sorted(usable, key=lambda column: (-hint(column.name, LABELS), len(column.values)))


def is_classes(column: Column, rows: int) -> bool:
    """Whether a column names classes: few distinct short values, each in several rows."""
    repeated = not column.many and 2 <= len(column.values) <= max(2, rows // 2)
    return repeated and column.flat and column.filled >= 0.95 * rows and column.mean <= LONG_LABEL and not column.measure


def with_classes(base: Guess, found: list[Column]) -> Guess:
    """The guess with the first of these columns as its label."""
    label = found[0]
    return replace(
        spelled(base, label.values),
        label=label.name,
        classes=len(label.values),
        majority=label.values.most_common(1)[0][1] / label.filled,
        remarks={**base.remarks, "label": f"{len(label.values):,} distinct values"},
        doubts={**base.doubts, "label": tuple(f"{column.name} ({len(column.values):,} values)" for column in found[1:])},
    )


def spelled(base: Guess, counts: Mapping[str, int]) -> Guess:
    """The guess with what is to be said of labels that may be one class, or none."""
    return replace(base, twins=twins(counts), merge=remedy(counts), missing=missing(counts))


def _single(base: Guess, rest: list[Column]) -> list[Guess]:
    found = labels(rest, base.rows)
    return [replace(with_classes(base, found), strength=hint(found[0].name, LABELS))] if found else []


def _several(base: Guess, rest: list[Column]) -> list[Guess]:
    """Sets of labels: JSON lists, or names with a separator between them."""
    found = [(hint(column.name, LABELS), column, separator) for column in rest if (separator := separator_of(column)) is not None]
    if not found:
        return []
    telling, column, separator = max(found, key=lambda one: one[0])
    parts = Counter(part for value in column.values for part in _parts(value, separator))
    how = f"names with {separator!r} between them" if separator else "lists of names"
    several = replace(
        spelled(base, parts),
        task=TASKS[1],
        label=column.name,
        classes=len(parts),
        separator=separator or None,
        remarks={**base.remarks, "label": f"{how}, {len(parts):,} distinct ones"},
        strength=telling + 0.5,  # before the same column as if each set were a class
    )
    return [several]


def separator_of(column: Column) -> str | None:
    """What parts the labels of a set: "" for JSON lists, None where the values are no sets of labels."""
    if column.filled and not column.flat:
        return "" if _are_sets(column, "") else None
    usable = column.mean <= LONG_LABEL and not column.measure
    return next((mark for mark in SEPARATORS if usable and _are_sets(column, mark)), None)


def _are_sets(column: Column, separator: str) -> bool:
    """Whether values are sets over few parts, without repeats, some with more than one part, most parts in several sets."""
    sets = [_parts(value, separator) for value in column.values]
    parts = Counter(part for found in sets for part in found)
    manifold = {part for found in sets if len(found) > 1 for part in found}
    if not manifold or len(parts) < 2 or any(len(set(found)) < len(found) for found in sets):
        return False
    shared = sum(parts[part] > 1 for part in manifold)
    return shared >= SHARED * len(manifold) and len(parts) < max(len(sets), 3)


def _parts(value: str, separator: str) -> list[str]:
    if separator:
        return [part.strip() for part in value.split(separator) if part.strip()]
    found = listed(value)
    flat = found is not None and all(isinstance(part, str | int) for part in found)
    return [str(part).strip() for part in found or []] if flat else [value, value]  # a repeat: no set
