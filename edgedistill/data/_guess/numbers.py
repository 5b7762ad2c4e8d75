"""Texts or pairs with a number: text-regression, and sentence-embedding for pairs whose number says how alike they are."""

from __future__ import annotations

from dataclasses import replace

from edgedistill.data._guess._names import SCORES, hint
from edgedistill.data._guess._noun import Guess
from edgedistill.data._guess._table import Column, Table
from edgedistill.data._guess._texts import LONGEST, length, other_texts, pair, texts

TASKS = ("text-regression", "sentence-embedding")
FEW = 3  # distinct numbers that are classes, not a scale


def guesses(table: Table) -> list[Guess]:
    """Regression where a column is a scale of numbers; embedding too where the rows are pairs."""
    two = pair(table)
    found = texts(table.columns.values())
    scales = sorted((column for column in table.columns.values() if is_scale(column, table.rows)), key=_telling, reverse=True)
    if not found or not scales:
        return []
    sides, scale = two or (found[0],), scales[0]
    tokens, fits = length(*sides)
    regression = Guess(
        path=table.path,
        task=TASKS[0],
        rows=table.rows,
        text=sides[0].name,
        pair=two[1].name if two else None,
        label=scale.name,
        span=(scale.low, scale.high),
        tokens=tokens,
        fits=fits,
        remarks={
            "text": "the first text of each pair" if two else LONGEST,
            "pair": "and the second",
            "label": f"numbers from {scale.low:g} to {scale.high:g}",
        },
        doubts={"text": () if two else other_texts(found), "label": tuple(column.name for column in scales[1:])},
        strength=_strength(scale, bool(two)),
    )
    if two is None:
        return [regression]
    each = max(length(side) for side in two)  # an embedder reads one text at a time
    return [regression, replace(regression, task=TASKS[1], tokens=each[0], fits=each[1], strength=regression.strength - 0.5)]


def is_scale(column: Column, rows: int) -> bool:
    """Whether a column holds numbers that measure something: not few whole ones, not a row's number."""
    if not column.numbers or column.filled < 0.95 * rows or len(column.values) < FEW:
        return False
    named = bool(hint(column.name, SCORES))
    return column.measure or named or not (column.many or len(column.values) > 0.9 * rows)


def _telling(column: Column) -> tuple[bool, int]:
    return column.measure, hint(column.name, SCORES)


def _strength(scale: Column, paired: bool) -> float:
    """Beside classes a scale is the label only where it says so for pairs; alone it always is."""
    telling = hint(scale.name, SCORES)
    return telling if scale.measure and paired else telling / 1_000 - 1
